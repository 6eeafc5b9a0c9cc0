"""Sides of a network: what training needs of it, and what serving needs, the frozen graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from expkit.errors import Problem, comma_list
from expkit.network.environment import Environment
from expkit.network.variables import VariableSpec

__all__ = ["Side", "SideName", "differ", "side_problems", "sides"]

SideName = Literal["training", "serving"]
_OTHER: dict[SideName, SideName] = {"training": "serving", "serving": "training"}
_ONLY = {"training": "is for training only", "serving": "is in the frozen graph only"}
MOST_SHOWN = 12
"""Layers of a path in a message."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a network."""

    inputs: Collection[str]
    """Names of the inputs it has."""
    outputs: Collection[str]
    """Names of the outputs it has."""
    needed: Mapping[str, str | None]
    """Paths of the layers and inputs that its outputs need, each with the layer that reads it; ``None`` for an output.

    Following the readers is a shortest path to an output.
    """


def sides(env: Environment) -> dict[SideName, Side]:
    """Return both sides of a valid network."""
    reads = _reads(env)
    found: dict[SideName, Side] = {}
    for name, other in _OTHER.items():
        outputs = [output for output in env.outputs if env.network.output(output).use != other]
        found[name] = Side(
            inputs=[key for key, item in env.network.inputs.items() if item.use != other],
            outputs=outputs,
            needed=_needed((env.producer(env.outputs[output]) for output in outputs), reads),
        )
    return found


def differ(env: Environment) -> bool:
    """Return whether an input or output is of one side only."""
    uses = [item.use for item in env.network.inputs.values()]
    uses += [env.network.output(name).use for name in env.network.outputs]
    return set(uses) != {"always"}


def _reads(env: Environment) -> dict[str, list[str]]:
    """Return by layer the layers and inputs that it reads."""
    return {path: [env.producer(tensor) for _, tensor in node.reads] for path, node in env.nodes.items()}


def _needed(outputs: Iterable[str], reads: Mapping[str, Iterable[str]]) -> dict[str, str | None]:
    needed: dict[str, str | None] = dict.fromkeys(outputs)
    waiting = list(needed)
    for reader in waiting:  # Grows: breadth first.
        for source in reads.get(reader, ()):
            if source not in needed:
                needed[source] = reader
                waiting.append(source)
    return needed


def side_problems(
    env: Environment, both: Mapping[SideName, Side], variables: Mapping[str, VariableSpec]
) -> Iterator[Problem]:
    """Yield why a valid network cannot be trained and served by its sides."""
    yield from _inputs_of_the_other_side(env)
    yield from _coupled_examples(env)
    if differ(env):
        yield from _unread_inputs(env, both)
        yield from _untrained(env, both, variables)


def _inputs_of_the_other_side(env: Environment) -> Iterator[Problem]:
    reads = _reads(env)
    for name, tensor in env.outputs.items():
        needed = _needed([env.producer(tensor)], reads)
        use = env.network.output(name).use
        for side, other in _OTHER.items():
            wrong = [item for item in needed if item in env.network.inputs and env.network.inputs[item].use == other]
            if use != other and wrong:
                needs = "the frozen graph has" if side == "serving" else "training needs"
                yield Problem(
                    f"network.outputs.{name}",
                    f"{needs} '{name}', which depends on input '{wrong[0]}', and that {_ONLY[other]}: "
                    f"{_path(wrong[0], needed, name)}; give the output use: {other}, or the input use: always",
                )


def _coupled_examples(env: Environment) -> Iterator[Problem]:
    reads = _reads(env)
    for name, tensor in env.outputs.items():
        needed = _needed([env.producer(tensor)], reads)
        coupled = [path for path in needed if path in env.nodes and env.nodes[path].layer.couples_examples]
        if coupled and env.network.output(name).use != "training":
            yield Problem(
                f"network.outputs.{name}",
                f"the frozen graph has '{name}', which depends on '{coupled[0]}', and kind "
                f"'{env.nodes[coupled[0]].layer.kind}' compares the examples of a batch: "
                f"{_path(coupled[0], needed, name)}; only training can have that: give the output use: training",
            )


def _unread_inputs(env: Environment, both: Mapping[SideName, Side]) -> Iterator[Problem]:
    for name, item in env.network.inputs.items():
        at = f"network.inputs.{name}.use"
        having = [side for side, one in both.items() if one.outputs]
        reading = [side for side in having if name in both[side].needed]
        if item.use != "always" and item.use in having and not reading:
            yield Problem(at, f"no output of {item.use} depends on '{name}'; connect it, or remove the input")
        elif item.use == "always" and len(having) == 2 and len(reading) == 1:
            asks = {"training": "the frozen graph would require it for nothing", "serving": "it needs no data"}[
                reading[0]
            ]
            yield Problem(at, f"only outputs of {reading[0]} depend on '{name}', so {asks}; give it use: {reading[0]}")


def _untrained(
    env: Environment, both: Mapping[SideName, Side], variables: Mapping[str, VariableSpec]
) -> Iterator[Problem]:
    trained, served = both["training"].needed, both["serving"].needed
    by_layer: dict[str, list[str]] = {}
    for name, variable in variables.items():
        layers = [env.owner(path) for path in variable.layers]
        if variable.trainable and served.keys() & layers and not trained.keys() & layers:
            by_layer.setdefault(layers[0], []).append(name)
    for path, names in by_layer.items():
        yield Problem(
            env.nodes[path].at,
            f"only the frozen graph has '{path}', so training never changes {comma_list(names)}; share the variables "
            "of a layer that is trained (scope and reuse: auto), or set trainable: false",
        )


def _path(source: str, needed: Mapping[str, str | None], output: str) -> str:
    steps, step = [source], needed[source]
    while step is not None:
        steps.append(step)
        step = needed[step]
    if len(steps) > MOST_SHOWN:
        half = MOST_SHOWN // 2
        steps = [*steps[:half], f"({len(steps) - MOST_SHOWN} more)", *steps[-half:]]
    return " -> ".join([*steps, *([output] if steps[-1] != output else [])])
