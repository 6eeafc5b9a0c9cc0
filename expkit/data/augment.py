"""Augmented training examples: read, preprocessed, changed at random, mixed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.augment_checks import misfits, mixing_step, partnered_fields
from expkit.data.preprocess import FieldPreprocessing
from expkit.errors import ConfigError, DataError, describe_exception
from expkit.kinds.augment.base import Augment, BaseAugment, Mixing
from expkit.kinds.augment.draws import Draws
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import aligned_empty, examples_at
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import TensorSpec

__all__ = ["FRACTION", "PARTNER", "Augmentation", "AugmentedExamples", "augmentation", "read_spec"]

FRACTION = "mixing/fraction"
"""Name, beside fields, of the fraction of a mixed example that is its own."""
PARTNER = "mixing/partner/"
"""Beginning of the name, beside fields, of the values that a field has for the example that is mixed in."""
PIECE_BYTES = 1 << 20
"""Size of the values that are changed at once, which the processor's cache holds; no number depends on it."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The augmentation of the training examples."""

    steps: Mapping[str, tuple[BaseAugment, ...]]
    """Steps by field, at least one each."""
    specs: Mapping[str, TensorSpec]
    """Shape and dtype of the augmented fields, as their steps read them."""
    preprocessing: Mapping[str, FieldPreprocessing]
    """Preprocessing of augmented fields, part of which is computed in every step."""
    partnered: tuple[str, ...]
    """Fields whose values for both examples are given, where examples are mixed."""
    seed: int
    """Seed of the run."""

    @property
    def mixing(self) -> tuple[str, Mixing] | None:
        """The name of the draws of the step that mixes examples, and the step; ``None`` if there is none."""
        for steps in self.steps.values():
            if (step := mixing_step(steps)) is not None:
                return _named(steps)[-1][0], step
        return None

    def templates(self, arrays: Fields) -> Fields:
        """Return arrays of the shapes and dtypes that a step reads, by field; they hold no values.

        Args:
            arrays: the training examples.
        """
        found = {name: _template(len(array), array.shape[1:], array.dtype) for name, array in arrays.items()}
        for name, item in self.specs.items():
            found[name] = _template(len(arrays[name]), item.sizes, np.dtype(item.dtype))
        if self.mixing is None:
            return found
        partners = {f"{PARTNER}{name}": found[name] for name in self.partnered}
        count = len(next(iter(arrays.values())))
        return {**found, **partners, FRACTION: _template(count, (), np.dtype(np.float32))}


def augmentation(
    config: Config, spec: NetworkSpec, arrays: Fields, preprocessing: Mapping[str, FieldPreprocessing]
) -> Augmentation | None:
    """Return the augmentation of training examples; ``None`` if there is none.

    Args:
        config: the configuration.
        spec: the network of training.
        arrays: the training examples, after the preprocessing that is computed once.
        preprocessing: fitted preprocessing by field.

    Raises:
        ConfigError: a step does not fit a field.
    """
    steps = {name: steps for name, steps in config.data.augment.items() if steps}
    if not steps:
        return None
    specs = {name: read_spec(spec, name, arrays, preprocessing) for name in steps}
    if problems := list(misfits(steps, specs)):
        raise ConfigError(*problems)
    return Augmentation(
        steps=steps,
        specs=specs,
        preprocessing={name: preprocessing[name] for name in steps if name in preprocessing},
        partnered=partnered_fields(config),
        seed=config.run.seed,
    )


def read_spec(
    spec: NetworkSpec, name: str, arrays: Fields, preprocessing: Mapping[str, FieldPreprocessing]
) -> TensorSpec:
    """Return the shape and dtype of a field after preprocessing, as the network reads it, in float32 at least."""
    array = arrays[name]
    shape = preprocessing[name].shape if name in preprocessing else tuple(array.shape[1:])
    dtype = spec.inputs[name].dtype if name in spec.inputs else array.dtype.name
    return TensorSpec(shape, "float32" if dtype in ("float16", "bfloat16") else dtype)


