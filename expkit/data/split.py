"""The split of the data into training, validation and test examples."""

from __future__ import annotations

import numpy as np

from expkit.config.sections.data import SplitConfig
from expkit.data.split_by import divided
from expkit.errors import ConfigError, DataError, Problem, comma_list, unknown
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import Array, rows_of
from expkit.kinds.sources.strings import is_text

__all__ = ["split_fields"]

SPLITS = ("train", "valid", "test")
TRAINING = {b"train", b"training"}
MOST_PARTS = 20
"""Number of different values up to which a field may name ready-made parts that the split does not name."""


def split_fields(fields: Fields, split: SplitConfig, *, in_order: bool = False) -> dict[str, Fields]:
    """Return the fields of each split; fractions are shuffled unless they are taken in order.

    Raises:
        DataError: a range is beyond the data, a part is not there, a split would be empty, the data has ready-made
            parts that fractions would mix, or a class or group is too rare.
        ConfigError: no field names parts, or the field by which to split is not there.
    """
    total = len(next(iter(fields.values())))
    given = {name: getattr(split, name) for name in SPLITS if getattr(split, name) is not None}
    parts = _parts(fields, split)
    named = {name: np.flatnonzero(parts == size.encode()) for name, size in given.items() if isinstance(size, str)}
    order = np.arange(total) if in_order else np.random.Generator(np.random.PCG64(split.seed)).permutation(total)
    if named:
        order = order[~np.isin(order, np.concatenate(list(named.values())))]
    sizes = {name: size for name, size in given.items() if not isinstance(size, tuple | str)}
    shares = divided(fields, split, sizes, order)
    chosen: dict[str, range | np.ndarray] = {}
    for name, size in given.items():
        if isinstance(size, tuple):
            if size[1] > total:
                raise DataError.at(
                    f"data.split.{name}", f"range {list(size)} ends after the {total} examples there are"
                )
            chosen[name] = range(*size)
        else:
            if not isinstance(size, str) and not len(shares[name]):
                left = f" that are in no part named: {comma_list(repr(given[other]) for other in named)}"
                raise DataError.at(
                    f"data.split.{name}",
                    f"{size} of {len(order)} examples{left if named else ''} is none; increase it",
                )
            chosen[name] = _as_range(named[name] if isinstance(size, str) else shares[name])
    return {
        name: {field: rows_of(array, indices) for field, array in fields.items()} for name, indices in chosen.items()
    }


def _as_range(indices: np.ndarray) -> range | np.ndarray:
    """Return indices as a range if each is one more than the one before, which is faster to read."""
    first, last = int(indices[0]), int(indices[-1])
    return range(first, last + 1) if np.array_equal(indices, np.arange(first, last + 1)) else indices


def _parts(fields: Fields, split: SplitConfig) -> np.ndarray:
    """Return the name of the part of every example, if the split names one; otherwise an empty array."""
    names = {name: size for name in SPLITS if isinstance(size := getattr(split, name), str)}
    found = fields.get(split.field)
    if found is None or not _may_name(found) or (not names and not is_text(found.dtype)):
        if not names:
            return np.empty(0, object)
        what = "is neither text nor whole numbers" if found is not None else "is not in the data"
        texts = [name for name, array in fields.items() if _may_name(array)]
        raise ConfigError.at(
            "data.split.field",
            f"'{split.field}' {what}, so no part is named {comma_list(map(repr, names.values()))}; give the field "
            f"that names parts, of these: {comma_list(texts)}; or fractions as data.split",
        )
    parts = found[:] if is_text(found.dtype) else np.char.encode(found[:].astype(str)).astype(object)
    known = sorted(set(parts.tolist()))
    shown = [part.decode("utf-8", "backslashreplace") for part in known]
    problems = [
        Problem(f"data.split.{name}", unknown(f"the data has no part '{part}'", part, shown, label="parts"))
        for name, part in names.items()
        if part.encode() not in known
    ]
    if problems:
        raise DataError(*problems)
    ready_made = TRAINING & {part.lower() for part in known} and len(known) <= MOST_PARTS
    if not names and isinstance(split.train, float | int) and ready_made:
        example = comma_list(f"{name}: {part}" for name, part in zip(SPLITS, _likely(shown), strict=True))
        raise DataError.at(
            "data.split",
            f"the data has ready-made parts, {comma_list(shown)}, which fractions would mix; name them, as in "
            f"data.split={{{example}}}, or give another data.split.field=NAME to mix them",
        )
    return parts


def _may_name(array: Array) -> bool:
    """Return True if the values of a field can be names of parts: text, or whole numbers."""
    return array.ndim == 1 and (is_text(array.dtype) or array.dtype.kind in "iu")


def _likely(parts: list[str]) -> list[str]:
    """Return the likely names of training, validation and test among the names of parts."""
    train, valid, test = (
        next((part for part in parts if part.lower().startswith(word)), "") for word in ("tr", "val", "te")
    )
    if valid and test:
        return [train, valid, test]
    return ["0.9", "0.1", test or valid or next((part for part in parts if part != train), "null")]
