"""Published networks as plain TensorFlow 1 programs, on ``tf.nn`` and ``variable_scope`` alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit import tf1 as tf

__all__ = ["inception_v3", "mobilenet_v1", "resnet_v1_50", "resnet_v2_50", "vgg_16"]

Size = int | tuple[int, int]


def window(x: Any, filters: int, size: Size, stride: int = 1, padding: str = "SAME") -> Any:
    """Convolve with the variable ``weights`` of the current scope."""
    height, width = (size, size) if isinstance(size, int) else size
    weights = tf.get_variable("weights", (height, width, x.shape[-1], filters))
    return tf.nn.conv2d(x, weights, strides=stride, padding=padding)


def with_biases(scope: str, x: Any, filters: int, size: Size, stride: int = 1, padding: str = "SAME") -> Any:
    """Convolve under a scope and add ``biases``."""
    with tf.variable_scope(scope):
        return window(x, filters, size, stride, padding) + tf.get_variable("biases", (filters,))


def normalized(x: Any, epsilon: float, scale: bool = True) -> Any:
    """Normalize by the moving statistics of the current scope."""
    shape = (x.shape[-1],)
    gamma = tf.get_variable("gamma", shape) if scale else tf.ones(shape)
    beta, mean, variance = (tf.get_variable(name, shape) for name in ("beta", "moving_mean", "moving_variance"))
    return gamma * (x - mean) / tf.sqrt(variance + epsilon) + beta


def squeezed(x: Any) -> Any:
    """Take the sizes of 1 away."""
    return tf.squeeze(x, axis=[1, 2])


def vgg_16(x: Any) -> Any:
    """Simonyan and Zisserman 2014, configuration D; the first dense layer sees all that is left of the image."""
    with tf.variable_scope("vgg_16"):
        for stage, (count, filters) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1):
            for number in range(1, count + 1):
                x = tf.nn.relu(with_biases(f"conv{stage}/conv{stage}_{number}", x, filters, 3))
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = tf.nn.relu(with_biases("fc6", x, 4096, int(x.shape[1]), padding="VALID"))
        x = tf.nn.relu(with_biases("fc7", x, 4096, 1))
        return {"logits": squeezed(with_biases("fc8", x, 1000, 1))}


def padded(x: Any, size: int) -> Any:
    """Add as many zeros on all sides as keep an image's size under a window."""
    ends = [(size - 1) // 2, size // 2]
    return tf.pad(x, [[0, 0], ends, ends, [0, 0]])


def resnet_convolution(scope: str, x: Any, filters: int, size: int, stride: int = 1, relu: bool = True) -> Any:
    """Convolve with borders padded alike, normalize, and cut off below 0 if asked."""
    with tf.variable_scope(scope):
        x = window(padded(x, size), filters, size, stride, "VALID")
        with tf.variable_scope("BatchNorm"):
            x = normalized(x, 1e-5)
        return tf.nn.relu(x) if relu else x


def resnet_units(x: Any, unit: Callable[[Any, int, int], Any], version: str) -> Any:
    """Connect the 16 units of ResNet-50; the last of a block has its stride."""
    for block, (depth, count, stride) in enumerate([(64, 3, 2), (128, 4, 2), (256, 6, 2), (512, 3, 1)], start=1):
        for number in range(1, count + 1):
            with tf.variable_scope(f"block{block}/unit_{number}/bottleneck_{version}"):
                x = unit(x, depth, stride if number == count else 1)
    return x


def resnet_v1_50(x: Any) -> Any:
    """He et al. 2015, as slim has it."""

    def unit(x: Any, depth: int, stride: int) -> Any:
        wide = int(x.shape[-1]) == 4 * depth
        shortcut = x[:, ::stride, ::stride]
        if not wide:
            shortcut = resnet_convolution("shortcut", shortcut, 4 * depth, 1, relu=False)
        x = resnet_convolution("conv1", x, depth, 1)
        x = resnet_convolution("conv2", x, depth, 3, stride)
        return tf.nn.relu(shortcut + resnet_convolution("conv3", x, 4 * depth, 1, relu=False))

    with tf.variable_scope("resnet_v1_50"):
        x = resnet_convolution("conv1", x, 64, 7, 2)
        x = resnet_units(tf.nn.max_pool2d(x, 3, 2, "SAME"), unit, "v1")
        x = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
        return {"logits": squeezed(with_biases("logits", x, 1000, 1))}


def resnet_v2_50(x: Any) -> Any:
    """He et al. 2016, as slim has it."""

    def unit(x: Any, depth: int, stride: int) -> Any:
        with tf.variable_scope("preact"):
            before = tf.nn.relu(normalized(x, 1e-5))
        if int(x.shape[-1]) == 4 * depth:
            shortcut = x[:, ::stride, ::stride]
        else:
            shortcut = with_biases("shortcut", before, 4 * depth, 1, stride)
        x = resnet_convolution("conv1", before, depth, 1)
        x = resnet_convolution("conv2", x, depth, 3, stride)
        return shortcut + with_biases("conv3", x, 4 * depth, 1)

    with tf.variable_scope("resnet_v2_50"):
        x = with_biases("conv1", padded(x, 7), 64, 7, 2, "VALID")
        x = resnet_units(tf.nn.max_pool2d(x, 3, 2, "SAME"), unit, "v2")
        with tf.variable_scope("postnorm"):
            x = tf.nn.relu(normalized(x, 1e-5))
        x = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
        return {"logits": squeezed(with_biases("logits", x, 1000, 1))}


def mobilenet_v1(x: Any) -> Any:
    """Howard et al. 2017, as slim has it."""

    def finished(x: Any) -> Any:
        with tf.variable_scope("BatchNorm"):
            return tf.nn.relu6(normalized(x, 0.001))

    depths = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    halving = (2, 4, 6, 12)
    with tf.variable_scope("MobilenetV1"):
        with tf.variable_scope("Conv2d_0"):
            x = finished(window(x, 32, 3, 2))
        for number, depth in enumerate(depths, start=1):
            with tf.variable_scope(f"Conv2d_{number}_depthwise"):
                weights = tf.get_variable("depthwise_weights", (3, 3, x.shape[-1], 1))
                stride = 2 if number in halving else 1
                x = finished(tf.nn.depthwise_conv2d(x, weights, (1, stride, stride, 1), "SAME"))
            with tf.variable_scope(f"Conv2d_{number}_pointwise"):
                x = finished(window(x, depth, 1))
        with tf.variable_scope("Logits"):
            x = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
            return {"logits": squeezed(with_biases("Conv2d_1c_1x1", x, 1000, 1))}


Convolutions = list[tuple[str, int, Size]]


def inception_convolution(scope: str, x: Any, filters: int, size: Size, stride: int = 1, padding: str = "SAME") -> Any:
    """Convolve, normalize without ``gamma``, cut off below 0."""
    with tf.variable_scope(scope):
        x = window(x, filters, size, stride, padding)
        with tf.variable_scope("BatchNorm"):
            return tf.nn.relu(normalized(x, 0.001, scale=False))


def inception_v3(x: Any) -> Any:
    """Szegedy et al. 2015, as slim has it."""

    def branch(number: int, x: Any, layers: Convolutions) -> Any:
        with tf.variable_scope(f"Branch_{number}"):
            for name, filters, size in layers:
                halving = name.startswith("Conv2d_1a")
                x = inception_convolution(name, x, filters, size, 2 if halving else 1, "VALID" if halving else "SAME")
            return x

    def averaged(x: Any) -> Any:
        return tf.nn.avg_pool2d(x, 3, 1, "SAME")

    def mixed_35(scope: str, x: Any, second: Convolutions, last: int) -> Any:
        with tf.variable_scope(scope):
            third: Convolutions = [("Conv2d_0a_1x1", 64, 1), ("Conv2d_0b_3x3", 96, 3), ("Conv2d_0c_3x3", 96, 3)]
            branches = [
                branch(0, x, [("Conv2d_0a_1x1", 64, 1)]),
                branch(1, x, second),
                branch(2, x, third),
                branch(3, averaged(x), [("Conv2d_0b_1x1", last, 1)]),
            ]
            return tf.concat(branches, axis=3)

    def mixed_17(scope: str, x: Any, n: int) -> Any:
        across, along = (1, 7), (7, 1)
        first: Convolutions = [("Conv2d_0a_1x1", n, 1)]
        with tf.variable_scope(scope):
            third: Convolutions = [("Conv2d_0b_7x1", n, along), ("Conv2d_0c_1x7", n, across)]
            third += [("Conv2d_0d_7x1", n, along), ("Conv2d_0e_1x7", 192, across)]
            branches = [
                branch(0, x, [("Conv2d_0a_1x1", 192, 1)]),
                branch(1, x, [*first, ("Conv2d_0b_1x7", n, across), ("Conv2d_0c_7x1", 192, along)]),
                branch(2, x, first + third),
                branch(3, averaged(x), [("Conv2d_0b_1x1", 192, 1)]),
            ]
            return tf.concat(branches, axis=3)

    def mixed_8(scope: str, x: Any, second: str) -> Any:
        with tf.variable_scope(scope):
            pairs = []
            for number, layers, names in [
                (1, [("Conv2d_0a_1x1", 384, 1)], ("Conv2d_0b_1x3", second)),
                (2, [("Conv2d_0a_1x1", 448, 1), ("Conv2d_0b_3x3", 384, 3)], ("Conv2d_0c_1x3", "Conv2d_0d_3x1")),
            ]:
                y = branch(number, x, layers)
                for name, size in zip(names, ((1, 3), (3, 1)), strict=True):
                    pairs.append(branch(number, y, [(name, 384, size)]))
            first = branch(0, x, [("Conv2d_0a_1x1", 320, 1)])
            return tf.concat([first, *pairs, branch(3, averaged(x), [("Conv2d_0b_1x1", 192, 1)])], axis=3)

    with tf.variable_scope("InceptionV3"):
        x = inception_convolution("Conv2d_1a_3x3", x, 32, 3, 2, "VALID")
        x = inception_convolution("Conv2d_2a_3x3", x, 32, 3, 1, "VALID")
        x = inception_convolution("Conv2d_2b_3x3", x, 64, 3)
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = inception_convolution("Conv2d_3b_1x1", x, 80, 1)
        x = inception_convolution("Conv2d_4a_3x3", x, 192, 3, 1, "VALID")
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = mixed_35("Mixed_5b", x, [("Conv2d_0a_1x1", 48, 1), ("Conv2d_0b_5x5", 64, 5)], 32)
        x = mixed_35("Mixed_5c", x, [("Conv2d_0b_1x1", 48, 1), ("Conv_1_0c_5x5", 64, 5)], 64)
        x = mixed_35("Mixed_5d", x, [("Conv2d_0a_1x1", 48, 1), ("Conv2d_0b_5x5", 64, 5)], 64)
        with tf.variable_scope("Mixed_6a"):
            second: Convolutions = [("Conv2d_0a_1x1", 64, 1), ("Conv2d_0b_3x3", 96, 3), ("Conv2d_1a_1x1", 96, 3)]
            pooled = tf.nn.max_pool2d(x, 3, 2, "VALID")
            x = tf.concat([branch(0, x, [("Conv2d_1a_1x1", 384, 3)]), branch(1, x, second), pooled], axis=3)
        for scope, n in [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)]:
            x = mixed_17(scope, x, n)
        with tf.variable_scope("AuxLogits"):
            aux = tf.nn.avg_pool2d(x, 5, 3, "VALID")
            aux = inception_convolution("Conv2d_1b_1x1", aux, 128, 1)
            aux = inception_convolution("Conv2d_2a_5x5", aux, 768, 5, 1, "VALID")
            aux = squeezed(with_biases("Conv2d_2b_1x1", aux, 1000, 1))
        with tf.variable_scope("Mixed_7a"):
            first: Convolutions = [("Conv2d_0a_1x1", 192, 1), ("Conv2d_1a_3x3", 320, 3)]
            second = [("Conv2d_0a_1x1", 192, 1), ("Conv2d_0b_1x7", 192, (1, 7)), ("Conv2d_0c_7x1", 192, (7, 1))]
            second += [("Conv2d_1a_3x3", 192, 3)]
            x = tf.concat([branch(0, x, first), branch(1, x, second), tf.nn.max_pool2d(x, 3, 2, "VALID")], axis=3)
        x = mixed_8("Mixed_7b", x, "Conv2d_0b_3x1")
        x = mixed_8("Mixed_7c", x, "Conv2d_0c_3x1")
        with tf.variable_scope("Logits"):
            x = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
            return {"logits": squeezed(with_biases("Conv2d_1c_1x1", x, 1000, 1)), "aux_logits": aux}
