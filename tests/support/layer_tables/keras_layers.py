"""Keras' layer or function for each kind of layer, called with the kind's own variables; a kind is one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops


@dataclass(frozen=True, kw_only=True)
class Given:
    """A layer of ours and what it gets, as tensors."""

    layer: Any
    values: Mapping[str, Any]
    inputs: list[Any]
    named: Mapping[str, Any]
    training: bool = False

    @property
    def x(self) -> Any:
        return self.inputs[0]


Reference = Callable[[Given], Any]


@contextmanager
def computing_in(dtype: str) -> Iterator[None]:
    """Let the layers of Keras compute in a dtype."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def called(layer: Any, values: list[Any], *inputs: Any, kept: list[Any] | None = None, **others: Any) -> Any:
    """Return what a layer of Keras gives with these values in place of its trained and its other variables."""
    layer.build(*(tuple(x.shape) for x in inputs))
    return layer.stateless_call(values, kept or layer.non_trainable_variables, *inputs, **others)


def output(layer: Any, values: list[Any], *inputs: Any, **others: Any) -> Any:
    return called(layer, values, *inputs, **others)[0]


def function(name: str) -> Callable[[Any], Any]:
    """Return an activation, as Keras calls it."""
    if name == "crelu":
        return lambda x: keras.activations.relu(ops.concatenate([x, -x], axis=-1))
    if name == "gelu_tanh":
        return lambda x: keras.activations.gelu(x, approximate=True)
    return keras.activations.get(name)


def activation(g: Given) -> Any:
    if g.layer.alpha is not None:
        return layers.LeakyReLU(negative_slope=g.layer.alpha)(g.x)
    return function(g.layer.function)(g.x)


def dense(g: Given) -> Any:
    made = layers.Dense(g.layer.units, activation=function(g.layer.activation), use_bias=g.layer.use_bias)
    return output(made, list(g.values.values()), g.x)


def by_rank(name: str, x: Any) -> Any:
    """Return the layer of Keras for [batch, sizes, channels]."""
    return getattr(layers, name.format(len(x.shape) - 2))


def convolution(name: str) -> Reference:
    def connected(g: Given) -> Any:
        f, x, padding = g.layer, g.x, g.layer.padding
        if not isinstance(padding, str):
            x, padding = by_rank("ZeroPadding{}D", x)(padding if len(padding) > 1 else padding[0])(x), "valid"
        fields = ("filters", "kernel_size", "strides", "dilation_rate", "depth_multiplier", "groups", "use_bias")
        own = {field: getattr(f, field) for field in fields if hasattr(f, field)}
        values = list(g.values.values())
        made = by_rank(name, x)(padding=padding, activation=function(f.activation), **own)
        return output(made, values, x)

    return connected


def pooling(name: str) -> Reference:
    def connected(g: Given) -> Any:
        own = {"dtype": "float32"} if len(g.x.shape) == 5 else {}  # TensorFlow has those of volumes in no other.
        return by_rank(name, g.x)(g.layer.pool_size, strides=g.layer.strides, padding=g.layer.padding, **own)(g.x)

    return connected


def max_pool(g: Given) -> Any:
    """Return the largest values; of volumes in two steps.

    TensorFlow without oneDNN gives the gradient of a volume's window to all values within 1e-5 of the largest.
    """
    if len(g.x.shape) != 5:
        return pooling("MaxPooling{}D")(g)
    f, (batch, depth, *sizes, channels) = g.layer, g.x.shape
    assert isinstance(f.pool_size, int)
    assert f.strides is None
    images = ops.reshape(g.x, (-1, *sizes, channels))
    images = layers.MaxPooling2D(f.pool_size, padding=f.padding)(images)
    rows = ops.reshape(images, (batch, depth, -1, channels))
    rows = layers.MaxPooling2D((f.pool_size, 1), padding=f.padding)(rows)
    return ops.reshape(rows, (batch, -1, *images.shape[1:]))


def global_pooling(name: str) -> Reference:
    return lambda g: by_rank(name, g.x)(keepdims=g.layer.keepdims)(g.x)


def batch_norm(g: Given) -> Any:
    f, trained = g.layer, [g.values[name] for name in ("gamma", "beta") if name in g.values]
    moving = [g.values["moving_mean"], g.values["moving_variance"]]
    made = layers.BatchNormalization(momentum=f.momentum, epsilon=f.epsilon, center=f.center, scale=f.scale)
    result, (mean, variance) = called(made, trained, g.x, kept=moving, training=g.training)
    return {"": result, "moving_mean": mean, "moving_variance": variance} if g.training else result


