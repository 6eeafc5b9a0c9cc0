"""The table of variables: which layer makes one, which share it, and what is wrong with asking for it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from expkit.config.schema import VariableRule
from expkit.errors import Problem, listed
from expkit.network.initializers import Initializer
from expkit.network.layer import Declaration, Regularizer
from expkit.network.unfold import Node

__all__ = ["VariableSpec", "VariableTable"]


@dataclass(frozen=True)
class VariableSpec:
    """A variable that the network will have."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    initializer: Initializer
    trainable: bool
    regularizer: Regularizer | None
    layers: tuple[str, ...]
    """Paths of the layers that use it; the first made it, the others share it."""

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

    def get(self, node: Node, declared: Declaration, regularizer: Regularizer | None, problems: list[Problem]) -> str:
        """Make or share the variable a layer declares, by the rules of ``tf.compat.v1.get_variable``.

        Returns:
            Its full name.
        """
        name = node.variable_name(declared.name)
        existing = self.variables.get(name)
        if existing is None:
            if node.reuse == "true":
                problems.append(Problem(f"{node.connected}.reuse", self._no_variable(name)))
            elif clash := self._clash(name):
                problems.append(Problem(node.at, clash))
            self.variables[name] = self._ruled(
                VariableSpec(
                    name,
                    declared.shape,
                    declared.dtype,
                    declared.initializer,
                    declared.trainable,
                    regularizer,
                    (node.path,),
                )
            )
        else:
            problems.extend(self._sharing_problems(node, declared, existing))
            self.variables[name] = replace(existing, layers=(*existing.layers, node.path))
        return name

    def unused_rules(self) -> list[Problem]:
        """Return a problem for every rule that matched no variable."""
        return [
            Problem(
                f"network.rules.{key}.variables",
                f"'{rule.variables}' matches no variable; variables: {listed(self.variables)}",
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
                )
        return variable

    def _sharing_problems(self, node: Node, declared: Declaration, existing: VariableSpec) -> Iterator[Problem]:
        maker = existing.layers[0]
        if node.reuse == "false":
            yield Problem(
                f"{node.connected}.reuse",
                f"layer '{node.path}' would make variable '{existing.name}', which layer '{maker}' already made; "
                "to share it set reuse: true, otherwise give the layer another scope",
            )
        elif declared.shape != existing.shape:
            yield Problem(
                node.at,
                f"shares variable '{existing.name}' but needs shape {list(declared.shape)}; "
                f"layer '{maker}' made it with {list(existing.shape)}",
            )
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

    def _no_variable(self, name: str) -> str:
        scopes = dict.fromkeys(other.rpartition("/")[0] for other in self.variables)
        near = difflib.get_close_matches(name.rpartition("/")[0], scopes, n=3, cutoff=0.0)
        shown = ", ".join(f"'{scope}'" for scope in near) or "none"
        return (
            f"reuse is true, but no layer before makes variable '{name}'; nearest existing scopes: {shown}; "
            "set the scope to one of them, or reuse: auto to make what does not exist"
        )

    def _clash(self, name: str) -> str | None:
        folded = {other.lower(): other for other in self.variables}
        other = folded.get(name.lower())
        return f"variable '{name}' differs from '{other}' only in upper and lower case" if other else None


def _is_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
