"""The table of variables: which layer makes one, which share it, and what is wrong with asking for it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from expkit.config.sections.network import VariableRule
from expkit.errors import MAX_EXPLAINED, Problem, comma_list, unknown
from expkit.kinds.initializers import Initializer
from expkit.kinds.layers.base import Declaration, Regularizer, Shared
from expkit.network.resolve import Node

__all__ = ["VariableSpec", "VariableTable"]


@dataclass(frozen=True)
class VariableSpec:
    """A variable that the network will have."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    initializer: Initializer
    trainable: bool
    learning_rate_multiplier: float
    regularizer: Regularizer | None
    layers: tuple[str, ...]
    """Paths of the layers that use it; the first made it, the others share it."""
    frozen: bool = False
    """Whether it is not trained because the configuration says so: statistics are never trained, and not frozen."""

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        size = 1
        for part in self.shape:
            size *= part
        return size


class VariableTable:
    """Variables by name, in the order in which they are made."""

    def __init__(self, rules: Mapping[str, VariableRule]) -> None:
        self.variables: dict[str, VariableSpec] = {}
        self._rules = rules
        self._matched: set[str] = set()
        self._folded: dict[str, str] = {}
        """Names by themselves in lower case."""
        self._multipliers: dict[str, float] = {}
        """Multipliers that makers ask for, before rules."""

    def get(self, node: Node, declared: Declaration, regularizer: Regularizer | None, problems: list[Problem]) -> str:
        """Make or share the variable a layer declares, by the rules of ``tf.compat.v1.get_variable``.

        Returns:
            Its full name.
        """
        name = node.variable_name(declared.name)
        existing = self.variables.get(name)
        if existing is None:
            if node.reuse == "true":
                problems.append(Problem(f"{node.connected}.reuse", self._no_variable(name, len(problems))))
            elif (other := self._folded.get(name.lower())) is not None:
                message = f"variable '{name}' differs from '{other}' only in upper and lower case"
                problems.append(Problem(node.at, message))
            self._folded[name.lower()] = name
            self._multipliers[name] = node.learning_rate_multiplier
            self.variables[name] = self._ruled(
                VariableSpec(
                    name,
                    declared.shape,
                    declared.dtype,
                    declared.initializer,
                    declared.trainable,
                    node.learning_rate_multiplier,
                    regularizer,
                    (node.path,),
                    declared.frozen,
                )
            )
            if misfit := self.variables[name].initializer.misfit(declared.dtype):
                at = f"{node.at}.initializer.{declared.name}"
                problems.append(Problem(at, f"variable '{name}' cannot start so: {misfit}"))
        else:
            problems.extend(self._sharing_problems(node, declared, existing))
            self.variables[name] = replace(existing, layers=(*existing.layers, node.path))
        return name

    def unused_rules(self) -> list[Problem]:
        """Return a problem for every rule that matched no variable."""
        return [
            Problem(
                f"network.rules.{key}.variables",
                f"'{rule.variables}' matches no variable; variables: {comma_list(self.variables)}",
            )
            for key, rule in self._rules.items()
            if key not in self._matched and _is_pattern(rule.variables)
        ]

    def bad_rules(self) -> Iterator[Problem]:
        """Yield a problem for every rule that is no regular expression."""
        for key, rule in self._rules.items():
            if not _is_pattern(rule.variables):
                yield Problem(f"network.rules.{key}.variables", f"'{rule.variables}' is no regular expression")

    def _ruled(self, variable: VariableSpec) -> VariableSpec:
        for key, rule in self._rules.items():
            if _is_pattern(rule.variables) and re.fullmatch(rule.variables, variable.name):
                self._matched.add(key)
                variable = replace(
                    variable,
                    initializer=rule.initializer or variable.initializer,
                    regularizer=rule.regularizer or variable.regularizer,
                    trainable=variable.trainable if rule.trainable is None else rule.trainable,
                    frozen=(variable.trainable or variable.frozen) and not rule.trainable
                    if rule.trainable is not None
                    else variable.frozen,
                    learning_rate_multiplier=rule.learning_rate_multiplier or variable.learning_rate_multiplier,
                )
        return variable

    def share(self, node: Node, declared: Declaration, shared: Shared, problems: list[Problem]) -> str:
        """Let a layer use a variable by its full name, in the place of the one it declares.

        Returns:
            The full name.
        """
        name, at = shared.variable, f"{node.at}.share.{declared.name}"
        existing = self.variables.get(name)
        if existing is None:
            message = f"no layer before makes variable '{name}'"
            if len(problems) < MAX_EXPLAINED:
                message = unknown(message, name, self.variables, label="variables")
            problems.append(Problem(at, message))
            return name
        shape, way = existing.shape, ""
        if shared.transpose:
            shape, way = (*shape[:-2], *reversed(shape[-2:])), "transposed "
            if len(shape) < 2:
                message = f"variable '{name}' of shape {list(shape)} has no two dimensions to swap; leave out transpose"
                problems.append(Problem(at, message))
        if (shape, existing.dtype) != (declared.shape, declared.dtype):
            problems.append(
                Problem(
                    at,
                    f"variable '{name}' is {way}{list(shape)} {existing.dtype}, made by layer '{existing.layers[0]}'; "
                    f"'{node.path}' needs a {declared.name} of {list(declared.shape)} {declared.dtype}",
                )
            )
        if declared.name in node.layer.variables:
            message = f"'{declared.name}' is '{name}', which another layer names; leave out one of variables and share"
            problems.append(Problem(f"{node.at}.variables.{declared.name}", message))
        problems.extend(self._maker_decides(node, declared, existing))
        self.variables[name] = replace(existing, layers=(*existing.layers, node.path))
        return name

    def _sharing_problems(self, node: Node, declared: Declaration, existing: VariableSpec) -> Iterator[Problem]:
        maker = existing.layers[0]
        if node.reuse == "false":
            yield Problem(
                f"{node.connected}.reuse",
                f"layer '{node.path}' would make variable '{existing.name}', which layer '{maker}' already made; "
                "to share it set reuse: true, otherwise give the layer another scope",
            )
        elif (declared.shape, declared.dtype) != (existing.shape, existing.dtype):
            yield Problem(
                node.at,
                f"shares variable '{existing.name}' but needs {list(declared.shape)} {declared.dtype}; "
                f"layer '{maker}' made it with {list(existing.shape)} {existing.dtype}",
            )
        yield from self._maker_decides(node, declared, existing)

    def _maker_decides(self, node: Node, declared: Declaration, existing: VariableSpec) -> Iterator[Problem]:
        """Yield a problem for everything that a layer says of a variable, but only its maker can say."""
        maker = existing.layers[0]
        if existing.trainable and not node.trainable:
            yield Problem(
                f"{node.at}.trainable",
                f"variable '{existing.name}' is made by layer '{maker}', which trains it; set trainable: false there",
            )
        for field in ("initializer", "regularizer"):
            if declared.name in getattr(node.layer, field):
                yield Problem(
                    f"{node.at}.{field}.{declared.name}",
                    f"variable '{existing.name}' is made by layer '{maker}'; set its {field} there",
                )
        made_with = self._multipliers[existing.name]
        if node.learning_rate_multiplier not in (1.0, made_with):
            yield Problem(
                f"{node.at}.learning_rate_multiplier",
                f"variable '{existing.name}' is made by layer '{maker}' with {made_with:g}, "
                f"not {node.learning_rate_multiplier:g}; set it there",
            )

    def _no_variable(self, name: str, told: int) -> str:
        if told >= MAX_EXPLAINED:
            return f"reuse is true, but no layer before makes variable '{name}'"
        scopes = dict.fromkeys(other.rpartition("/")[0] for other in self.variables)
        near = difflib.get_close_matches(name.rpartition("/")[0], scopes, n=3, cutoff=0.0)
        shown = ", ".join(f"'{scope}'" for scope in near) or "none"
        return (
            f"reuse is true, but no layer before makes variable '{name}'; nearest existing scopes: {shown}; "
            "set the scope to one of them, or reuse: auto to make what does not exist"
        )


def _is_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