def layer_norm(g: Given) -> Any:
    f, rank = g.layer, len(g.x.shape)
    axes = list(range(f.begin_norm_axis % rank, rank))
    sizes = [g.x.shape[axis] for axis in axes]
    values = [ops.broadcast_to(value, sizes) for value in g.values.values()]
    return output(layers.LayerNormalization(axes, f.epsilon, f.center, f.scale), values, g.x)


def group_norm(g: Given) -> Any:
    f = g.layer
    made = layers.GroupNormalization(f.groups, epsilon=f.epsilon, center=f.center, scale=f.scale)
    return output(made, list(g.values.values()), g.x)


def rms_norm(g: Given) -> Any:
    gamma = g.values.get("gamma", ops.ones(g.x.shape[-1:], g.x.dtype))
    return output(layers.RMSNormalization(epsilon=g.layer.epsilon), [gamma], g.x)


def lstm_values(g: Given, prefix: str) -> list[Any]:
    """Return input kernel, recurrent kernel and bias; the order of the gates is i, f, c, o."""
    i, j, f, o = ops.split(g.values[f"{prefix}kernel"], 4, axis=-1)
    of_i, of_j, of_f, of_o = ops.split(g.values[f"{prefix}bias"], 4, axis=-1)
    kernel = ops.concatenate([i, f, j, o], axis=-1)
    features = g.x.shape[-1]
    bias = ops.concatenate([of_i, of_f + g.layer.forget_bias, of_j, of_o], axis=-1)
    return [kernel[:features], kernel[features:], bias]


def gru_values(g: Given, prefix: str) -> list[Any]:
    """Return input kernel, recurrent kernel and bias; the order of the gates is update, reset, candidate."""
    features, v = g.x.shape[-1], {name.removeprefix(prefix): value for name, value in g.values.items()}
    reset, update = ops.split(v["gates/kernel"], 2, axis=-1)
    of_reset, of_update = ops.split(v["gates/bias"], 2, axis=-1)
    if not g.layer.reset_after:
        kernel = ops.concatenate([update, reset, v["candidate/kernel"]], axis=-1)
        bias = ops.concatenate([of_update, of_reset, v["candidate/bias"]], axis=-1)
        return [kernel[:features], kernel[features:], bias]
    read, hidden = (f"candidate/{name}_projection" for name in ("input", "hidden"))
    zeros = ops.zeros_like(of_reset)
    bias = [
        ops.concatenate([of_update, of_reset, v[f"{read}/bias"]], axis=-1),
        ops.concatenate([zeros, zeros, v[f"{hidden}/bias"]], axis=-1),
    ]
    return [
        ops.concatenate([update[:features], reset[:features], v[f"{read}/kernel"]], axis=-1),
        ops.concatenate([update[features:], reset[features:], v[f"{hidden}/kernel"]], axis=-1),
        ops.stack(bias),
    ]


def recurrent(kind: Any, values: Callable[[Given, str], list[Any]], states: str, **fields: str) -> Reference:
    def connected(g: Given) -> Any:
        f, both = g.layer, g.layer.direction == "both"
        made = kind(
            f.units,
            activation=function(f.activation),
            return_sequences=f.return_sequences,
            return_state=True,
            go_backwards=f.direction == "backward",
            zero_output_for_mask=True,
            **{name: getattr(f, field) for name, field in fields.items()},
        )
        given = {}
        if "lengths" in g.named:
            given["mask"] = ops.arange(g.x.shape[1])[None] < ops.cast(g.named["lengths"], "int32")[:, None]
        if "initial_h" in g.named:
            given["initial_state"] = [g.named[f"initial_{name}"] for name in states]
        prefixes = ("fw/", "bw/") if both else ("",)
        own = [value for prefix in prefixes for value in values(g, prefix)]
        result, *last = output(layers.Bidirectional(made) if both else made, own, g.x, **given)
        if f.return_sequences and f.direction == "backward":
            result = ops.flip(result, axis=1)
        if both:
            last = [
                ops.concatenate(pair, axis=-1) for pair in zip(last[: len(states)], last[len(states) :], strict=True)
            ]
        return {"": result, **{f"state_{name}": state for name, state in zip(states, last, strict=True)}}

    return connected


