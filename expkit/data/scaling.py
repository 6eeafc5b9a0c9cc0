"""Scaling of fields to zero mean and unit standard deviation, fitted on the training examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from expkit.config.schema import Config
from expkit.errors import DataError
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import Array, scan
from expkit.network.spec import NetworkSpec

__all__ = ["Scaling", "fit_scaling", "raw_dtypes", "unscaled_warnings"]

MOST_ROUNDED = 1000
"""Number of examples up to which the deviation that counts as rounding grows."""
SAMPLED_EXAMPLES = 1000
"""Number of evenly spaced examples whose integers are looked at."""


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation (``spread``) per value of a field; the network reads ``(value - mean) / spread``.

    Both are float32, or float64 where float32 does not hold the field's values exactly.
    """

    mean: np.ndarray
    spread: np.ndarray

    @property
    def dtype(self) -> str:
        """Dtype in which values are scaled."""
        return self.mean.dtype.name


def raw_dtypes(scaling: Mapping[str, Scaling]) -> dict[str, str]:
    """Return by field the dtype in which a graph reads values before it scales them."""
    return {name: item.dtype for name, item in scaling.items()}


def fit_scaling(name: str, array: Array) -> Scaling:
    """Return mean and standard deviation in one pass in float64, chunk by chunk (Chan, Golub and LeVeque 1979).

    Values are taken relative to the first example, so that a value that never varies has a deviation of exactly 0.
    """
    count = 0
    origin = mean = squares = np.zeros(array.shape[1:])
    for _, values in scan(array):
        origin = values[0].astype(np.float64) if count == 0 else origin
        relative, total = values - origin, count + len(values)
        with np.errstate(over="ignore", invalid="ignore"):  # What is too large is an error below.
            difference = relative.mean(axis=0) - mean
            within = relative.var(axis=0) * len(values)
            squares = squares + within + difference**2 * (count * len(values) / total)
        mean = mean + difference * (len(values) / total)
        count = total
    mean, spread = origin + mean, np.sqrt(squares / count)
    if not np.isfinite(spread).all():
        message = f"the values of '{name}' are too large for their squares; scale the data"
        raise DataError.at("data.standardize", message)
    dtype = np.float32 if np.can_cast(array.dtype, np.float32, "safe") else np.float64
    # A value that varies by less than rounding is constant, and becomes 0: the bound of scikit-learn, which grows with
    # the number of examples as the rounding of a plain sum does.
    rounding = min(count, MOST_ROUNDED) * np.finfo(np.float64).eps * np.abs(mean)
    spread = np.where(spread <= np.maximum(rounding, np.finfo(dtype).tiny), 1, spread)
    return Scaling(mean=np.asarray(mean, dtype), spread=np.asarray(spread, dtype))


def unscaled_warnings(config: Config, spec: NetworkSpec, train: Fields) -> Iterator[str]:
    """Yield a sentence about each field of integers, wider than the number of classes, that is not scaled."""
    sizes = [spec.output_spec(loss.output).shape[-1:] for loss in config.train.losses.values()]
    classes = max([2, *(size for shape in sizes for size in shape if size is not None)])
    for name, item in spec.inputs.items():
        array = train[name]
        if array.dtype.kind not in "iu" or "float" not in item.dtype or name in config.data.standardize:
            continue
        sample = array[np.linspace(0, len(array) - 1, min(len(array), SAMPLED_EXAMPLES)).astype(np.int64)]
        low, high = (int(sample.min()), int(sample.max())) if sample.size else (0, 0)
        if high - low >= classes:
            yield (
                f"field '{name}' holds {array.dtype} from {low} to {high}, and the network reads it unscaled; "
                f"data.standardize=[{name}] scales it to zero mean and unit standard deviation"
            )
