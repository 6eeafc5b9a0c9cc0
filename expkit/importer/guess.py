"""Guesses of the layers that own variables, from names, shapes and operations; each is checked against its kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

import expkit.kinds.layers  # noqa: F401  # registers the kinds of layers
from expkit.importer.contents import Use
from expkit.kinds.layers.base import Inputs, Layer
from expkit.network.names import join
from expkit.registry import kinds
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Guess", "guess_layers"]

_KERNELS = {1: "dense", 2: "dense", 3: "conv1d", 4: "conv2d", 5: "conv3d"}
_FROM_OPERATIONS = {
    "conv1d": ("strides", "padding", "activation"),
    "conv2d": ("strides", "padding", "activation"),
    "conv3d": ("strides", "padding", "activation"),
    "conv2d_transpose": ("strides", "padding", "activation"),
    "depthwise_conv2d": ("strides", "padding", "activation"),
    "separable_conv2d": ("strides", "padding", "activation"),
    "dense": ("activation",),
    "batch_norm": ("epsilon",),
}
_UNKNOWN_FIELDS = {
    "batch_norm": ("momentum",),
    "layer_norm": ("epsilon",),
    "lstm": ("forget_bias", "direction", "lengths"),
    "gru": ("direction", "lengths"),
    "attention": ("num_heads", "mask"),
}
_PROJECTIONS = ("query", "key", "value")
_ROLES = r"(weights?|kernel|biases|bias|w|b)"


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A layer that may own some variables."""

    scope: str
    kind: str
    fields: Mapping[str, Any]
    names: Mapping[str, str]
    """Full names of its variables, by their names in the layer."""
    reads: TensorSpec | None
    """The smallest input that it accepts; ``None`` if it has no input."""
    unknown: tuple[str, ...] = ()
    """Fields to fill in."""
    note: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of its variables, by their names in the layer."""

    def layer(self) -> Layer:
        """Return the layer as the configuration would contain it."""
        cls: Any = kinds("layer")[self.kind]
        layer: Layer = cls.model_validate_json(json.dumps({"kind": self.kind, **self.fields}))
        return layer

    def output(self, read: TensorSpec | None) -> TensorSpec | None:
        """Return the layer's output for an input; ``None`` if it rejects the input or would own other variables."""
        inputs = Inputs([] if read is None else [read])
        try:
            layer = self.layer()
            output = layer.output_spec(inputs)
            declared = {item.name: item.shape for item in layer.declare(inputs)}
        except (ShapeError, ValidationError):
            return None
        if declared != dict(self.shapes):
            return None
        return output if isinstance(output, TensorSpec) else output.get("")


def guess_layers(variables: Mapping[str, TensorSpec], uses: Mapping[str, Use]) -> list[Guess]:
    """Return layers that own all variables, in their order; a variable of no known layer becomes a ``variable``."""
    found: list[Guess] = []
    left = dict(variables)
    scopes = sorted({scope for name in variables for scope in _scopes(name)}, key=lambda scope: -scope.count("/"))
    for guesses_in in (_of_nested_scopes, _of_scope):  # A layer of several scopes comes before those of each.
        for scope in scopes:
            for guess in map(partial(_with_uses, uses=uses, variables=variables), guesses_in(scope, left, uses)):
                fits = all(name in left for name in guess.names.values()) and guess.output(guess.reads) is not None
                if fits:
                    found.append(guess)
                    left = {name: spec for name, spec in left.items() if name not in guess.names.values()}
    found += (_variable(name, spec) for name, spec in left.items())
    order = {name: index for index, name in enumerate(variables)}
    return sorted(found, key=lambda guess: min(order[name] for name in guess.names.values()))


def _scopes(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:end]) for end in range(len(parts)))


def _with_uses(guess: Guess, uses: Mapping[str, Use], variables: Mapping[str, TensorSpec]) -> Guess:
    """Add the fields that operations determine; list the others as unknown."""
    use = next((uses[name] for name in guess.names.values() if name in uses and uses[name].kind == guess.kind), None)
    shapes = {local: variables[name].sizes for local, name in guess.names.items()}
    fields, note = dict(guess.fields), guess.note
    unknown = (*_FROM_OPERATIONS.get(guess.kind, ()), *_UNKNOWN_FIELDS.get(guess.kind, ()))
    if use is not None:
        fields |= use.fields
        note = ", ".join(text for text in (note, use.note) if text)
        unknown = _UNKNOWN_FIELDS.get(guess.kind, ())
    return replace(guess, fields=fields, unknown=unknown, note=note, shapes=shapes)


