"""The lower bound of the step time of a workload of benchmarks/steps.py, with TensorFlow's kernels.

It runs the products, convolutions and pooling of the step, forward and backward, on prepared operands, and updates
every weight and its EMA in one call that XLA compiles. bfloat16 kernels are prepared beside the float32 ones. For
convolutions and LSTMs batches are prepared, too, without biases, activations, loss or metrics. A dense network has
everything but the loss itself and metrics, and draws the batches of the next call beside the steps of this one: its
products are so fast that the rest counts. No program can omit any of this: a faster one uses other kernels than
TensorFlow's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from steps import CHUNK, EMA_DECAY, EXAMPLES, RATE, Pacer, Workload, images

__all__ = ["run_bound"]

Products = tuple[Sequence[Any], Callable[..., Sequence[Any]]]
"""Weights, and a function from a step's index and the drawn batches to their gradients."""


def run_bound(work: Workload, jit: bool) -> None:
    """Run the bound's steps, 100 per call; ``jit`` lets XLA compile the products, too."""
    import tensorflow as tf

    weights, gradients = {"mlp": dense_products, "cnn": image_products, "lstm": recurrent_products}[work.network](
        tf, work
    )
    averages = [tf.Variable(weight) for weight in weights]

    @tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def move(found: Sequence[Any]) -> None:
        for weight, average, gradient in zip(weights, averages, found, strict=True):
            weight.assign_sub(RATE * tf.cast(gradient, tf.float32))
            average.assign_sub((average - weight) * (1 - EMA_DECAY))

    @tf.function(jit_compile=jit)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def steps(*drawn: Any) -> None:
        for place in tf.range(CHUNK):
            move(gradients(place, *drawn))

    call = drawing(tf, work, steps) if work.network == "mlp" else steps
    call()
    pacer = Pacer()
    while True:
        call()
        pacer.reached(CHUNK)


def drawing(tf: Any, work: Workload, steps: Callable[..., None]) -> Any:
    """Return a call of steps that draws images and labels for the next one beside them."""
    x, y = images()
    held = [tf.Variable(array[:EXAMPLES]) for array in (x, y)]
    size = CHUNK, work.batch_size
    drawn = [tf.Variable(tf.zeros((*size, 784))), tf.Variable(tf.zeros(size, tf.int64))]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def call() -> None:
        steps(*[variable.read_value() for variable in drawn])
        indices = tf.random.uniform(size, maxval=EXAMPLES, dtype=tf.int64)
        for variable, array in zip(drawn, held, strict=True):
            variable.assign(tf.gather(array, indices))

    return call


class Operands:
    """Variables of random values, small enough to stay finite."""

    def __init__(self, tf: Any, work: Workload) -> None:
        self._tf = tf
        self._draw = np.random.default_rng(0)
        self._narrow = tf.bfloat16 if work.bfloat16 else tf.float32

    def weight(self, *shape: int) -> Any:
        """Return a float32 variable."""
        return self._tf.Variable(self._draw.normal(0, 1e-3, shape).astype(np.float32))

    def operand(self, *shape: int) -> Any:
        """Return a variable of what products are computed in."""
        return self._tf.Variable(self._tf.cast(self.weight(*shape), self._narrow))

    def read(self, weight: Any) -> Any:
        """Return what a product reads of a weight: itself in float32, in bfloat16 a copy that lies ready."""
        return weight if self._narrow == self._tf.float32 else self.operand(*weight.shape)


def dense_products(tf: Any, work: Workload) -> Products:
    """Return the products of dense layers, and what lies between them."""
    operands, sizes = Operands(tf, work), (784, *work.hidden, 10)
    weights = [operands.weight(*pair) for pair in itertools.pairwise(sizes)]
    kernels, biases = [operands.read(weight) for weight in weights], [operands.weight(size) for size in sizes[1:]]

    def gradients(place: Any, block: Any, labels: Any) -> list[Any]:
        outputs = [tf.cast(block[place], kernels[0].dtype)]
        for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            result = outputs[-1] @ kernel + tf.cast(bias, outputs[-1].dtype)
            outputs.append(tf.nn.relu(result) if number + 1 < len(kernels) else tf.cast(result, tf.float32))
        logits = outputs.pop()
        upstream = (tf.nn.softmax(logits) - tf.one_hot(labels[place], 10)) / work.batch_size
        upstream, found, moved = tf.cast(upstream, outputs[-1].dtype), [], []
        for number in reversed(range(len(kernels))):
            found.append(tf.matmul(outputs[number], upstream, transpose_a=True))
            moved.append(tf.cast(tf.reduce_sum(upstream, 0), tf.float32))
            if number:
                upstream = tf.matmul(upstream, kernels[number], transpose_b=True)
                upstream = tf.where(outputs[number] > 0, upstream, tf.zeros_like(upstream))
        return [*found[::-1], *moved[::-1]]

    return [*weights, *biases], gradients


