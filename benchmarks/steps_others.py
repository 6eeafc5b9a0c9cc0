"""The programs of benchmarks/steps.py that need no TensorFlow: PyTorch in eager mode, and JAX.

Usage: python benchmarks/steps_others.py torch|jax WORKLOAD

``steps.py --others PYTHON`` starts them with an interpreter that has NumPy and these two; nothing else is needed, and
expkit depends on neither. Networks, first values, batches and averages are those of ``steps.py``. PyTorch takes random
batches out of a tensor; its convolutions have the channels last, which is faster; bfloat16 is ``autocast``. JAX
compiles a ``scan`` over 100 steps that takes the batches out of the images itself; with convolutions it compiles a
single step, because XLA runs them many times slower inside a loop; bfloat16 casts weights and activations. Both use
the CPU alone.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from steps import CHUNK, EMA_DECAY, EXAMPLES, RATE, WORKLOADS, Pacer, Workload, first_values, images


def run_torch(work: Workload) -> None:
    """Run PyTorch step by step."""
    import torch
    from torch import nn

    torch.set_num_threads(os.cpu_count() or 1)
    convolutions, dense = first_values(work)
    layers: list[Any] = [nn.Linear(*kernel.shape) for kernel, _ in dense]
    if work.network == "lstm":
        layers[0] = nn.LSTM(28, work.hidden[0], batch_first=True)
    if work.network == "cnn":
        channels = [kernel.shape[2:] for kernel, _ in convolutions]
        first = [nn.Conv2d(*pair, 5, padding="same").to(memory_format=torch.channels_last) for pair in channels]
        layers = first + layers
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    values = [value.T for pair in convolutions + dense for value in pair]
    if work.network == "lstm":
        kernel, bias = dense[0]
        bias[work.hidden[0] : 2 * work.hidden[0]] = 1.0  # of the gate that forgets
        values[:2] = kernel[:28].T, kernel[28:].T, bias, np.zeros_like(bias)
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(torch.from_numpy(value))

    def logits(x: Any) -> Any:
        if work.network == "lstm":
            return layers[1](layers[0](x.view(-1, 28, 28))[0][:, -1])
        if work.network == "cnn":
            x = x.view(-1, 1, 28, 28)
            for layer in layers[:2]:
                x = nn.functional.max_pool2d(layer(x).relu(), 2)
            x = x.flatten(1)
        for layer in layers[len(convolutions) : -1]:
            x = layer(x).relu()
        return layers[-1](x)

    x, y = (torch.from_numpy(part[:EXAMPLES]) for part in images())
    optimizer = torch.optim.SGD(parameters, RATE)
    shadows = [parameter.detach().clone() for parameter in parameters]

    def step(index: Any) -> Any:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=work.bfloat16):
            given = logits(x[index])
        value = nn.functional.cross_entropy(given.float(), y[index])
        value.backward()
        optimizer.step()
        torch._foreach_lerp_(shadows, parameters, 1 - EMA_DECAY)
        return value.detach()

    def orders() -> Iterator[Any]:
        while True:
            yield from torch.randperm(EXAMPLES)[: EXAMPLES // work.batch_size * work.batch_size].split(work.batch_size)

    indices = orders()
    pacer = Pacer()
    while True:
        total = torch.zeros(())
        for index in itertools.islice(indices, CHUNK):
            total += step(index)
        float(total)
        pacer.reached(CHUNK)


def run_jax(work: Workload) -> None:
    """Run compiled steps of JAX, 100 a call where there is no convolution."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    jax.config.update("jax_platforms", "cpu")

    def used(value: Any) -> Any:
        return value.astype(jnp.bfloat16) if work.bfloat16 else value

    def recurrent(x: Any, kernel: Any, bias: Any) -> Any:
        """Return the last output: the inputs' products in one go, then a step per row."""
        projected = jnp.swapaxes(x.reshape(-1, 28, 28) @ kernel[:28] + bias, 0, 1)

        def advance(state: Any, row: Any) -> Any:
            hidden, cell = state
            i, j, f, o = jnp.split(row + hidden @ kernel[28:], 4, axis=1)
            cell = cell * jax.nn.sigmoid(f + 1.0) + jax.nn.sigmoid(i) * jnp.tanh(j)
            return (jnp.tanh(cell) * jax.nn.sigmoid(o), cell), None

        zeros = jnp.zeros((work.batch_size, work.hidden[0]))
        return lax.scan(advance, (zeros, zeros), projected)[0][0]

    def loss(variables: Any, x: Any, y: Any) -> Any:
        convolutions, dense = variables
        x = used(x)
        if work.network == "cnn":
            x = x.reshape(-1, 28, 28, 1)
            for kernel, bias in convolutions:
                x = lax.conv_general_dilated(
                    x, used(kernel), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                x = jax.nn.relu(x + used(bias))
                x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
            x = x.reshape(work.batch_size, -1)
        if work.network == "lstm":
            x = recurrent(x, *dense[0])
        else:
            for kernel, bias in dense[:-1]:
                x = jax.nn.relu(x @ used(kernel) + used(bias))
        kernel, bias = dense[-1]
        logits = jax.nn.log_softmax((x @ used(kernel) + used(bias)).astype(jnp.float32))
        return -jnp.take_along_axis(logits, y[:, None], 1).mean()

    def step(state: Any, index: Any, x: Any, y: Any) -> Any:
        variables, shadows = state
        value, gradients = jax.value_and_grad(loss)(variables, x[index], y[index])
        variables = jax.tree.map(lambda old, gradient: old - RATE * gradient, variables, gradients)
        shadows = jax.tree.map(lambda old, new: old + (new - old) * (1 - EMA_DECAY), shadows, variables)
        return (variables, shadows), value

    def steps(state: Any, indices: Any, x: Any, y: Any) -> Any:
        return lax.scan(lambda state, index: step(state, index, x, y), state, indices)

    def orders() -> Iterator[Any]:
        draw = np.random.default_rng(2)
        while True:
            order = draw.permutation(EXAMPLES)[: EXAMPLES // work.batch_size * work.batch_size]
            yield from order.reshape(-1, work.batch_size)

    one_by_one = work.network == "cnn"
    compiled = jax.jit(step if one_by_one else steps, donate_argnums=0)
    x, y = (jnp.asarray(part[:EXAMPLES]) for part in images())
    values = first_values(work)
    state = jax.tree.map(jnp.array, (values, values))
    indices = orders()
    pacer = Pacer()
    while True:
        chunk = np.stack(list(itertools.islice(indices, CHUNK)))
        total = 0.0
        for part in chunk if one_by_one else [chunk]:
            state, found = compiled(state, part, x, y)
            total += found.sum()
        float(total)
        pacer.reached(CHUNK)


if __name__ == "__main__":
    {"torch": run_torch, "jax": run_jax}[sys.argv[1]](WORKLOADS[sys.argv[2]])