def _of_nested_scopes(scope: str, left: Mapping[str, TensorSpec], uses: Mapping[str, Use]) -> Iterator[Guess]:
    """Yield layers whose variables are in scopes below their own: attention, recurrent cells."""
    inside = {
        name[len(scope) + 1 :] if scope else name: name for name in left if not scope or name.startswith(f"{scope}/")
    }
    yield from _lstm(scope, left)
    for kernel, bias in (("kernel", "bias"), ("weights", "biases")):
        kernels = [f"{projection}/{kernel}" for projection in _PROJECTIONS]
        if all(name in inside and len(left[inside[name]].shape) == 2 for name in kernels):
            size, joined = left[inside[kernels[0]]].sizes
            heads = joined // 64 if joined % 64 == 0 else 1
            fields: dict[str, Any] = {"num_heads": heads}
            if joined != size:
                fields["key_dim"] = joined // heads
            names = {
                f"{projection}/{local}": inside[f"{projection}/{own}"]
                for projection in _PROJECTIONS
                for local, own in (("kernel", kernel), ("bias", bias))
                if f"{projection}/{own}" in inside
            }
            if len(names) == len(_PROJECTIONS):
                fields["use_bias"] = False
            reads = TensorSpec((None, size))
            yield Guess(scope=scope, kind="attention", fields=fields, names=names, reads=reads)
    if {"gates/kernel", "gates/bias"} <= set(inside):
        rows, columns = (*left[inside["gates/kernel"]].sizes, 0, 0)[:2]
        after = "candidate/input_projection/kernel" in inside
        names = {local: name for local, name in inside.items() if local.startswith(("gates/", "candidate/"))}
        order = sorted(
            names, key=lambda local: (not local.startswith("gates"), "hidden" in local, local.endswith("bias"))
        )
        fields = {"units": max(columns // 2, 1), "return_sequences": True, **({"reset_after": True} if after else {})}
        reads = TensorSpec((None, max(rows - columns // 2, 1)))
        names = {local: names[local] for local in order}
        yield Guess(scope=scope, kind="gru", fields=fields | _direction(scope), names=names, reads=reads)


def _of_scope(scope: str, left: Mapping[str, TensorSpec], uses: Mapping[str, Use]) -> Iterator[Guess]:
    """Yield layers that own variables directly in a scope."""
    own = {name.rpartition("/")[2]: name for name in left if name.rpartition("/")[0] == scope}
    shapes = {last: left[name].sizes for last, name in own.items()}
    guess: tuple[str, dict[str, Any], dict[str, str], TensorSpec]
    norm: dict[str, str] = {
        last: own[last] for last in ("gamma", "beta", "moving_mean", "moving_variance") if last in own
    }
    if norm and len(shapes[next(iter(norm))]) == 1:
        kind = "batch_norm" if "moving_mean" in norm else "layer_norm"
        off: dict[str, Any] = {key: False for key, last in (("scale", "gamma"), ("center", "beta")) if last not in norm}
        reads = TensorSpec(shapes[next(iter(norm))])
        yield Guess(scope=scope, kind=kind, fields=off, names=norm, reads=reads)
    taken: set[str] = set()
    for last, shape in shapes.items():
        if last in taken or not 2 <= len(shape) <= 5 or last in norm:
            continue
        point = last.replace("depthwise", "pointwise")
        use = uses.get(own[last])
        if "depthwise" in last and point in own and len(shape) == len(shapes[point]) == 4:
            bias = _bias(last, (shapes[point][3],), shapes, taken)
            fields = {"filters": shapes[point][3], "kernel_size": _size(shape[:2]), **_multiplier(shape)}
            names = {"depthwise_kernel": own[last], "pointwise_kernel": own[point]}
            taken.add(point)
            guess = ("separable_conv2d", fields, names, TensorSpec((None, None, shape[2])))
        elif len(shape) == 4 and ("depthwise" in last or (use is not None and use.kind == "depthwise_conv2d")):
            bias = _bias(last, (shape[2] * shape[3],), shapes, taken)
            fields = {"kernel_size": _size(shape[:2]), **_multiplier(shape)}
            guess = ("depthwise_conv2d", fields, {"depthwise_kernel": own[last]}, TensorSpec((None, None, shape[2])))
        else:
            turned = len(shape) == 4 and (
                use.kind == "conv2d_transpose"
                if use is not None
                else bool(re.search("transpose|deconv", own[last].lower()))
            )
            bias = _bias(last, (shape[-2 if turned else -1],), shapes, taken)
            guess = _kernel(last, own[last], shape, turned, bias is not None, use)
        kind, fields, names, reads = guess
        if kind not in ("embedding", "position_embedding"):
            if bias is None:
                fields["use_bias"] = False
            else:
                taken.add(bias)
                names["bias"] = own[bias]
        yield Guess(scope=scope, kind=kind, fields=fields, names=names, reads=reads)


def _kernel(
    last: str, name: str, shape: tuple[int, ...], turned: bool, has_bias: bool, use: Use | None
) -> tuple[str, dict[str, Any], dict[str, str], TensorSpec]:
    if turned:
        fields: dict[str, Any] = {"filters": shape[2], "kernel_size": _size(shape[:2])}
        return "conv2d_transpose", fields, {"kernel": name}, TensorSpec((None, None, shape[3]))
    if len(shape) > 2:
        reads = TensorSpec((*[None] * (len(shape) - 2), shape[-2]))
        return _KERNELS[len(shape)], {"filters": shape[-1], "kernel_size": _size(shape[:-2])}, {"kernel": name}, reads
    table = (
        use.kind == "embedding"
        if use is not None
        else not has_bias and ("embed" in name.lower() or shape[0] > 20 * shape[1])
    )
    if table and "position" in last.lower():
        return "position_embedding", {"max_length": shape[0]}, {"embeddings": name}, TensorSpec((None, shape[1]))
    if table:
        fields = {"input_dim": shape[0], "output_dim": shape[1]}
        return "embedding", fields, {"embeddings": name}, TensorSpec((None,), "int32")
    return "dense", {"units": shape[1]}, {"kernel": name}, TensorSpec((shape[0],))


def _lstm(scope: str, left: Mapping[str, TensorSpec]) -> Iterator[Guess]:
    own = {name.rpartition("/")[2]: name for name in left if name.rpartition("/")[0] == scope}
    kernel, bias = ("kernel", "bias") if "kernel" in own else ("weights", "biases")
    if "lstm" not in scope.lower() or kernel not in own or bias not in own or len(left[own[kernel]].shape) != 2:
        return
    rows, columns = left[own[kernel]].sizes
    units = columns // 4
    fields: dict[str, Any] = {"units": units, "return_sequences": True, **_direction(scope)}
    names = {"kernel": own[kernel], "bias": own[bias]}
    if "w_i_diag" in own:
        fields["use_peepholes"] = True
        names |= {last: own[last] for last in ("w_i_diag", "w_f_diag", "w_o_diag") if last in own}
    projection = join(scope, "projection/kernel")
    if projection in left:
        fields["projection"] = left[projection].sizes[-1]
        names["projection/kernel"] = projection
    reads = rows - fields.get("projection", units)
    if reads > 0:
        yield Guess(scope=scope, kind="lstm", fields=fields, names=names, reads=TensorSpec((None, reads)))


def _direction(scope: str) -> dict[str, str]:
    return {"direction": "backward"} if "bw" in scope.split("/") else {}


def _bias(kernel: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], taken: set[str]) -> str | None:
    """Return the bias of a kernel in the same scope: the only one there, or the one with a similar name."""
    kernels = [last for last, its in shapes.items() if len(its) > 1 and "pointwise" not in last]
    fitting = [
        last
        for last, its in shapes.items()
        if its == shape and last not in taken and re.search(r"(^|_)b(ias(es)?)?(_?\d+)?$", last.lower())
    ]
    alike = [last for last in fitting if _stem(last) == _stem(kernel)]
    if len(alike) == 1:
        return alike[0]
    return fitting[0] if len(fitting) == 1 and len(kernels) == 1 else None


def _stem(last: str) -> str:
    return re.sub(rf"(^|_){_ROLES}(?=_?\d*$)", "", last.lower())


def _size(window: tuple[int, ...]) -> int | list[int]:
    return window[0] if len(set(window)) == 1 else list(window)


def _multiplier(shape: tuple[int, ...]) -> dict[str, int]:
    return {"depth_multiplier": shape[3]} if shape[3] != 1 else {}


def _variable(name: str, spec: TensorSpec) -> Guess:
    fields: dict[str, Any] = {"shape": list(spec.shape)}
    if spec.dtype != "float32":
        fields["dtype"] = spec.dtype
    scope, shapes = name.rpartition("/")[0], {"value": spec.sizes}
    return Guess(scope=scope, kind="variable", fields=fields, names={"value": name}, reads=None, shapes=shapes)
