"""Checks of a layer's inputs: that they exist, their number, their batch dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from expkit.errors import comma_list, unknown
from expkit.kinds.layers.base import Inputs
from expkit.network.environment import Environment, Node
from expkit.network.names import join
from expkit.network.order import topological_order
from expkit.tensor_spec import TensorSpec

__all__ = ["check_arity", "check_batches", "check_existence", "in_order"]


def in_order(env: Environment) -> Iterator[Node]:
    """Yield the layers so that each follows the layers it reads, otherwise as written; a cycle becomes a problem."""
    reads: dict[str, dict[str, str]] = {}
    """Fields by the layer they read, by the path of the layer that has them."""
    for node in env.nodes.values():
        if node.inputs is not None:
            fields = reads.setdefault(node.path, {})
            for field, tensor in node.reads:
                fields.setdefault(env.producer(tensor), field)
            if node.average is not None:
                fields.setdefault(node.average.of, "of")  # which creates its variables
    waiting = dict.fromkeys(reads)
    for path in topological_order(reads):
        if any(layer in waiting for layer in reads[path]):
            _report_cycle(env, path, reads, waiting)
            return
        del waiting[path]
        yield env.nodes[path]


def _report_cycle(
    env: Environment, start: str, reads: Mapping[str, Mapping[str, str]], waiting: Mapping[str, None]
) -> None:
    visited: dict[str, int] = {}
    path = start
    while path not in visited:
        visited[path] = len(visited)
        path = next(layer for layer in reads[path] if layer in waiting)
    cycle = list(visited)[visited[path] :]
    field = reads[path][cycle[1 % len(cycle)]]
    shown = [*cycle, path]
    if len(shown) > 20:
        shown = [*shown[:10], f"({len(shown) - 12} more)", *shown[-2:]]
    message = f"these layers read each other in a cycle: {' <- '.join(shown)}"
    env.report(f"{env.nodes[path].at}.{field}", message)


def check_existence(env: Environment, references: Iterable[tuple[str, str]]) -> bool:
    """Return True if all tensors are known; report those that a valid layer does not have.

    Args:
        env: the environment.
        references: paths of tensors, each with the path in the configuration that refers to it.
    """
    missing = [(at, tensor) for at, tensor in references if tensor not in env.tensors]
    for at, tensor in missing:
        layer = env.producer(tensor)
        outputs = env.layer_outputs.get(layer)
        if outputs is None:
            continue
        paths = [join(layer, output) for output in outputs]
        if tensor == layer:
            message = f"layer '{layer}' has several outputs and none of its own name; name one: {comma_list(paths)}"
        else:
            output = tensor.removeprefix(f"{layer}/")
            message = unknown(f"layer '{layer}' has no output '{output}'", output, outputs, shown=paths)
        env.report(at, message)
    return not missing


def check_arity(env: Environment, node: Node) -> bool:
    """Return True if a layer has as many inputs as its kind needs."""
    least, most = node.layer.arity
    inputs = node.inputs or ()
    if least <= len(inputs) and (most is None or len(inputs) <= most):
        return True
    span = f"{least or 'no'}" if most in (least, None) else f"{least} to {most}"
    needed = f"{span} input" + ("s" if (most or least) > 1 else "") + (" or more" if most is None else "")
    message = f"kind '{node.layer.kind}' needs {needed}, got {len(inputs)} ({comma_list(inputs)})"
    env.report(f"{node.at}.input", message)
    return False


def check_batches(env: Environment, node: Node, specs: Inputs[TensorSpec]) -> bool:
    """Return True if a layer may read its inputs together: all with a batch dimension, or all without."""
    read = [*specs, *specs.named.values()]
    if node.layer.broadcasts or len({spec.batched for spec in read}) < 2:
        return True
    field, tensor = next(item for item, spec in zip(node.reads, read, strict=True) if not spec.batched)
    message = f"'{tensor}' is the same for every example, and kind '{node.layer.kind}' reads it beside others"
    env.report(
        f"{node.at}.{field}", f"{message}; give its layer batch_of, which repeats it for every example of another"
    )
    return False