def image_products(tf: Any, work: Workload) -> Products:
    """Return the convolutions and products of the network for images."""
    operands, batch = Operands(tf, work), work.batch_size
    layers = [((28, 28, 1), 32), ((14, 14, 32), 64)]
    weights = [operands.weight(5, 5, shape[-1], filters) for shape, filters in layers]
    dense = [(7 * 7 * 64, work.hidden[0]), (work.hidden[0], 10)]
    weights += [operands.weight(*pair) for pair in dense]
    kernels = [operands.read(weight) for weight in weights]
    inputs = [operands.operand(batch, *shape) for shape, _ in layers] + [operands.operand(batch, i) for i, _ in dense]
    upstream = [operands.operand(batch, *shape[:2], filters) for shape, filters in layers]
    upstream += [operands.operand(batch, o) for _, o in dense]
    kept = [tf.Variable(0.0) for _ in range(7 + 2 * len(layers))]

    def gradients(place: Any) -> list[Any]:
        found, others = [], []
        for number, (x, kernel, above) in enumerate(zip(inputs, kernels, upstream, strict=True)):
            if number < len(layers):
                same = {"strides": (1, 1, 1, 1), "padding": "SAME"}
                others.append(tf.nn.conv2d(x, kernel, **same))
                pooling = {"ksize": (1, 2, 2, 1), "strides": (1, 2, 2, 1), "padding": "VALID"}
                others.append(tf.raw_ops.MaxPool(input=above, **pooling))
                others.append(tf.raw_ops.MaxPoolGrad(
                    orig_input=above, orig_output=others[-1], grad=others[-1], **pooling
                ))  # fmt: skip
                found.append(tf.raw_ops.Conv2DBackpropFilter(
                    input=x, filter_sizes=kernel.shape, out_backprop=above, **same
                ))  # fmt: skip
                if number:
                    others.append(tf.raw_ops.Conv2DBackpropInput(
                        input_sizes=x.shape, filter=kernel, out_backprop=above, **same
                    ))  # fmt: skip
            else:
                others.append(x @ kernel)
                others.append(tf.matmul(above, kernel, transpose_b=True))
                found.append(tf.matmul(x, above, transpose_a=True))
        for place, other in zip(kept, others, strict=True):  # Else nothing would compute them.
            place.assign(tf.cast(tf.reshape(other, [-1])[0], tf.float32))
        return found

    return weights, gradients


def recurrent_products(tf: Any, work: Workload) -> Products:
    """Return the products of an LSTM over 28 rows, those over time by halves of the batch that go side by side."""
    operands, units, half = Operands(tf, work), work.hidden[0], work.batch_size // 2
    kernel = operands.weight(28 + units, 4 * units)
    rows = [operands.operand(half * 28, 28) for _ in range(2)]
    before = [operands.operand(half * 28, 28 + units) for _ in range(2)]
    above = [operands.operand(half * 28, 4 * units) for _ in range(2)]
    kept = [tf.Variable(0.0) for _ in range(6)]

    def gradients(place: Any) -> list[Any]:
        of_rows, recurrent = tf.split(kernel, [28, units])
        others, found = [], []
        for part in range(2):
            others.append(rows[part] @ of_rows)
            state, upstream = tf.zeros((half, units)), tf.zeros((half, 4 * units))
            for _ in range(28):
                state = (state @ recurrent)[:, :units]
            for _ in range(28):
                upstream = tf.tile(tf.matmul(upstream, recurrent, transpose_b=True), (1, 4))
            others += [state, upstream]
            found.append(tf.matmul(before[part], above[part], transpose_a=True))
        for place, other in zip(kept, others, strict=True):  # Else nothing would compute them.
            place.assign(tf.reshape(other, [-1])[0])
        return [found[0] + found[1]]

    return [kernel], gradients
