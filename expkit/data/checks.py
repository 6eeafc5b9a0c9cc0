"""Checks of the data against the network, the losses and the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from expkit.cache import remembered
from expkit.config.schema import Config
from expkit.data.preprocess import raw_spec, spec_problems
from expkit.errors import ConfigError, DataError, Problem, unknown
from expkit.kinds.evaluated import Evaluated, Readable
from expkit.kinds.preprocess.base import TEXT
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.numerals import marks_of
from expkit.kinds.sources.on_disk import Array, identity_of, scan
from expkit.kinds.sources.strings import dtype_text, is_text
from expkit.kinds.weighting import Classed, Weighted
from expkit.network.elaborate import network_spec
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import Shape, TensorSpec, accepts, fits, sizes_text

__all__ = ["check_fields", "check_values", "preprocess_problems", "with_sizes"]

COUNTED_BYTES = 1 << 30
"""Size of the labels of a split up to which all that are wrong are counted."""


def preprocess_problems(config: Config, spec: NetworkSpec) -> Iterator[Problem]:
    """Yield the problems of fields that begin as one text or file per example, and of files of words."""
    for field, steps in config.data.preprocess.items():
        if steps and steps[0].reads_text:
            yield from spec_problems(field, steps, TensorSpec((), TEXT), spec.inputs)
        for number, step in enumerate(steps):
            if problem := step.file_problem():
                yield Problem(f"data.preprocess.{field}.{number}.file", problem)


def check_fields(config: Config, spec: NetworkSpec, fields: Fields) -> list[str]:
    """Check names, shapes and dtypes of fields; return the names of those in use, inputs first, then labels."""
    problems = []
    preprocess, sources = config.data.preprocess, config.data.yielded
    known = list(dict.fromkeys([*(name for name in fields if name not in sources.values()), *sources]))
    for name, declared in spec.inputs.items():
        if (field := sources.get(name, name)) not in fields:
            problems.append(_no_field(f"network.inputs.{name}", field, fields if name in sources else known))
        elif not preprocess.get(field) and (problem := _input_problem(declared, fields[field])):
            problems.append(Problem(f"network.inputs.{name}", problem))
    readers, texts = config.train.readers, list[tuple[Problem, bool]]()
    for at, reader in readers.items():
        for key, name in reader.data_fields.items():
            if (field := sources.get(name, name)) not in fields:
                problems.append(_no_field(f"{at}.{key}", field, fields if name in sources else known))
            elif not preprocess.get(field) and fields[field].dtype.kind not in "biuf":
                message = f"field '{name}' holds {dtype_text(fields[field].dtype)}, needs numbers"
                texts.append((Problem(f"{at}.{key}", message), key == "labels" and isinstance(reader, Classed)))
    # Text is numbered where all that read it take it for classes: the others are wrong, if there are any.
    problems += [problem for problem, classed in texts if not classed] or [problem for problem, _ in texts]
    read_by = (name for reader in readers.values() for name in reader.data_fields.values())
    names = list(dict.fromkeys([*spec.inputs, *read_by]))
    used = list(dict.fromkeys(sources.get(name, name) for name in names))
    for field, steps in preprocess.items():
        yields = steps[-1].yields if steps else ()
        if field not in used:
            read = "' or '".join(yields) or field
            message = unknown(f"neither the network nor a loss or metric reads a field '{read}'", read, names)
            problems.append(Problem(f"data.preprocess.{field}", message))
        elif steps and field in fields:
            problems += spec_problems(field, steps, raw_spec(steps, fields[field]), spec.inputs)
        problems += [
            Problem(f"data.preprocess.{field}", f"yields a field '{name}', which the data has; give another name")
            for name in yields
            if name in fields
        ]
    if problems:
        raise ConfigError(*problems)
    return used


def _no_field(at: str, name: str, known: Iterable[str]) -> Problem:
    return Problem(at, unknown(f"the data has no field '{name}'", name, known, label="fields"))


def _input_problem(declared: TensorSpec, array: Array) -> str | None:
    got = array.shape[1:]
    if is_text(array.dtype):
        word = _first_word(array)
        marks = marks_of(word)
        return (
            f"the network needs {declared.dtype}, the data is text or encoded files; turn it into numbers by "
            "data.preprocess" + (f", or, if '{word}' is a number, give {marks}" if marks else "")
        )
    if not fits(declared.shape, got):
        return f"the network needs shape {sizes_text(declared.shape)} per example, the data has {list(got)}"
    if not accepts(declared.dtype, array.dtype):
        return f"the network needs {declared.dtype}, the data is {dtype_text(array.dtype)}"
    return None


def _first_word(array: Array) -> str:
    first = array[:1].reshape(-1)[:1].tolist()
    return "".join(value[:40].decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in first)


def with_sizes(config: Config, spec: NetworkSpec, shapes: Mapping[str, Shape]) -> NetworkSpec:
    """Return the network of training with the sizes that the data gives where the configuration leaves them open.

    Raises:
        ConfigError: an input, or a layer, does not fit these sizes, such as those of images that are not resized.
    """
    wrong = [name for name, item in spec.inputs.items() if not fits(item.shape, shapes[name])]
    if wrong:
        message = "examples have the shape {}, but network.inputs.{} is {}; change the input, or resize or pad them"
        raise ConfigError(
            *(
                Problem(
                    f"data.preprocess.{name}",
                    message.format(sizes_text(shapes[name]), name, sizes_text(spec.inputs[name].shape)),
                )
                for name in wrong
            )
        )
    if not any(None in item.shape for item in spec.inputs.values()):
        return spec
    inputs = {
        name: item.model_copy(update={"shape": shapes[name]}) if name in spec.inputs else item
        for name, item in config.network.inputs.items()
    }
    return network_spec(config.network.model_copy(update={"inputs": inputs})).trained


def check_values(config: Config, spec: NetworkSpec, splits: Mapping[str, Fields]) -> None:
    """Check inputs and labels for values that are not finite, and labels against the losses and metrics."""
    problems = []
    for split, fields in splits.items():
        for name, array in fields.items():
            read_as = spec.inputs[name].dtype if name in spec.inputs and not config.data.preprocess.get(name) else None
            bad, first, rounded = _cached_not_finite(array, read_as) if array.dtype.kind == "f" else (0, 0, False)
            if bad:
                what = f"values beyond {read_as}" if rounded else "NaN or infinity"
                problems.append(
                    Problem(
                        f"data.source: field '{name}'",
                        f"{bad} of {len(array)} {split} examples hold {what}, the first is example {first}; "
                        "clean the data",
                    )
                )
    said: set[tuple[tuple[str, ...], str]] = set()
    for at, reader in config.train.readers.items():
        for split, fields in splits.items() if reader.data_fields else ():
            names = tuple(dict.fromkeys(reader.data_fields.values()))
            if problem := _data_problem(reader, _readables(spec, fields, names)):
                if (names, problem) not in said:
                    which = f"field{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"
                    problems.append(Problem(f"{at}: {which} ({split})", problem))
                said.add((names, problem))
                break
    if problems:
        raise DataError(*problems)


def _data_problem(reader: Evaluated, readables: Iterator[Readable]) -> str | None:
    """Return why a loss or a metric does not fit the data, all examples of which may have weight 0."""
    counted = False
    for readable in readables:
        if problem := reader.data_problem(readable):
            return problem
        counted = counted or not isinstance(reader, Weighted) or bool(reader.counted(readable).any())
    return None if counted else "every weight is 0 or every label ignored, so that nothing counts"


def _readables(spec: NetworkSpec, fields: Fields, names: Sequence[str]) -> Iterator[Readable]:
    """Yield all values of some fields at once, so that a message counts them, unless they are too many."""
    network = spec.readable
    first, *others = (fields[name] for name in names)
    if first.nbytes <= COUNTED_BYTES:
        yield replace(network, fields={name: fields[name][:] for name in names})
    else:
        for indices, values in scan(first):
            rest = (array[indices] for array in others)
            yield replace(network, fields=dict(zip(names, (values, *rest), strict=True)))


def _cached_not_finite(array: Array, read_as: str | None) -> tuple[int, int, bool]:
    """Return the same as ``_not_finite``; of files that have not changed, as it was found before."""
    known = identity_of(array)
    key = None if known is None else known + f" {read_as}".encode()
    return remembered("finite-1", key, lambda: _not_finite(array, read_as), tuple[int, int, bool])


def _not_finite(array: Array, read_as: str | None) -> tuple[int, int, bool]:
    """Return the number of examples that hold a value that is not finite, the first of them, and a cause.

    The cause is True where all values are finite, but not all as the dtype that the network reads.
    """
    narrow = np.dtype({"float16": "float16", "float64": "float64"}.get(read_as or "float64", "float32"))
    count, first, finite = 0, len(array), True
    for indices, values in scan(array):
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(values.astype(narrow, copy=False)).reshape(len(values), -1).all(axis=1)
        if bad.any():
            count, first = count + int(bad.sum()), min(first, int(indices[bad].min()))
            finite = finite and bool(np.isfinite(values[bad]).all())
    return count, first, finite
