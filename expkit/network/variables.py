"""Variables of a network: the layer that creates each, the layers that share it."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace

from expkit.errors import MAX_EXPLAINED, comma_list, unknown
from expkit.kinds.initializers import Initializer
from expkit.kinds.layers.base import Declaration, Layer, Regularizer, Shared
from expkit.kinds.layers.pytorch import Layout
from expkit.network.environment import Environment, Node
from expkit.tensor_spec import TensorSpec

__all__ = ["VariableSpec", "VariableTable", "shared_variables"]


@dataclass(frozen=True, kw_only=True)
class VariableSpec:
    """A variable of the network."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    initializer: Initializer
    trainable: bool
    learning_rate_multiplier: float
    regularizer: Regularizer | None
    layers: tuple[str, ...]
    """Paths of the layers that use it; the first creates it, the others share it."""
    frozen: bool = False
    """True if the configuration excludes it from training; moving statistics are never trained, and not frozen."""
    pytorch: Layout | None = None
    """Its layout in PyTorch where it is another one."""

    @property
    def spec(self) -> TensorSpec:
        """Shape and dtype."""
        return TensorSpec.of_variable(self.shape, self.dtype)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class VariableTable:
    """Variables by name, in the order in which they are created."""

    def __init__(self, env: Environment) -> None:
        self.variables: dict[str, VariableSpec] = {}
        self._env = env
        self._rules = env.network.rules
        self._matched: set[str] = set()
        """Rules that match a variable."""
        self._lower_case: dict[str, str] = {}
        """Names of variables by their lower case."""
        self._multipliers: dict[str, float] = {}
        """Learning-rate multipliers of the creating layers, before rules."""
        self._declared: dict[str, list[str]] = {}
        """Names that layers have for their variables, by the layer's path."""

    def bind(self, node: Node, declared: tuple[Declaration, ...]) -> dict[str, str]:
        """Create or share a layer's variables; return their full names by the layer's own names for them."""
        layer = node.layer
        self._declared[node.path] = owned = [item.name for item in declared]
        for field in ("variables", "initializer", "regularizer", "share"):
            for name in getattr(layer, field):
                if name not in owned:
                    message = unknown(f"kind '{layer.kind}' has no variable '{name}'", name, owned)
                    self._env.report(f"{node.at}.{field}.{name}", message)
        shared = shared_variables(layer)
        bindings = {}
        for item in declared:
            changed = replace(
                item,
                initializer=layer.initializer.get(item.name, item.initializer),
                trainable=item.trainable and node.trainable,
                frozen=item.trainable and not node.trainable,
            )
            if item.name in shared:
                bindings[item.name] = self.share(node, changed, shared[item.name])
            else:
                bindings[item.name] = self.get(node, changed, layer.regularizer.get(item.name))
        if len(set(bindings.values())) < len(bindings):
            self._env.report(f"{node.at}.variables", f"two variables of one layer get one name: {bindings}")
        return bindings

    def get(self, node: Node, declared: Declaration, regularizer: Regularizer | None) -> str:
        """Create or share a variable that a layer declares, by the rules of ``tf.compat.v1.get_variable``.

        Returns:
            Its full name.
        """
        name = node.variable_name(declared.name)
        existing = self.variables.get(name)
        if existing is None:
            self._create(name, node, declared, regularizer)
        else:
            self._check_reuse(node, declared, existing)
            self.variables[name] = replace(existing, layers=(*existing.layers, node.path))
        return name

    def bind_originals(self, node: Node, declared: tuple[Declaration, ...]) -> dict[str, str]:
        """Return the full names of the variables of a layer's original by the layer's own names for them."""
        shared = shared_variables(node.layer)
        return {
            item.name: self.get_original(node, item, shared[item.name].variable if item.name in shared else None)
            for item in declared
        }

    def share(self, node: Node, declared: Declaration, shared: Shared) -> str:
        """Let a layer use an existing variable in place of one that it declares.

        Returns:
            The variable's full name.
        """
        name, at = shared.variable, f"{node.at}.share.{declared.name}"
        existing = self.variables.get(name)
        if existing is None:
            message = f"no earlier layer creates variable '{name}'"
            if len(self._env.problems) < MAX_EXPLAINED:
                message = unknown(message, name, self.variables, label="variables")
            self._env.report(at, message)
            return name
        shape, transposed = existing.shape, ""
        if shared.transpose:
            shape, transposed = (*shape[:-2], *reversed(shape[-2:])), "transposed "
            if len(shape) < 2:
                message = f"variable '{name}' of shape {list(shape)} has no two dimensions to swap; leave out transpose"
                self._env.report(at, message)
        if (shape, existing.dtype) != (declared.shape, declared.dtype):
            self._env.report(
                at,
                f"variable '{name}' is {transposed}{list(shape)} {existing.dtype}, created by layer "
                f"'{existing.layers[0]}'; '{node.path}' needs a {declared.name} of {list(declared.shape)} "
                f"{declared.dtype}",
            )
        if declared.name in node.layer.variables:
            message = f"'{declared.name}' is '{name}', which another layer names; leave out one of variables and share"
            self._env.report(f"{node.at}.variables.{declared.name}", message)
        self._check_settings(node, declared, existing)
        self.variables[name] = replace(existing, layers=(*existing.layers, node.path))
        return name

    def get_original(self, node: Node, declared: Declaration, shared: str | None) -> str:
        """Return the full name of a variable of a layer's original, which has created it, or shares ``shared``."""
        name = shared or node.variable_name(declared.name)
        existing, average = self.variables.get(name), node.average
        assert average is not None
        if existing is not None and shared is None and existing.shape != declared.shape:
            self._env.report(
                average.at,
                f"connects '{average.of}' to other sizes: variable '{name}' is {list(existing.shape)}, but "
                f"'{node.path}' needs {list(declared.shape)}; give it inputs of the same sizes",
            )
        return name

    def is_trained(self, name: str) -> bool:
        """Return whether a variable exists, and is trained."""
        return name in self.variables and self.variables[name].trainable

    def check_rules(self) -> None:
        """Report the rules that are not regular expressions."""
        for key, rule in self._rules.items():
            if not _is_pattern(rule.variables):
                self._env.report(f"network.rules.{key}.variables", f"'{rule.variables}' is not a regular expression")

    def check_unused_names(self) -> None:
        """Report the names under ``variables`` of the network or a scope that no layer there has."""
        scopes = [node for node in self._env.every_node if node.group is not None]
        namings = [("network", "", self._env.network.variables)]
        namings += [(node.at, f"{node.path}/", node.layer.variables) for node in scopes]
        for at, prefix, naming in namings:
            if not naming:
                continue
            inside = (names for path, names in self._declared.items() if path.startswith(prefix))
            known = sorted({name for names in inside for name in names})
            for name in naming:
                if name not in known:
                    message = unknown(f"no layer has a variable '{name}'", name, known)
                    self._env.report(f"{at}.variables.{name}", message)

    def check_unused_rules(self) -> None:
        """Report the rules that match no variable."""
        for key, rule in self._rules.items():
            if key not in self._matched and _is_pattern(rule.variables):
                message = f"'{rule.variables}' matches no variable; variables: {comma_list(self.variables)}"
                self._env.report(f"network.rules.{key}.variables", message)

    def _create(self, name: str, node: Node, declared: Declaration, regularizer: Regularizer | None) -> None:
        if node.reuse == "true":
            self._env.report(f"{node.connected}.reuse", self._nothing_to_reuse(name))
        elif (other := self._lower_case.get(name.lower())) is not None:
            self._env.report(node.at, f"variable '{name}' differs from '{other}' only in upper and lower case")
        elif name.startswith("_"):
            self._env.report(node.at, f"variable '{name}' begins with '_', which is allowed only inside a scope")
        self._lower_case[name.lower()] = name
        self._multipliers[name] = node.learning_rate_multiplier
        variable = VariableSpec(
            name=name,
            shape=declared.shape,
            dtype=declared.dtype,
            initializer=declared.initializer,
            trainable=declared.trainable,
            learning_rate_multiplier=node.learning_rate_multiplier,
            regularizer=regularizer,
            layers=(node.path,),
            frozen=declared.frozen,
            pytorch=declared.pytorch,
        )
        self.variables[name] = variable = self._with_rules(variable)
        if reason := variable.initializer.unsuited(declared.dtype):
            self._env.report(
                f"{node.at}.initializer.{declared.name}", f"the initializer does not fit variable '{name}': {reason}"
            )

    def _with_rules(self, variable: VariableSpec) -> VariableSpec:
        for key, rule in self._rules.items():
            if not (_is_pattern(rule.variables) and re.fullmatch(rule.variables, variable.name)):
                continue
            self._matched.add(key)
            variable = replace(
                variable,
                initializer=rule.initializer or variable.initializer,
                regularizer=rule.regularizer or variable.regularizer,
                learning_rate_multiplier=rule.learning_rate_multiplier or variable.learning_rate_multiplier,
            )
            if rule.trainable is not None:
                frozen = (variable.trainable or variable.frozen) and not rule.trainable
                variable = replace(variable, trainable=rule.trainable, frozen=frozen)
        return variable

    def _check_reuse(self, node: Node, declared: Declaration, existing: VariableSpec) -> None:
        creator = existing.layers[0]
        if node.reuse == "false":
            self._env.report(
                f"{node.connected}.reuse",
                f"layer '{node.path}' would create variable '{existing.name}', which layer '{creator}' "
                "already created; to share it set reuse: true, otherwise give the layer another scope",
            )
        elif (declared.shape, declared.dtype) != (existing.shape, existing.dtype):
            self._env.report(
                node.at,
                f"shares variable '{existing.name}' but needs {list(declared.shape)} {declared.dtype}; "
                f"layer '{creator}' created it with {list(existing.shape)} {existing.dtype}",
            )
        self._check_settings(node, declared, existing)

    def _check_settings(self, node: Node, declared: Declaration, existing: VariableSpec) -> None:
        """Report the settings of a shared variable that only the layer which creates it can have."""
        creator = existing.layers[0]
        if existing.trainable and not node.trainable:
            self._env.report(
                f"{node.at}.trainable",
                f"variable '{existing.name}' is created by layer '{creator}', which trains it; "
                "set trainable: false there",
            )
        for field in ("initializer", "regularizer"):
            if declared.name in getattr(node.layer, field):
                message = f"variable '{existing.name}' is created by layer '{creator}'; set its {field} there"
                self._env.report(f"{node.at}.{field}.{declared.name}", message)
        multiplier = self._multipliers[existing.name]
        if node.learning_rate_multiplier not in (1.0, multiplier):
            self._env.report(
                f"{node.at}.learning_rate_multiplier",
                f"variable '{existing.name}' is created by layer '{creator}' with {multiplier:g}, "
                f"not {node.learning_rate_multiplier:g}; set it there",
            )

    def _nothing_to_reuse(self, name: str) -> str:
        message = f"reuse is true, but no earlier layer creates variable '{name}'"
        if len(self._env.problems) >= MAX_EXPLAINED:
            return message
        scopes = dict.fromkeys(other.rpartition("/")[0] for other in self.variables)
        near = difflib.get_close_matches(name.rpartition("/")[0], scopes, n=3, cutoff=0.0)
        shown = ", ".join(f"'{scope}'" for scope in near) or "none"
        fix = "set the scope to one of them, or reuse: auto to create missing variables"
        return f"{message}; nearest existing scopes: {shown}; {fix}"


def shared_variables(layer: Layer) -> dict[str, Shared]:
    """Return the variables of other layers that a layer uses, by its own names for them."""
    return {name: Shared(variable=item) if isinstance(item, str) else item for name, item in layer.share.items()}


def _is_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