def attention(g: Given) -> Any:
    f, query, value, key = g.layer, g.x, g.inputs[-1], g.inputs[min(1, len(g.inputs) - 1)]
    per_head = f.key_dim or query.shape[-1] // f.num_heads
    joined = f.num_heads * per_head
    values = [
        ops.reshape(g.values[name], (*g.values[name].shape[:-1], f.num_heads, per_head))
        for name in g.values
        if not name.startswith("output")
    ]
    if f.output_dim is None:
        values.append(ops.reshape(ops.eye(joined, dtype=query.dtype), (f.num_heads, per_head, joined)))
        values += [ops.zeros(joined, query.dtype)] if f.use_bias else []
    else:
        values.append(ops.reshape(g.values["output/kernel"], (f.num_heads, per_head, f.output_dim)))
        values += [g.values["output/bias"]] if f.use_bias else []
    mask = g.named.get("mask")
    shape = (query.shape[0], query.shape[1], key.shape[1])
    allowed = ops.ones(shape, "bool") if mask is None else ops.cast(mask, "bool")
    allowed = ops.broadcast_to(allowed[:, None] if len(allowed.shape) == 2 else allowed, shape)
    if f.causal:
        allowed = ops.logical_and(allowed, ops.tril(ops.ones(shape, "bool")))
    made = layers.MultiHeadAttention(f.num_heads, per_head, use_bias=f.use_bias, output_shape=f.output_dim or joined)
    result = output(made, values, query, value, key, attention_mask=allowed)
    # Keras gives the mean of all values to a query that may attend to no key.
    return ops.where(ops.any(allowed, axis=-1)[..., None], result, ops.zeros_like(result))


def merge(kind: Any, **fields: str) -> Reference:
    return lambda g: kind(**{name: getattr(g.layer, field) for name, field in fields.items()})(g.inputs)


def op(of: Callable[[Any], str] = lambda f: f.function) -> Reference:
    """Return a function of ``keras.ops`` of all inputs."""
    return lambda g: getattr(ops, of(g.layer))(*g.inputs)


def cumsum(g: Given) -> Any:
    f = g.layer
    x = ops.flip(g.x, axis=f.axis) if f.reverse else g.x
    sums = ops.cumsum(x, axis=f.axis)
    sums = sums - x if f.exclusive else sums
    return ops.flip(sums, axis=f.axis) if f.reverse else sums


def dot(g: Given) -> Any:
    rows = [ops.reshape(x, (-1, g.x.shape[-1])) for x in g.inputs]
    if g.layer.normalize:  # As TensorFlow's l2_normalize: smaller norms count as 1e-6. Keras' own limit is 1e-12.
        rows = [ops.normalize(x, epsilon=1e-6) for x in rows]
    result = layers.Dot(axes=-1)(rows)
    return ops.reshape(result, (*g.x.shape[:-1], *((1,) if g.layer.keepdims else ())))


def similarity(g: Given) -> Any:
    left, right = g.inputs[0], g.inputs[-1]
    if g.layer.function == "euclidean":
        squares = ops.sum(ops.square(left[:, None] - right[None]), axis=-1)
        return ops.where(squares > 0, ops.sqrt(ops.where(squares > 0, squares, 1)), 0)
    if g.layer.function == "cosine":
        left, right = (ops.normalize(x, epsilon=1e-6) for x in (left, right))
    return ops.matmul(left, ops.transpose(right))


def matmul(g: Given) -> Any:
    flags = (g.layer.transpose_a, g.layer.transpose_b)
    return ops.matmul(*(ops.swapaxes(x, -1, -2) if flag else x for x, flag in zip(g.inputs, flags, strict=True)))


def sliced(g: Given) -> Any:
    f = g.layer
    return ops.take(g.x, ops.arange(g.x.shape[f.axis])[f.start : f.stop : f.step], axis=f.axis)


def split(g: Given) -> Any:
    parts = g.layer.parts if isinstance(g.layer.parts, int) else [sum(g.layer.parts[:1])]
    return {str(number): part for number, part in enumerate(ops.split(g.x, parts, axis=g.layer.axis))}


def gather(g: Given) -> Any:
    if len(g.inputs) == 1:
        return ops.take(g.x, g.layer.indices, axis=g.layer.axis)
    indices = ops.reshape(g.inputs[1], (g.x.shape[0], -1, *[1] * (len(g.x.shape) - 2)))
    result = ops.take_along_axis(g.x, indices, axis=1)
    return ops.reshape(result, (*g.inputs[1].shape, *g.x.shape[2:]))


def crop(g: Given) -> Any:
    pairs = g.layer.cropping
    return by_rank("Cropping{}D", g.x)(pairs if len(pairs) > 1 else pairs[0])(g.x)


def pad(g: Given) -> Any:
    f = g.layer
    width = ((0, 0), *f.paddings, *[(0, 0)] * (len(g.x.shape) - 1 - len(f.paddings)))
    return ops.pad(g.x, width, f.mode, ops.cast(f.value, g.x.dtype) if f.mode == "constant" else None)


def resize(g: Given) -> Any:
    f = g.layer
    if f.size is None:
        return layers.UpSampling2D(f.scale, interpolation="nearest")(g.x)
    size = (f.size, f.size) if isinstance(f.size, int) else f.size
    return layers.Resizing(*size, interpolation=f.method)(g.x)


