"""Whether a layer may read what it says it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from expkit.errors import Problem, comma_list, unknown
from expkit.kinds.layers.base import Inputs
from expkit.network.names import join
from expkit.network.references import Source
from expkit.network.resolve import Node
from expkit.tensor_spec import TensorSpec

__all__ = ["are_there", "arity_fits", "batches_fit"]


def are_there(
    reads: Iterable[tuple[str, Source]],
    made: Mapping[str, Sequence[str]],
    tensors: Mapping[str, TensorSpec],
    problems: list[Problem],
) -> bool:
    """Return whether all that is read is known; what a layer that is sound does not have becomes a problem.

    Args:
        reads: what is read, with the path in the configuration that says so.
        made: names of outputs, by the path of a layer that is sound.
        tensors: all outputs and network inputs, by path.
        problems: where mistakes are told.
    """
    missing = [(at, source) for at, source in reads if source.path not in tensors]
    for at, source in missing:
        if source.layer not in made:
            continue
        outputs = made[source.layer]
        allowed = [join(source.layer, output) for output in outputs]
        if source.output:
            sentence = f"layer '{source.layer}' has no output '{source.output}'"
            message = unknown(sentence, source.output, outputs, shown=allowed)
        else:
            message = (
                f"layer '{source.layer}' has several outputs and none of its own name; name one: {comma_list(allowed)}"
            )
        problems.append(Problem(at, message))
    return not missing


def arity_fits(node: Node, problems: list[Problem]) -> bool:
    """Return whether a layer has as many inputs as its kind wants."""
    least, most = node.layer.arity
    count = len(node.inputs)
    if least <= count and (most is None or count <= most):
        return True
    span = f"{least or 'no'}" if most in (least, None) else f"{least} to {most}"
    wanted = f"{span} input" + ("s" if (most or least) > 1 else "") + (" or more" if most is None else "")
    paths = comma_list(source.path for source in node.inputs)
    problems.append(Problem(f"{node.at}.input", f"kind '{node.layer.kind}' needs {wanted}, got {count} ({paths})"))
    return False


def batches_fit(node: Node, specs: Inputs[TensorSpec], problems: list[Problem]) -> bool:
    """Return whether a layer may read what it reads together; one alone may always be a batch of one."""
    read = [*specs, *specs.named.values()]
    if node.layer.broadcasts or len({spec.batched for spec in read}) < 2:
        return True
    field, source = next(item for item, spec in zip(node.reads, read, strict=True) if not spec.batched)
    message = f"'{source.path}' is the same for every example, and kind '{node.layer.kind}' reads it beside others"
    way = "give its layer batch_of, which repeats it for every example of another"
    problems.append(Problem(f"{node.at}.{field}", f"{message}; {way}"))
    return False
