r"""Inverse of rename rules: the name and the value that a variable has in the file that the rules are for.

``{pattern: 'encoder\.(\d+)\.weight', to: 'encoder_\1/kernel'}`` read backwards sends ``encoder_3/kernel`` to
``encoder.3.weight``. A rule has an inverse if its pattern is literal text and groups, and ``to`` has all of the groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from expkit.checkpoints.restore.transforms import inverse_transform, transformed
from expkit.config.sections.restore import RenameRule, Transform
from expkit.errors import Problem
from expkit.tensor_spec import TensorSpec

__all__ = ["Exported", "exported", "unused"]


@dataclass(frozen=True)
class Exported:
    """A variable in a file for another program."""

    name: str
    """Name in the file."""
    spec: TensorSpec
    """Shape and dtype in the file."""
    transforms: tuple[Transform, ...] = ()
    """Transforms of the variable's value, in order."""


_OTHER = 0
"""In place of the number of a group: another sequence with a backslash, or the whole match."""


class _NoInverse(Exception):
    """A rule that cannot be read backwards, with the reason."""


def exported(
    name: str, spec: TensorSpec, layout: Sequence[Transform], rules: Sequence[RenameRule], at: str
) -> Exported | Problem:
    """Return how a file has a variable from which the rules would restore it; a problem if a rule has no inverse.

    Of several rules that lead to the variable the first is taken; without one it has its own name.

    Args:
        name: name of the variable.
        spec: its shape and dtype.
        layout: transforms to the layout of the file, before those of the rule.
        rules: rename rules of a restore from the file.
        at: path of the rules, for problems.
    """
    for transform in layout:
        spec = transformed(spec, transform)
    for index, rule in enumerate(rules):
        try:
            source = _source(rule, name)
            if source is None:
                continue
            if rule.concat:
                raise _NoInverse("joins several values, whose sizes it does not say")
            transforms = list(layout)
            for transform in reversed(rule.transform):
                transforms.append(inverse_transform(transform, spec.sizes))
                spec = transformed(spec, transforms[-1])
        except (_NoInverse, ValueError) as error:
            words = f"'{rule.selector}' -> '{rule.to}', the rule for variable '{name}', cannot be read backwards"
            return Problem(f"{at}[{index}]", f"{words}: {error}")
        return Exported(source, spec, tuple(transforms))
    return Exported(name, spec, tuple(layout))


def unused(rules: Sequence[RenameRule], variables: Iterable[str]) -> list[RenameRule]:
    """Return the rules that lead to none of the variables."""
    names = list(variables)
    return [rule for rule in rules if not any(_leads_to(rule, name) for name in names)]


def _leads_to(rule: RenameRule, variable: str) -> bool:
    try:
        return _source(rule, variable) is not None
    except _NoInverse:
        return True


def _source(rule: RenameRule, variable: str) -> str | None:
    """Return the name in the file that a rule sends to a variable; ``None`` if it sends none there."""
    if rule.name is not None:
        return rule.name if variable == (rule.name if rule.to is None else rule.to) else None
    if rule.prefix is not None:
        to = rule.prefix if rule.to is None else rule.to
        return rule.prefix + variable.removeprefix(to) if variable.startswith(to) else None
    pattern = str(rule.pattern)
    if rule.to is None:
        return variable if re.fullmatch(pattern, variable) else None
    parts = list(_template(rule.to))
    loosely = "".join(re.escape(text) + ("" if number is None else ".*") for text, number in parts)
    if not re.fullmatch(loosely, variable):
        return None
    pieces = list(_pieces(pattern))
    groups = [piece[1:-1] for piece in pieces if piece.startswith("(")]
    if any(number == _OTHER for _, number in parts):
        raise _NoInverse(r"'to' may have groups, as \1, but no other sequence with a backslash")
    target, seen = "", set[int]()
    for literal, number in parts:
        target += re.escape(literal)
        if number is not None:
            target += f"(?P=g{number})" if number in seen else f"(?P<g{number}>{groups[number - 1]})"
            seen.add(number)
    found = re.fullmatch(target, variable)
    if found is None:
        return None
    if missing := [number for number in range(1, len(groups) + 1) if number not in seen]:
        raise _NoInverse(rf"'to' lacks its group \{missing[0]}")
    numbers = iter(range(1, len(groups) + 1))
    return "".join(found[f"g{next(numbers)}"] if piece.startswith("(") else piece[1:] for piece in pieces)


def _pieces(pattern: str) -> Iterator[str]:
    """Yield the literal characters of a pattern, each after a ``'``, and its groups in their parentheses."""
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "(":
            end = _closing(pattern, at)
            behind = pattern[end + 1 : end + 2]
            if (repeated := behind in ("*", "+", "?", "{")) or pattern[at + 1] == "?":
                raise _NoInverse(f"'{pattern[at : end + 1]}{behind if repeated else ''}' is no plain group")
            if any(found[1] for found in re.finditer(r"\\(?:([1-9])|.)", pattern[at:end])):
                raise _NoInverse(f"its group '{pattern[at : end + 1]}' refers to another one")
            yield pattern[at : end + 1]
            at = end + 1
        elif character == "\\":
            if pattern[at + 1].isalnum():
                raise _NoInverse(f"'{pattern[at : at + 2]}' stands for several texts; put it into a group")
            yield f"'{pattern[at + 1]}"
            at += 2
        elif character in ".^$*+?{}[]|)":
            raise _NoInverse(rf"'{character}' stands for several texts; write \{character} for the character")
        else:
            yield f"'{character}"
            at += 1


def _closing(pattern: str, start: int) -> int:
    """Return the index of the parenthesis that closes a group without groups inside."""
    at, in_class = start + 1, False
    while pattern[at] != ")" or in_class:
        if pattern[at] == "(" and not in_class:
            raise _NoInverse("it has a group inside a group")
        in_class = (in_class or pattern[at] == "[") and pattern[at] != "]"
        at += 2 if pattern[at] == "\\" else 1
    return at


def _template(to: str) -> Iterator[tuple[str, int | None]]:
    r"""Yield the literal texts of ``to``, each with what is behind it: the number of a group, or ``_OTHER``.

    ``\1`` and ``\g<1>`` are groups; other sequences are ``\g<0>``, ``\g<name>``, ``\n`` and octal numbers.
    """
    at = 0
    for found in re.finditer(r"\\(?:g<(\d+)>|g<\w+>|0[0-7]{0,2}|[1-3][0-7]{2}|([1-9]\d?)|.)", to):
        yield to[at : found.start()], int(found[1] or found[2] or _OTHER)
        at = found.end()
    yield to[at:], None