def reduce(g: Given) -> Any:
    f = g.layer
    axes = tuple(range(1, len(g.x.shape))) if f.axis is None else f.axis
    return getattr(ops, f.function)(g.x, axis=axes, keepdims=f.keepdims)


def compare(g: Given) -> Any:
    second = g.inputs[1] if g.layer.value is None else ops.cast(g.layer.value, g.x.dtype)
    return getattr(ops, g.layer.function)(g.x, second)


def clip(g: Given) -> Any:
    low, high = (
        limit if limit is not None else sign * 1e300 for limit, sign in ((g.layer.minimum, -1), (g.layer.maximum, 1))
    )
    return ops.clip(g.x, low, high)


REFERENCES: dict[str, Reference | str] = {
    "activation": activation,
    "add": merge(layers.Add),
    "argmax": lambda g: ops.argmax(g.x, axis=g.layer.axis),
    "attention": attention,
    "average": merge(layers.Average),
    "average_pool": pooling("AveragePooling{}D"),
    "batch_norm": batch_norm,
    "block": "a block is its layers",
    "cast": lambda g: ops.cast(g.x, g.layer.dtype),
    "clip": clip,
    "compare": compare,
    "concat": merge(layers.Concatenate, axis="axis"),
    "constant": "a constant computes nothing",
    "conv1d": convolution("Conv{}D"),
    "conv2d": convolution("Conv{}D"),
    "conv2d_transpose": convolution("Conv{}DTranspose"),
    "conv3d": convolution("Conv{}D"),
    "crop": crop,
    "cumsum": cumsum,
    "decode": "decoding is held against NumPy by its own tests",
    "dense": dense,
    "depthwise_conv2d": convolution("DepthwiseConv{}D"),
    "divide": op(lambda f: "divide"),
    "dot": dot,
    "drop_path": "Keras has stochastic depth in KerasHub alone",
    "dropout": lambda g: layers.Dropout(g.layer.rate)(g.x, training=False),
    "ema_of": "an average of a scope is its layers, with other values of its variables",
    "embedding": lambda g: output(
        layers.Embedding(g.layer.input_dim, g.layer.output_dim), list(g.values.values()), g.x
    ),
    "flatten": lambda g: layers.Flatten()(g.x),
    "gather": gather,
    "gaussian_noise": lambda g: layers.GaussianNoise(g.layer.stddev)(g.x, training=False),
    "global_average_pool": global_pooling("GlobalAveragePooling{}D"),
    "global_max_pool": global_pooling("GlobalMaxPooling{}D"),
    "group_norm": group_norm,
    "gru": recurrent(layers.GRU, gru_values, "h", reset_after="reset_after"),
    "layer_norm": layer_norm,
    "local_response_norm": "Keras has no normalization over nearby channels",
    "lstm": recurrent(layers.LSTM, lstm_values, "hc"),
    "math": op(),
    "matmul": matmul,
    "max_pool": max_pool,
    "maximum": merge(layers.Maximum),
    "minimum": merge(layers.Minimum),
    "multiply": merge(layers.Multiply),
    "one_hot": lambda g: ops.one_hot(g.x, g.layer.depth),
    "pad": pad,
    "position_embedding": "Keras has learned positions in KerasHub alone",
    "position_encoding": "Keras has sines of positions in KerasHub alone, and there interleaved",
    "random": "Keras draws other random numbers",
    "reduce": reduce,
    "reshape": lambda g: layers.Reshape(g.layer.shape)(g.x),
    "resize": resize,
    "rms_norm": rms_norm,
    "scan": "a scan is its layers, step by step",
    "scale_gradient": "Keras has no layer that changes gradients alone",
    "scope": "a scope is its layers",
    "separable_conv2d": convolution("SeparableConv{}D"),
    "similarity": similarity,
    "slice": sliced,
    "split": split,
    "stack": lambda g: ops.stack(g.inputs, axis=g.layer.axis),
    "stop_gradient": lambda g: ops.stop_gradient(g.x),
    "subtract": merge(layers.Subtract),
    "transpose": lambda g: layers.Permute(g.layer.perm)(g.x),
    "variable": "a variable computes nothing",
    "where": lambda g: ops.where(g.named["condition"], *g.inputs),
}
"""By kind: Keras' layer or function, or why there is none."""


def _dilated_strides(layer: Any) -> bool:
    return layer.strides != 1 and layer.dilation_rate != 1


LACKING: dict[str, tuple[Callable[[Any], bool], str]] = {
    "conv2d": (_dilated_strides, "strides and dilation exclude each other"),
    "lstm": (lambda f: bool(f.use_peepholes or f.projection), "no peepholes, no projection"),
    "resize": (lambda f: not (f.half_pixel_centers or f.scale), "pixels are resized about their centers"),
}
"""By kind: which of its fields Keras lacks."""
