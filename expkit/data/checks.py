"""Checks of the data against the network, the losses and the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from expkit.config.schema import Config
from expkit.errors import ConfigError, DataError, Problem, unknown
from expkit.kinds.losses import Loss
from expkit.kinds.metrics import Metric
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import Array, scan
from expkit.network.spec import NetworkSpec, network_spec
from expkit.tensor_spec import TensorSpec, accepts, fits, sizes_text

__all__ = ["check_fields", "check_values", "with_sizes"]

COUNTED_BYTES = 1 << 30
"""Size of the labels of a split up to which all that are wrong are counted."""


def check_fields(config: Config, spec: NetworkSpec, fields: Fields) -> list[str]:
    """Check names, shapes and dtypes of fields; return the names of those in use, inputs first, then labels."""
    problems = []
    for name, declared in spec.inputs.items():
        if name not in fields:
            message = unknown(f"the data has no field '{name}'", name, fields, label="fields")
            problems.append(Problem(f"network.inputs.{name}", message))
        elif problem := _input_problem(declared, fields[name]):
            problems.append(Problem(f"network.inputs.{name}", problem))
    readers: dict[str, Loss | Metric] = {
        **{f"train.losses.{name}": loss for name, loss in config.train.losses.items()},
        **{
            f"train.metrics.{name}": metric
            for name, metric in config.train.metrics.items()
            if metric.labels is not None
        },
    }
    for at, reader in readers.items():
        if reader.labels not in fields:
            message = unknown(f"the data has no field '{reader.labels}'", reader.labels, fields, label="fields")
            problems.append(Problem(f"{at}.labels", message))
        elif fields[reader.labels].dtype.kind not in "biuf":
            message = f"field '{reader.labels}' holds {fields[reader.labels].dtype}, needs numbers"
            problems.append(Problem(f"{at}.labels", message))
    for name in config.data.standardize:
        if name not in spec.inputs:
            problems.append(Problem("data.standardize", unknown(f"no input '{name}'", name, spec.inputs)))
        elif spec.inputs[name].dtype != "float32":
            problems.append(Problem("data.standardize", f"input '{name}' is {spec.inputs[name].dtype}, needs float32"))
    if problems:
        raise ConfigError(*problems)
    return list(dict.fromkeys([*spec.inputs, *(reader.labels for reader in readers.values())]))


def _input_problem(declared: TensorSpec, array: Array) -> str | None:
    got = array.shape[1:]
    if not fits(declared.shape, got):
        return f"the network needs shape {sizes_text(declared.shape)} per example, the data has {list(got)}"
    if not accepts(declared.dtype, array.dtype):
        return f"the network needs {declared.dtype}, the data is {array.dtype}"
    return None


def with_sizes(config: Config, spec: NetworkSpec, fields: Fields) -> NetworkSpec:
    """Return the network with the sizes that the data gives its inputs where the configuration leaves them open.

    Raises:
        ConfigError: a layer does not fit these sizes.
    """
    if not any(None in item.shape for item in spec.inputs.values()):
        return spec
    inputs = {
        name: item.model_copy(update={"shape": fields[name].shape[1:]}) for name, item in config.network.inputs.items()
    }
    return network_spec(config.network.model_copy(update={"inputs": inputs}))


def check_values(config: Config, spec: NetworkSpec, splits: Mapping[str, Fields]) -> None:
    """Check inputs and labels for values that are not finite, and labels against the losses and metrics."""
    problems = []
    for split, fields in splits.items():
        for name, array in fields.items():
            read_as = spec.inputs[name].dtype if name in spec.inputs and name not in config.data.standardize else None
            bad, first, rounded = _not_finite(array, read_as) if array.dtype.kind == "f" else (0, 0, False)
            if bad:
                what = f"values beyond {read_as}" if rounded else "NaN or infinity"
                problems.append(
                    Problem(
                        f"data.source: field '{name}'",
                        f"{bad} of {len(array)} {split} examples hold {what}, the first is example {first}; "
                        "clean the data",
                    )
                )
    said: set[tuple[str, str]] = set()
    for group in ("losses", "metrics"):
        for name, reader in getattr(config.train, group).items():
            for split, fields in splits.items() if reader.labels is not None else ():
                output, array = spec.output_spec(reader.output), fields[reader.labels]
                found = (reader.problem(output, labels) for labels in _values(array))
                if problem := next(filter(None, found), None):
                    if (reader.labels, problem) not in said:
                        problems.append(Problem(f"train.{group}.{name}: field '{reader.labels}' ({split})", problem))
                    said.add((reader.labels, problem))
                    break
    if problems:
        raise DataError(*problems)


def _values(array: Array) -> Iterator[np.ndarray]:
    """Yield all values at once, so that a message counts them, unless they are too many."""
    if array.nbytes <= COUNTED_BYTES:
        yield array[:]
    else:
        yield from (values for _, values in scan(array))


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