def _template(count: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.broadcast_to(np.zeros((), dtype), (count, *shape))


def _named(steps: tuple[BaseAugment, ...]) -> list[tuple[str, BaseAugment]]:
    """Return steps with the names of their draws: the n-th step of a kind has the same for every field."""
    counts: Counter[str] = Counter()
    found = []
    for step in steps:
        found.append((step.draws or f"{step.kind}/{counts[step.kind]}", step))
        counts[step.kind] += 1
    return found


@final
class AugmentedExamples:
    """The training examples by index and epoch, as steps read them; nothing else changes what they are."""

    def __init__(self, arrays: Fields, plan: Augmentation) -> None:
        self._arrays = arrays
        self._plan = plan
        self._count = len(next(iter(arrays.values())))
        self._templates = plan.templates(arrays)
        with tf.Graph().as_default() as graph:
            self._graph = {name: _preprocessed(plan.specs[name], item) for name, item in plan.preprocessing.items()}
        graph.finalize()
        self._session = tf.Session(graph=graph)

    def close(self) -> None:
        """Release what it holds."""
        self._session.close()

    def take(self, indices: np.ndarray, epochs: np.ndarray) -> dict[str, np.ndarray]:
        """Return examples by field, with their partners where they are mixed.

        Args:
            indices: [n] indices of training examples.
            epochs: [n] the epoch of each, from 0.

        Raises:
            DataError: a step of augmentation fails.
        """
        plan = self._plan
        if plan.mixing is None:
            return {name: self._changed(name, indices, epochs) for name in self._arrays}
        drawn, step = plan.mixing
        draws = Draws(drawn, plan.seed, epochs, indices)
        partners = draws.others(self._count)
        chosen = draws.chosen(step.probability)
        found = {name: self._changed(name, indices, epochs) for name in self._arrays}
        fractions = aligned_empty((len(indices),), np.dtype(np.float32))
        for name, steps in plan.steps.items():
            if (mixing := mixing_step(steps)) is None:
                continue
            others = self._changed(name, partners, epochs)
            fractions[:] = 1
            with _failures(name, len(steps) - 1, mixing):
                for piece in _pieces(found[name]):
                    mixed = np.flatnonzero(chosen[piece]) + piece.start
                    values, own = mixing.mix(found[name][mixed], others[mixed], draws.of(mixed))
                    _check(values, found[name][mixed])
                    found[name][mixed], fractions[mixed] = values, own
        for name in plan.partnered:
            found[f"{PARTNER}{name}"] = self._changed(name, partners, epochs)
        return {**found, FRACTION: fractions}

    def _changed(self, name: str, indices: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """Return the values of a field after all steps but one that mixes examples."""
        read = examples_at(self._arrays[name], indices)
        if name not in self._plan.steps:
            return read
        template = self._templates[name]
        changed = aligned_empty((len(indices), *template.shape[1:]), template.dtype)
        for piece in _pieces(changed):
            values = self._preprocess(name, read[piece])
            for number, (drawn, step) in enumerate(_named(self._plan.steps[name])):
                if isinstance(step, Augment):
                    with _failures(name, number, step):
                        draws = Draws(drawn, self._plan.seed, epochs[piece], indices[piece])
                        values = _applied(step, values, draws)
            changed[piece] = values
        return changed

    def _preprocess(self, name: str, read: np.ndarray) -> np.ndarray:
        """Return values as the network reads them, in an array of their own."""
        if name in self._graph:
            kept, result = self._graph[name]
            read = self._session.run(result, {kept: read})
        return np.array(read, self._templates[name].dtype, order="C")


def _preprocessed(spec: TensorSpec, field: FieldPreprocessing) -> tuple[Any, Any]:
    kept = tf.placeholder(field.kept_spec.dtype, (None, *field.kept_spec.shape))
    return kept, tf.cast(field.connect_in_step(kept), spec.dtype)


def _applied(step: Augment, values: np.ndarray, draws: Draws) -> np.ndarray:
    """Return examples, those of them changed that are chosen."""
    if step.always_applied or step.probability == 1:
        changed = step.apply(values, draws)
        _check(changed, values)
        return changed
    chosen = draws.chosen(step.probability)
    some = values[chosen]
    changed = step.apply(some, draws.of(chosen))
    _check(changed, some)
    values[chosen] = changed
    return values


class _WrongResult(Exception):
    """Raised where a step returns another shape or dtype than it was given."""


def _check(changed: np.ndarray, values: np.ndarray) -> None:
    if not isinstance(changed, np.ndarray) or (changed.shape, changed.dtype) != (values.shape, values.dtype):
        got = f"{changed.dtype} {list(changed.shape)}" if isinstance(changed, np.ndarray) else type(changed).__name__
        raise _WrongResult(f"returned {got} for {values.dtype} {list(values.shape)}; shape and dtype must stay")


@contextmanager
def _failures(name: str, number: int, step: BaseAugment) -> Iterator[None]:
    """Report what a step raises, which may be a plugin's."""
    at = f"data.augment.{name}.{number}"
    try:
        yield
    except _WrongResult as error:
        raise DataError.at(at, f"{step.kind} {error}") from None
    except Exception as error:
        raise DataError.at(at, f"{step.kind} failed: {describe_exception(error)}") from error


def _pieces(values: np.ndarray) -> Iterator[slice]:
    """Yield slices of examples to change at once."""
    size = max(1, PIECE_BYTES // max(1, values.dtype.itemsize * math.prod(values.shape[1:])))
    return (slice(start, min(start + size, len(values))) for start in range(0, len(values), size))
