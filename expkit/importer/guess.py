"""Which layers own which variables, guessed from names, shapes and operations; every guess is held against its kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError

import expkit.kinds.layers  # noqa: F401  # registers the kinds of layers
from expkit.importer.contents import Stored, Use
from expkit.kinds.layers.base import Inputs, Layer
from expkit.network.names import join
from expkit.registry import kinds
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Guess", "guesses"]

_KERNELS = {1: "dense", 2: "dense", 3: "conv1d", 4: "conv2d", 5: "conv3d"}
_TOLD_BY_OPERATIONS = {
    "conv1d": ("strides", "padding", "activation"),
    "conv2d": ("strides", "padding", "activation"),
    "conv3d": ("strides", "padding", "activation"),
    "conv2d_transpose": ("strides", "padding", "activation"),
    "depthwise_conv2d": ("strides", "padding", "activation"),
    "separable_conv2d": ("strides", "padding", "activation"),
    "dense": ("activation",),
    "batch_norm": ("epsilon",),
}
_NEVER_TOLD = {
    "batch_norm": ("momentum",),
    "layer_norm": ("epsilon",),
    "lstm": ("forget_bias", "direction", "lengths"),
    "gru": ("direction", "lengths"),
    "attention": ("num_heads", "mask"),
}
_WORDS = r"(weights?|kernel|biases|bias|w|b)"


@dataclass(frozen=True)
class Guess:
    """A layer that may own some variables."""

    scope: str
    kind: str
    fields: Mapping[str, Any]
    names: Mapping[str, str]
    """Full names of its variables, by what the layer calls them."""
    reads: TensorSpec | None
    """The least that it can read; ``None`` where it reads nothing."""
    open: tuple[str, ...] = ()
    """Fields that are to be filled in."""
    note: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of its variables, by what the layer calls them."""

    def layer(self) -> Layer:
        """Return the layer as the configuration would hold it."""
        cls: Any = kinds("layer")[self.kind]
        made: Layer = cls.model_validate_json(json.dumps({"kind": self.kind, **self.fields}))
        return made

    def output(self, read: TensorSpec | None) -> TensorSpec | None:
        """Return what comes out of the layer when it reads this; ``None`` where it would own other variables then."""
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


def guesses(variables: Mapping[str, Stored], uses: Mapping[str, Use]) -> list[Guess]:
    """Return layers that own all variables, those of no known layer each as a ``variable``, in the variables' order."""
    found: list[Guess] = []
    left = dict(variables)
    scopes = sorted({scope for name in variables for scope in _scopes(name)}, key=lambda scope: -scope.count("/"))
    for whose in (_grouped, _of_scope):  # A layer of several scopes comes before those of each.
        for scope in scopes:
            for guess in map(partial(_told, uses=uses, variables=variables), whose(scope, left, uses)):
                fits = all(name in left for name in guess.names.values()) and guess.output(guess.reads) is not None
                if fits:
                    found.append(guess)
                    left = {name: stored for name, stored in left.items() if name not in guess.names.values()}
    found += (_variable(name, stored) for name, stored in left.items())
    places = {name: place for place, name in enumerate(variables)}
    return sorted(found, key=lambda guess: min(places[name] for name in guess.names.values()))


def _scopes(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:end]) for end in range(len(parts)))


def _told(guess: Guess, uses: Mapping[str, Use], variables: Mapping[str, Stored]) -> Guess:
    """Add what operations tell of a layer; mark as open what they do not."""
    use = next((uses[name] for name in guess.names.values() if name in uses and uses[name].kind == guess.kind), None)
    shapes = {local: variables[name].shape for local, name in guess.names.items()}
    fields, note = dict(guess.fields), guess.note
    open_fields = (*_TOLD_BY_OPERATIONS.get(guess.kind, ()), *_NEVER_TOLD.get(guess.kind, ()))
    if use is not None:
        fields |= use.fields
        note = ", ".join(text for text in (note, use.note) if text)
        open_fields = tuple(name for name in open_fields if name not in _TOLD_BY_OPERATIONS.get(guess.kind, ()))
    return Guess(guess.scope, guess.kind, fields, guess.names, guess.reads, open_fields, note, shapes)


