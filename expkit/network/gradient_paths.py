"""Paths of gradients through a network, back from the outputs that losses read, before any graph exists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from expkit.errors import Problem, comma_list
from expkit.kinds.losses import BaseLoss
from expkit.network.phases import Phase
from expkit.network.spec import NetworkSpec

__all__ = ["reached_variables", "unreached_problem", "unreached_variables"]


def unreached_variables(
    phases: Sequence[Phase], losses: Mapping[str, BaseLoss], spec: NetworkSpec
) -> Iterator[Problem]:
    """Yield the variables of every phase to which none of its losses sends a gradient.

    A regularizer is not a loss: it would only shrink a variable on which nothing depends.
    """
    for phase in phases:
        lowered = [losses[name] for name in phase.losses]
        reached = reached_variables(
            spec, [name for loss in lowered for name in loss.names(loss.reads_outputs).values()]
        )
        reached.update(name for loss in lowered for name in loss.names(loss.reads_variables).values())
        unreached = [name for name in phase.variables if name not in reached]
        if unreached:
            yield unreached_problem(phase, unreached)


def unreached_problem(phase: Phase, variables: Sequence[str]) -> Problem:
    """Return the problem that no loss of a phase depends on variables that it trains."""
    if not phase.name:
        message = f"no loss depends on {comma_list(variables)}; set trainable: false on the layers or remove them"
        return Problem("train.losses", message)
    return Problem(
        f"train.phases.{phase.name}",
        f"none of its losses ({comma_list(phase.losses)}) depends on {comma_list(variables)}; leave them out of its "
        "variables, or add a loss that does",
    )


def reached_variables(spec: NetworkSpec, outputs: Iterable[str]) -> set[str]:
    """Return the variables to which a gradient comes from outputs of the network, by full name.

    Gradients pass from a layer's outputs to its inputs and variables, all of floats, unless the layer stops them.
    """
    tensors = {spec.outputs[name] for name in outputs}
    reached: set[str] = set()
    for layer in reversed(spec.layers):
        if layer.average is not None:
            continue  # No gradient passes through averages.
        if tensors.isdisjoint(layer.tensor(name) for name, item in layer.outputs.items() if item.floating):
            continue
        reached.update(layer.bindings.values())
        if layer.layer.passes_gradient("input"):
            tensors.update(layer.inputs)
        tensors.update(path for field, path in layer.named.items() if layer.layer.passes_gradient(field))
    return reached
