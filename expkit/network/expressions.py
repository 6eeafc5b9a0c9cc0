"""Expressions in braces: arithmetic over the arguments of a block and the numbers of repetitions."""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeGuard

from expkit.errors import unknown

__all__ = ["RESERVED", "ExpressionError", "evaluated", "filled", "filled_text", "names_in"]

MAX_CHARACTERS = 500
"""Length of an expression."""
MAX_TEXT = 10_000
"""Length of a text with its expressions filled in."""
MAX_BITS = 63
"""Size of a whole number."""

_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"int": int, "max": max, "min": min, "round": round}
RESERVED = ("index", *_WORDS, *_FUNCTIONS)
"""Words of the language, which name no argument."""

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_SIGNS: dict[type[ast.AST], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_ORDER: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_LANGUAGE = (
    "allowed: numbers, quoted text, true, false, null, lists, names, + - * / // % **, == != < <= > >=, "
    "and, or, not, A if C else B, LIST[I], int, max, min, round"
)


class ExpressionError(ValueError):
    """Raised when an expression is malformed, or has no value; the message begins with the expression."""


def filled(text: str, names: Mapping[str, Any]) -> Any:
    """Return a text with its expressions in braces filled in; one that is an expression as a whole keeps its type.

    ``{{`` and ``}}`` stand for the braces themselves.

    Raises:
        ExpressionError: an expression is malformed, has no value, or none that can be part of a text.
    """
    whole = _PARTS.fullmatch(text)
    return filled_text(text, names) if whole is None or whole[1] is None else evaluated(whole[1], names)


def filled_text(text: str, names: Mapping[str, Any]) -> str:
    """Return a text with its expressions in braces filled in, as text.

    Raises:
        ExpressionError: an expression is malformed, has no value, or none that can be part of a text.
    """

    def part(found: re.Match[str]) -> str:
        if found[1] is not None:
            return _as_text(found[1], evaluated(found[1], names))
        if len(found[0]) == 1:
            other = "}" if found[0] == "{" else "{"
            raise ExpressionError(
                f"'{_short(text)}': a '{found[0]}' without '{other}'; write '{found[0] * 2}' for a brace"
            )
        return found[0][0]

    result = _PARTS.sub(part, text)
    if len(result) > MAX_TEXT:
        raise ExpressionError(f"'{_short(text)}': more than {MAX_TEXT:,} characters")
    return result


def names_in(text: str) -> frozenset[str]:
    """Return the names in the expressions of a text, ``index.NAME`` as one; malformed expressions have none."""
    names: set[str] = set()
    for found in _PARTS.finditer(text):
        if found[1] is not None:
            try:
                names |= set(_names(_parsed(found[1])))
            except ExpressionError:
                continue
    return frozenset(names)


def _names(node: ast.AST) -> Iterator[str]:
    if _is_name(node):
        yield _name(node)
        return
    for inner in ast.iter_child_nodes(node):
        yield from _names(inner)


def evaluated(expression: str, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression.

    Args:
        expression: the text between the braces.
        names: values of the arguments, of ``index`` and of ``index.NAME``.

    Raises:
        ExpressionError: it is malformed or has no value.
    """
    tree = _parsed(expression)
    try:
        return _value(tree, names)
    except ZeroDivisionError:
        raise ExpressionError(f"'{{{expression}}}' divides by zero") from None
    except OverflowError:
        raise ExpressionError(f"'{{{expression}}}' has a number that is too large") from None
    except RecursionError:
        raise ExpressionError(f"'{{{_short(expression)}}}' is nested too deep") from None
    except ExpressionError as error:
        raise ExpressionError(f"'{{{_short(expression)}}}': {error}") from None


@lru_cache(maxsize=10_000)
def _parsed(expression: str) -> ast.expr:
    if len(expression) > MAX_CHARACTERS:
        raise ExpressionError(f"'{{{_short(expression)}}}': an expression may have {MAX_CHARACTERS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "1if x" is odd, not wrong
            return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        problem = "is empty" if not expression.strip() else "is not an expression"
        raise ExpressionError(
            f"'{{{expression}}}' {problem}; {_LANGUAGE}; for braces write '{{{{' and '}}}}'"
        ) from None


def _value(node: ast.AST, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=bool() | None as word):
            raise ExpressionError(f"write {_shown(word)}, not {word}")
        case ast.Constant(value=int() | float() | str() as constant):
            return _bounded(constant)
        case ast.Name() | ast.Attribute() if _is_name(node):
            return _named(_name(node), names)
        case ast.List(elts=items):
            return [_value(item, names) for item in items]
        case ast.Subscript(value=inner, slice=index):
            return _item(_value(inner, names), _value(index, names))
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _truth(_value(inner, names))
        case ast.UnaryOp(op=op, operand=inner) if type(op) in _SIGNS:
            return _SIGNS[type(op)](_number(_value(inner, names)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _calculated(type(op), _number(_value(left, names)), _number(_value(right, names)))
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compared(left, ops, others, names)
        case ast.BoolOp(op=op, values=values):
            every = all if isinstance(op, ast.And) else any
            return every(_truth(_value(value, names)) for value in values)
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _truth(_value(test, names)) else other, names)
        case ast.Call(func=ast.Name(id=function), args=[_, *_] as items, keywords=[]) if function in _FUNCTIONS:
            return _called(function, [_number(_value(item, names)) for item in items])
    raise ExpressionError(f"'{ast.unparse(node)}' is not allowed; {_LANGUAGE}")


def _is_name(node: ast.AST) -> TypeGuard[ast.Name | ast.Attribute]:
    """Return True for a name that stands for a value, and for ``index.NAME``."""
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "index"
    return isinstance(node, ast.Name)


def _name(node: ast.Name | ast.Attribute) -> str:
    return f"index.{node.attr}" if isinstance(node, ast.Attribute) else node.id


def _named(name: str, names: Mapping[str, Any]) -> Any:
    if name in names:
        return names[name]
    if name in _WORDS:
        return _WORDS[name]
    if name == "index":
        raise ExpressionError("'index' is the number of a repetition, and no scope around it has repeat")
    raise ExpressionError(unknown(f"unknown name '{name}'", name, names))


def _item(values: Any, index: Any) -> Any:
    if not isinstance(values, list):
        raise ExpressionError(f"[...] chooses from a list, got {_shown(values)}")
    if not isinstance(index, int) or isinstance(index, bool):
        raise ExpressionError(f"[...] needs a whole number, got {_shown(index)}")
    if not 0 <= index < len(values):
        raise ExpressionError(f"[{index}] is outside of a list of {len(values)}, whose items are counted from 0")
    return values[index]


def _calculated(op: type[ast.AST], left: Any, right: Any) -> Any:
    if op is ast.Pow and isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > 2 * MAX_BITS:
        raise OverflowError  # before it is computed
    return _bounded(_ARITHMETIC[op](left, right))


def _compared(left: ast.expr, ops: Sequence[ast.cmpop], others: Iterable[ast.expr], names: Mapping[str, Any]) -> bool:
    first = _value(left, names)
    for op, other in zip(ops, others, strict=True):
        second = _value(other, names)
        if type(op) in _ORDER:
            holds = _ORDER[type(op)](_number(first), _number(second))
        elif isinstance(op, ast.Eq | ast.NotEq):
            holds = (first == second) is isinstance(op, ast.Eq)
        else:
            raise ExpressionError(f"'is' and 'in' are not allowed; {_LANGUAGE}")
        if not holds:
            return False
        first = second
    return True


def _called(function: str, values: list[Any]) -> Any:
    if function in ("int", "round") and len(values) > 1:
        raise ExpressionError(f"{function} takes one number, got {len(values)}")
    return values[0] if len(values) == 1 and function in ("max", "min") else _bounded(_FUNCTIONS[function](*values))


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"needs a number, got {_shown(value)}")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"a condition is true or false, got {_shown(value)}")
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, complex):
        raise ExpressionError("a root of a negative number is not a number")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError
    return value


def _as_text(expression: str, value: Any) -> str:
    if value is None or isinstance(value, list | dict):
        raise ExpressionError(f"'{{{expression}}}' is {_shown(value)}, which cannot be part of a text")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: Any) -> str:
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return f"'{_short(value)}' (text)"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a mapping"
    return str(value)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
