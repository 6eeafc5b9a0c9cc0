"""Gradients of single operations that cost less on a CPU than TensorFlow's own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache, partial
from typing import Any

from expkit import tf1 as tf
from expkit.training.execution import Execution

__all__ = ["cheaper_gradients", "is_product"]

_PRODUCTS = ("MatMul", "Conv2DBackpropFilter")


def cheaper_gradients(execution: Execution, shards: int = 1) -> AbstractContextManager[None]:
    """Return a context in which operations have these gradients, for an execution mode.

    A ``Relu`` whose output only max pooling reads: what is not positive is masked in the gradient of the pooled values,
    which are fewer, and not again before pooling. No bit differs: a window's gradient goes to its largest value, which
    is positive exactly if the window's result is.

    A ``BiasAdd``, unless XLA compiles it: its gradient is a product, to images in float32, to all else in bfloat16.
    With a convolution of images in float32 oneDNN would join it to the kernel's gradient, which is slower than both.

    A ``Conv2D`` whose images come in several ``shards``, in float32: the gradient of the images comes first. All layers
    before wait for it; the kernel's is for cores that have nothing else to do, also at the beginning of the next step.
    In bfloat16 that was slower.
    """
    _register()
    gradients = {"Relu": "ExpkitRelu", "MaxPool": "ExpkitMaxPool"}
    if execution.jit_compile is not True:
        gradients["BiasAdd"] = "ExpkitRowsBiasAdd" if execution.precision == "bfloat16" else "ExpkitImagesBiasAdd"
    if shards > 1 and execution.precision == "float32":
        gradients["Conv2D"] = "ExpkitConv2D"
    overridden: AbstractContextManager[None] = tf.get_default_graph().gradient_override_map(gradients)
    return overridden


def is_product(gradient: Any) -> bool:
    """Return whether a gradient is the direct result of a product or convolution."""
    return _source(gradient).op.type in _PRODUCTS


def _source(tensor: Any) -> Any:
    """Return the tensor behind ``Identity`` operations."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def _only_pooled(tensor: Any) -> bool:
    """Return whether only max pooling, and its gradient, read a tensor, directly or through ``Identity``."""
    return all(
        _only_pooled(reader.outputs[0]) if reader.type == "Identity" else reader.type in ("MaxPool", "MaxPoolGrad")
        for reader in tensor.consumers()
    )


@cache
def _register() -> None:
    tf.RegisterGradient("ExpkitRelu")(_relu)
    tf.RegisterGradient("ExpkitMaxPool")(_max_pool)
    tf.RegisterGradient("ExpkitConv2D")(_conv2d)
    tf.RegisterGradient("ExpkitRowsBiasAdd")(partial(_bias_add, (2, 3)))
    tf.RegisterGradient("ExpkitImagesBiasAdd")(partial(_bias_add, (4,)))


def _relu(operation: Any, gradient: Any) -> Any:
    (output,) = operation.outputs
    return gradient if _only_pooled(output) else tf.raw_ops.ReluGrad(gradients=gradient, features=output)


def _max_pool(operation: Any, gradient: Any) -> Any:
    (x,), (output,) = operation.inputs, operation.outputs
    rectified = _source(x)
    if rectified.op.type == "Relu" and _only_pooled(rectified):
        gradient = tf.raw_ops.ReluGrad(gradients=gradient, features=output)
    names = ("ksize", "strides", "padding", "explicit_paddings", "data_format")
    window = {name: operation.get_attr(name) for name in names}
    return tf.raw_ops.MaxPoolGrad(orig_input=x, orig_output=output, grad=gradient, **window)


def _bias_add(ranks: tuple[int, ...], operation: Any, gradient: Any) -> tuple[Any, Any]:
    """Return the gradients of a ``BiasAdd``; the bias' is a product if the output's rank is one of ``ranks``."""
    data_format = operation.get_attr("data_format")
    if gradient.shape.rank not in ranks or data_format != b"NHWC":
        return gradient, tf.raw_ops.BiasAddGrad(out_backprop=gradient, data_format=data_format)
    rows = tf.reshape(gradient, (-1, gradient.shape[-1]))
    ones = tf.ones((1, rows.shape[0] or tf.shape(rows)[0]), gradient.dtype)
    return gradient, tf.matmul(ones, rows)[0]


def _conv2d(operation: Any, gradient: Any) -> tuple[Any, Any]:
    images, kernel = operation.inputs
    names = ("strides", "padding", "explicit_paddings", "data_format", "dilations")
    window = {name: operation.get_attr(name) for name in names}
    sizes, kernel_sizes = tf.shape(images), tf.shape(kernel)
    of_images = tf.raw_ops.Conv2DBackpropInput(input_sizes=sizes, filter=kernel, out_backprop=gradient, **window)
    with tf.control_dependencies([of_images] if _reads_a_variable(images) else []):
        of_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=images, filter_sizes=kernel_sizes, out_backprop=gradient, **window
        )
    return of_images, of_kernel


def _reads_a_variable(tensor: Any) -> bool:
    """Return whether a tensor depends on a variable: if not, its gradient is not used."""
    waiting, seen = [tensor], set()
    while waiting:
        found = waiting.pop()
        if found.dtype == tf.resource:
            return True
        if found.op not in seen:
            seen.add(found.op)
            waiting += found.op.inputs
    return False
