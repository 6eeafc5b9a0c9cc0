"""Checks of augmentation against the network, the losses and the fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from expkit.config.schema import Config
from expkit.data.vocabularies import embedded_inputs
from expkit.errors import Problem, comma_list, unknown
from expkit.kinds.augment.base import BaseAugment, ImageAugment, Mixing
from expkit.kinds.augment.tokens import TokenDropout
from expkit.kinds.evaluated import Evaluated, Labeled
from expkit.kinds.losses import BaseLoss
from expkit.kinds.weighting import Classed
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import ShapeError, TensorSpec, sizes_text

__all__ = ["augment_problems", "augment_warnings", "misfits", "mixing_step", "partnered_fields"]


def augment_problems(config: Config, spec: NetworkSpec) -> Iterator[Problem]:
    """Yield the problems of augmentation that are known without the data.

    Args:
        config: fields may be wrong.
        spec: the network of training.
    """
    augment = {name: steps for name, steps in config.data.augment.items() if steps}
    used = list(dict.fromkeys([*spec.inputs, *_read(config)]))
    for name in augment:
        if name not in used:
            message = unknown(f"neither the network nor a loss or metric reads a field '{name}'", name, used)
            yield Problem(f"data.augment.{name}", message)
    specs = {name: TensorSpec(item.shape, item.dtype) for name, item in spec.inputs.items()}
    yield from misfits(augment, {name: specs[name] for name in augment if name in specs})
    for name in augment:
        if name not in specs:
            yield from _unchangeable_labels(config, spec, name)
    yield from _wrong_mixing(config, spec, augment)
    for name, (path, rows) in embedded_inputs(spec).items():
        for number, step in enumerate(augment.get(name, ())):
            if isinstance(step, TokenDropout) and step.value >= rows:
                message = f"is {step.value:,}, but layer '{path}' has rows 0 to {rows - 1:,}; give one of these"
                yield Problem(f"data.augment.{name}.{number}.value", message)


def _unchangeable_labels(config: Config, spec: NetworkSpec, name: str) -> Iterator[Problem]:
    """Yield the steps of a field of labels that cannot change any labels of a loss, whatever the data."""
    losses: dict[str, Evaluated] = dict(config.train.losses)
    reading = {key: loss for key, loss in losses.items() if isinstance(loss, Labeled) and loss.labels == name}
    outputs = {key: spec.output_spec(loss.output).shape for key, loss in reading.items() if loss.output in spec.outputs}
    for number, step in enumerate(config.data.augment[name]):
        for key, shape in outputs.items():
            shapes = (shape[:-1], shape)
            if all(_refuses(step, TensorSpec(labels)) for labels in shapes):
                allowed = " or ".join(map(sizes_text, shapes))
                yield Problem(
                    f"data.augment.{name}.{number}",
                    f"{step.kind} cannot change the labels of train.losses.{key}, {allowed} per example; leave it out",
                )


def _refuses(step: BaseAugment, spec: TensorSpec) -> bool:
    try:
        step.check(spec)
    except ShapeError:
        return True
    return False


def misfits(augment: Mapping[str, tuple[BaseAugment, ...]], specs: Mapping[str, TensorSpec]) -> Iterator[Problem]:
    """Yield the steps that cannot change fields of these shapes and dtypes."""
    for name, item in specs.items():
        for number, step in enumerate(augment[name]):
            try:
                step.check(item)
            except ShapeError as error:
                yield Problem(f"data.augment.{name}.{number}", str(error))


def augment_warnings(config: Config, spec: NetworkSpec) -> Iterator[str]:
    """Yield a sentence about each field of labels of positions that does not move with the image."""
    losses: list[Evaluated] = list(config.train.losses.values())
    outputs = {loss.labels: spec.output_spec(loss.output).shape for loss in losses if isinstance(loss, Labeled)}
    for name, steps in config.data.augment.items():
        moving = {step.kind: None for step in steps if isinstance(step, ImageAugment) and step.moves}
        for labels, shape in outputs.items():
            moved = [step.kind for step in config.data.augment.get(labels, ())]
            still = [kind for kind in moving if kind not in moved]
            if name in spec.inputs and still and len(shape) > 1 and shape[:2] == spec.inputs[name].shape[:2]:
                yield (
                    f"'{labels}' has a label at every pixel and stays where it is, while {comma_list(still)} of "
                    f"data.augment.{name} moves the image; repeat it in data.augment.{labels}"
                )


def mixing_step(steps: tuple[BaseAugment, ...]) -> Mixing | None:
    """Return the step of a field that mixes examples, its last, if there is one."""
    return last if steps and isinstance(last := steps[-1], Mixing) else None


def partnered_fields(config: Config) -> tuple[str, ...]:
    """Return the fields of which a loss reads the values of both examples that are mixed."""
    mixed = [name for name, steps in config.data.augment.items() if mixing_step(steps) is not None]
    read = (name for loss in config.train.losses.values() for name in loss.data_fields.values())
    return tuple(dict.fromkeys(name for name in read if name not in mixed)) if mixed else ()


def _read(config: Config) -> Iterator[str]:
    return (name for reader in config.train.readers.values() for name in reader.data_fields.values())


def _wrong_mixing(
    config: Config, spec: NetworkSpec, augment: Mapping[str, tuple[BaseAugment, ...]]
) -> Iterator[Problem]:
    first: tuple[str, Mixing] | None = None
    for name, steps in augment.items():
        for number, step in enumerate(steps):
            at = f"data.augment.{name}.{number}"
            if not isinstance(step, Mixing):
                continue
            if number < len(steps) - 1:
                after = steps[number + 1].kind
                yield Problem(
                    at,
                    f"{step.kind} mixes the example with another, so it is the last step; move it behind {after}"
                    if not isinstance(steps[number + 1], Mixing)
                    else f"{step.kind} and {after} mix examples; a field has one of them, as its last step",
                )
                continue
            if config.data.order == "stream":
                yield Problem(at, f"{step.kind} mixes examples drawn from anywhere, but order is stream; leave it out")
            if first is None:
                first = name, step
                yield from _wrong_losses(config, spec, at, step)
            elif _alike(step) != _alike(first[1]):
                yield Problem(
                    at,
                    f"mixes otherwise than data.augment.{first[0]}, but an example is mixed with one other, by one "
                    f"fraction; repeat {first[1].kind} with the same fields",
                )


def _alike(step: Mixing) -> dict[str, object]:
    return step.model_dump(exclude={"shape"})


def _wrong_losses(config: Config, spec: NetworkSpec, at: str, step: Mixing) -> Iterator[Problem]:
    """Yield the losses whose labels cannot be those of two examples."""
    partnered = partnered_fields(config)
    for name, loss in config.train.losses.items():
        read = [field for field in loss.data_fields.values() if field in partnered]
        if not read:
            continue
        loss_at = f"train.losses.{name} ({loss.kind})"
        if loss.couples_examples:
            yield Problem(
                at,
                f"{loss_at} compares the examples of a batch, so an example cannot have two labels; leave out "
                f"{step.kind}, or choose a loss of single examples",
            )
        elif step.pastes and not _reads_classes(loss):
            yield Problem(
                at,
                f"{step.kind} pastes a part of another image, and {loss_at} compares numbers in {comma_list(read)} "
                "that hold for a whole image, such as boxes; leave it out, or use mixup or cutout",
            )
        elif step.pastes and _has_positions(loss, spec):
            yield Problem(
                at,
                f"{step.kind} pastes a part of another image, and {loss_at} has a label at every position; paste them "
                f"alike: data.augment.{read[0]}=[{{kind: {step.kind}}}]",
            )


def _reads_classes(loss: Evaluated) -> bool:
    return isinstance(loss, Classed)


def _has_positions(loss: BaseLoss, spec: NetworkSpec) -> bool:
    return loss.output in spec.outputs and len(spec.output_spec(loss.output).shape) > 1
