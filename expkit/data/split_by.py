"""The assignment of examples to parts by the values of a field: by class, by group or in the order of time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from expkit.config.sections.data import SplitConfig
from expkit.data.split_groups import SHOWN, Groups, shown_values, word
from expkit.errors import ConfigError, DataError, comma_list, unknown
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.strings import is_text

__all__ = ["divided", "split_notes"]


def divided(fields: Fields, split: SplitConfig, sizes: Mapping[str, float], order: np.ndarray) -> dict[str, np.ndarray]:
    """Return the examples of each part, in order: fractions of ``order``, arranged as the split says.

    Sums of fractions are rounded, not parts, so that fractions that add up to 1 leave no example over.

    Args:
        fields: all examples.
        split: the split.
        sizes: fractions by name of the part.
        order: indices of the examples to divide, shuffled unless they are taken in order.

    Raises:
        ConfigError: the field by which to split is not in the data, or its values cannot serve.
        DataError: a class or group is too rare, or a value is missing.
    """
    if split.group is not None:
        groups = Groups.of(_values(fields, "group", split.group)[order], sizes)
        if split.stratify is None:
            return groups.parts(groups.by_size(), order)
        labels = _values(fields, "stratify", split.stratify)[order]
        return groups.parts(groups.by_class(labels), order)
    if split.by is not None:
        order = np.sort(order)  # Of examples of one time the earlier in the data counts as the earlier.
        order = order[np.argsort(_times(_values(fields, "by", split.by)[order], order), kind="stable")]
    ends = [round(fraction * len(order)) for fraction in itertools.accumulate(sizes.values())]
    counts = {name: end - start for name, start, end in zip(sizes, [0, *ends], ends, strict=False)}
    if split.stratify is not None:
        return _stratified(_values(fields, "stratify", split.stratify)[order], counts, order)
    return dict(zip(sizes, np.split(order, ends), strict=False))


def split_notes(split: SplitConfig, parts: Mapping[str, Fields]) -> Iterator[str]:
    """Yield sentences about a split that a field arranges: what each part holds, and classes that a part lacks."""
    if split.by is not None:
        spans = {name: _span(fields[split.by][:].reshape(-1)) for name, fields in parts.items()}
        shown = [
            f"{name} {len(parts[name][split.by]):,} from {first} to {last}" for name, (first, last) in spans.items()
        ]
        yield f"split in the order of '{split.by}': {', '.join(shown)}"
    elif split.group is not None or split.stratify is not None:
        groups, classes = (_known(parts, field) for field in (split.group, split.stratify))
        kinds = {"stratified by": split.stratify, "by the groups of": split.group}
        how = " and ".join(f"{kind} '{field}'" for kind, field in kinds.items() if field is not None)
        shown = []
        for name, held in parts.items():
            known = {"classes": classes.get(name), "groups": groups.get(name)}
            counts = " and ".join(f"{len(values):,} {noun}" for noun, values in known.items() if values is not None)
            shown.append(f"{name} {len(next(iter(held.values()))):,} examples of {counts}")
        yield f"split {how}: {', '.join(shown)}"
        for name, found in classes.items():
            lacking = sorted(set().union(*classes.values()) - found)
            if lacking:
                yield f"no {name} example has the class {comma_list([word(value) for value in lacking], SHOWN)}"


def _known(parts: Mapping[str, Fields], field: str | None) -> dict[str, set[Any]]:
    """Return the different values of a field by part, if there is one."""
    return {name: set(fields[field][:].reshape(-1).tolist()) for name, fields in parts.items()} if field else {}


def _values(fields: Fields, key: str, name: str) -> np.ndarray:
    """Return the values of a field, one of each example: bytes or numbers."""
    found = fields.get(name)
    at = f"data.split.{key}"
    if found is None:
        raise ConfigError.at(at, unknown(f"the data has no field '{name}'", name, fields, label="fields"))
    if any(size != 1 for size in found.shape[1:]):
        message = f"field '{name}' has the shape {list(found.shape[1:])} per example; a split needs one value of each"
        raise ConfigError.at(at, message)
    values = found[:].reshape(-1)
    absent = np.array([not value.strip() for value in values.tolist()]) if is_text(values.dtype) else values != values
    if absent.any():
        raise DataError.at(
            at,
            f"{int(absent.sum()):,} of {len(values):,} examples have no '{name}', the first is example "
            f"{int(absent.argmax())}; give them one, or remove them",
        )
    if values.dtype.kind in "fc" and key != "by":
        whole = values == np.round(values)
        if not whole.all():
            raise ConfigError.at(
                at,
                f"field '{name}' holds numbers such as {values[~whole][0]:g}, which name no "
                f"{'classes' if key == 'stratify' else 'groups'}; give a field of text or of whole numbers",
            )
    return values


def _stratified(values: np.ndarray, counts: Mapping[str, int], order: np.ndarray) -> dict[str, np.ndarray]:
    """Return parts of given sizes, each with its fraction of the examples of every class.

    One part after the other takes its fraction of what is left of each class: rounded down, and one more of those
    classes whose remainders are largest.
    """
    _, first, numbers, left = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    _check_common(values, left, len(counts))
    grouped = np.split(np.argsort(numbers, kind="stable"), np.cumsum(left)[:-1])
    taken, parts = np.zeros_like(left), {}
    for name, count in counts.items():
        exact = count * left / max(1, left.sum())
        found = np.floor(exact).astype(np.int64)
        found[np.lexsort((first, found - exact))[: count - found.sum()]] += 1
        places = [group[start : start + more] for group, start, more in zip(grouped, taken, found, strict=True)]
        parts[name] = order[np.sort(np.concatenate(places))]
        taken, left = taken + found, left - found
    return parts


def _check_common(values: np.ndarray, counts: np.ndarray, parts: int) -> None:
    """Check that every class has an example for each part."""
    rare = np.flatnonzero(counts < parts)
    if len(rare):
        several = len(rare) != 1
        raise DataError.at(
            "data.split.stratify",
            f"{len(rare):,} of {len(counts):,} classes ha{'ve' if several else 's'} fewer examples than the {parts} "
            f"parts: {shown_values(values, rare.tolist())}; add examples, remove "
            f"{'these classes' if several else 'this class'}, or leave data.split.stratify out",
        )


def _times(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return sortable times: numbers as they are, text as dates of ISO 8601."""
    if not is_text(values.dtype):
        return values
    times: list[Any] = []
    for index, value in zip(order.tolist(), values.tolist(), strict=True):
        try:
            times.append(datetime.fromisoformat(value.decode("utf-8").strip()))
        except ValueError:
            raise DataError.at(
                "data.split.by",
                f"example {index} has '{word(value)}', which is neither a number nor a date such as 2026-11-30 or "
                "2026-11-30T20:15:00; write dates in this form, so that they can be ordered",
            ) from None
    zoned = [time.tzinfo is not None for time in times]
    if any(zoned) and not all(zoned):
        raise DataError.at(
            "data.split.by", f"{sum(zoned):,} of {len(zoned):,} times have a time zone and the others none"
        )
    start = datetime(1970, 1, 1, tzinfo=times[0].tzinfo)
    return np.array([(time - start) // datetime.resolution for time in times], np.int64)


def _span(values: np.ndarray) -> tuple[str, str]:
    """Return the earliest and the latest of some times."""
    places = np.argsort(_times(values, np.arange(len(values))), kind="stable")
    return word(values[places[0]]), word(values[places[-1]])