def _grouped(scope: str, left: Mapping[str, Stored], uses: Mapping[str, Use]) -> Iterator[Guess]:
    """Yield layers whose variables are in scopes below theirs: attention, recurrent cells."""
    inside = {
        name[len(scope) + 1 :] if scope else name: name for name in left if not scope or name.startswith(f"{scope}/")
    }
    yield from _lstm(scope, left)
    for kernel, bias in (("kernel", "bias"), ("weights", "biases")):
        parts = [f"{part}/{kernel}" for part in ("query", "key", "value")]
        if all(part in inside and len(left[inside[part]].shape) == 2 for part in parts):
            size, joined = left[inside[parts[0]]].shape
            heads = joined // 64 if joined % 64 == 0 else 1
            fields: dict[str, Any] = {"num_heads": heads}
            if joined != size:
                fields["key_dim"] = joined // heads
            names = {f"{part}/kernel": inside[f"{part}/{kernel}"] for part in ("query", "key", "value")}
            biases = {
                f"{part}/bias": inside[f"{part}/{bias}"]
                for part in ("query", "key", "value")
                if f"{part}/{bias}" in inside
            }
            names = {
                key: name
                for part in ("query", "key", "value")
                for key, name in (names | biases).items()
                if key.startswith(part)
            }
            if not biases:
                fields["use_bias"] = False
            yield Guess(scope, "attention", fields, names, TensorSpec((None, size)))
    if {"gates/kernel", "gates/bias"} <= set(inside):
        rows, columns = (*left[inside["gates/kernel"]].shape, 0, 0)[:2]
        after = "candidate/input_projection/kernel" in inside
        names = {local: name for local, name in inside.items() if local.startswith(("gates/", "candidate/"))}
        order = sorted(
            names, key=lambda local: (not local.startswith("gates"), "hidden" in local, local.endswith("bias"))
        )
        fields = {"units": max(columns // 2, 1), "return_sequences": True, **({"reset_after": True} if after else {})}
        reads = TensorSpec((None, max(rows - columns // 2, 1)))
        yield Guess(scope, "gru", fields | _way(scope), {local: names[local] for local in order}, reads)


def _of_scope(scope: str, left: Mapping[str, Stored], uses: Mapping[str, Use]) -> Iterator[Guess]:
    """Yield layers that own variables right in a scope."""
    own = {name.rpartition("/")[2]: name for name in left if name.rpartition("/")[0] == scope}
    shapes = {last: left[name].shape for last, name in own.items()}
    guess: tuple[str, dict[str, Any], dict[str, str], TensorSpec]
    norm: dict[str, str] = {
        last: own[last] for last in ("gamma", "beta", "moving_mean", "moving_variance") if last in own
    }
    if norm and len(shapes[next(iter(norm))]) == 1:
        kind = "batch_norm" if "moving_mean" in norm else "layer_norm"
        off: dict[str, Any] = {key: False for key, last in (("scale", "gamma"), ("center", "beta")) if last not in norm}
        yield Guess(scope, kind, off, norm, TensorSpec(shapes[next(iter(norm))]))
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
        yield Guess(scope, kind, fields, names, reads)


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


def _lstm(scope: str, left: Mapping[str, Stored]) -> Iterator[Guess]:
    own = {name.rpartition("/")[2]: name for name in left if name.rpartition("/")[0] == scope}
    kernel, bias = ("kernel", "bias") if "kernel" in own else ("weights", "biases")
    if "lstm" not in scope.lower() or kernel not in own or bias not in own or len(left[own[kernel]].shape) != 2:
        return
    rows, columns = left[own[kernel]].shape
    units = columns // 4
    fields: dict[str, Any] = {"units": units, "return_sequences": True, **_way(scope)}
    names = {"kernel": own[kernel], "bias": own[bias]}
    if "w_i_diag" in own:
        fields["use_peepholes"] = True
        names |= {last: own[last] for last in ("w_i_diag", "w_f_diag", "w_o_diag") if last in own}
    projection = join(scope, "projection/kernel")
    if projection in left:
        fields["projection"] = left[projection].shape[-1]
        names["projection/kernel"] = projection
    reads = rows - fields.get("projection", units)
    if reads > 0:
        yield Guess(scope, "lstm", fields, names, TensorSpec((None, reads)))


def _way(scope: str) -> dict[str, str]:
    return {"direction": "backward"} if "bw" in scope.split("/") else {}


def _bias(kernel: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], taken: set[str]) -> str | None:
    """Return the bias of a kernel in the same scope: the only one there, or the one that is called like it."""
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
    return re.sub(rf"(^|_){_WORDS}(?=_?\d*$)", "", last.lower())


def _size(window: tuple[int, ...]) -> int | list[int]:
    return window[0] if len(set(window)) == 1 else list(window)


def _multiplier(shape: tuple[int, ...]) -> dict[str, int]:
    return {"depth_multiplier": shape[3]} if shape[3] != 1 else {}


def _variable(name: str, stored: Stored) -> Guess:
    fields: dict[str, Any] = {"shape": list(stored.shape)}
    if stored.dtype != "float32":
        fields["dtype"] = stored.dtype
    return Guess(name.rpartition("/")[0], "variable", fields, {"value": name}, None, shapes={"value": stored.shape})
