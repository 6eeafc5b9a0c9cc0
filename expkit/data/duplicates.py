"""Examples that are in two parts of the data: told by fingerprints of what the network reads."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expkit.cache import remembered
from expkit.errors import DataError
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import identity_of, name_of, scan

__all__ = ["Duplicates", "duplicate_warnings", "find_duplicates"]

_log = logging.getLogger(__name__)

MOST_BYTES = 1 << 34
"""Bytes of inputs beyond which duplicates are looked for on request alone."""
MOST_KEPT = 1 << 24
"""Examples of which fingerprints are held; of more only every second, third ... value of fingerprints is compared."""
COMMON = 10
"""Examples per different input of numbers from which on equal ones come by chance: a table of few categories."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Examples of one part whose inputs another part has, too."""

    part: str
    other: str
    count: int
    """Number of such examples of ``part``."""
    total: int
    """Number of examples of ``part``."""
    name: str
    """Name of the first of them."""
    other_name: str
    """Name of an example of the other part with the same inputs."""

    def __str__(self) -> str:
        verb = "is" if self.count == 1 else "are"
        return (
            f"{self.count:,} of {self.total:,} {self.part} examples {verb} among the {self.other} examples, too: "
            f"{self.name} equals {self.other_name}"
        )


def duplicate_warnings(
    parts: Mapping[str, Fields], names: Sequence[str], reaction: Literal["warn", "error", "ignore"]
) -> Iterator[str]:
    """Yield a sentence about each two parts that share examples.

    Args:
        parts: fields by name of the part.
        names: fields that make an example.
        reaction: what ``data.duplicates`` says.

    Raises:
        DataError: parts share examples, and the reaction is ``error``.
    """
    if reaction == "ignore" or not names:
        return
    size = sum(fields[name].nbytes for fields in parts.values() for name in names)
    if size > MOST_BYTES and reaction == "warn":
        _log.info("duplicates are not looked for in %.1f GB; data.duplicates=error does", size / 1e9)
        return
    found = _cached({part: {name: fields[name] for name in names} for part, fields in parts.items()})
    if found and reaction == "error":
        shown = "; ".join(map(str, found))
        raise DataError.at(
            "data.duplicates",
            f"{shown}; remove them from one part, keep copies together by data.split.group, or set data.duplicates: "
            "warn",
        )
    for item in found:
        yield f"{item}; scores of them are too good (data.duplicates: ignore says nothing)"


def find_duplicates(parts: Mapping[str, Fields]) -> list[Duplicates]:
    """Return which parts share examples, found by 64-bit fingerprints of all values."""
    total = sum(len(next(iter(fields.values()))) for fields in parts.values())
    every = np.uint64(-(-total // MOST_KEPT))
    prints: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for part, fields in parts.items():
        values = _fingerprints(fields)
        kept = np.flatnonzero(values % every == 0)
        prints[part] = values[kept], kept
    train = next(iter(prints.values()))[0]
    texts = any(array.dtype.hasobject for array in next(iter(parts.values())).values())
    if not texts and len(np.unique(train)) * COMMON < len(train):
        return []
    found = []
    for (other, (known, places)), (part, (values, own)) in itertools.combinations(prints.items(), 2):
        shared = np.flatnonzero(np.isin(values, known))
        if len(shared):
            first, second = int(own[shared[0]]), int(places[np.flatnonzero(known == values[shared[0]])[0]])
            found.append(
                Duplicates(
                    part=part,
                    other=other,
                    count=len(shared) * int(every),
                    total=len(next(iter(parts[part].values()))),
                    name=_name(part, parts[part], first),
                    other_name=_name(other, parts[other], second),
                )
            )
    return found


def _cached(parts: Mapping[str, Fields]) -> list[Duplicates]:
    """Return duplicates: those that the cache has for these files, or found by reading them."""
    identities = [(part, name, identity_of(array)) for part, fields in parts.items() for name, array in fields.items()]
    known = None if any(digest is None for *_, digest in identities) else f"{identities}".encode()
    return remembered("duplicates-1", known, lambda: find_duplicates(parts), list[Duplicates])


def _fingerprints(fields: Fields) -> np.ndarray:
    """Return a uint64 for each example: equal where all values are, and hardly anywhere else."""
    whole = np.zeros(len(next(iter(fields.values()))), np.uint64)
    for array in fields.values():
        for indices, values in scan(array):
            whole[indices] = _mixed(whole[indices] + _of_values(values))
    return whole


def _of_values(values: np.ndarray) -> np.ndarray:
    """Return a hash of each row: of text and files Python's, of numbers the sum of hashes of (place, 8 bytes)."""
    count = len(values)
    if values.dtype.hasobject:
        rows = values.reshape(count, -1)
        hashes = np.fromiter(map(hash, rows.reshape(-1).tolist()), np.int64, rows.size).view(np.uint64)
        hashes = hashes.reshape(rows.shape)
    else:
        octets = np.ascontiguousarray(values).reshape(count, -1).view(np.uint8)
        words = -(-octets.shape[1] // 8)
        if octets.shape[1] % 8:
            octets = np.pad(octets, ((0, 0), (0, 8 * words - octets.shape[1])))
        hashes = octets.view(np.uint64)
    places = np.arange(1, hashes.shape[1] + 1, dtype=np.uint64) * GOLDEN
    return np.asarray(_mixed(_mixed(hashes) + places).sum(axis=1, dtype=np.uint64))


def _mixed(values: np.ndarray) -> np.ndarray:
    """Return a bijective hash of uint64: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    for shift, factor in zip((30, 27), _FACTORS, strict=True):
        values = (values ^ (values >> np.uint64(shift))) * factor
    return np.asarray(values ^ (values >> np.uint64(31)))


def _name(part: str, fields: Fields, index: int) -> str:
    known = name_of(next(iter(fields.values())), index)
    return f"{part} {known}" if known.startswith("example ") else known
