"""Lines that show what the preprocessing of a run has fitted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expkit.errors import RunError, reading

__all__ = ["fitted_lines"]

SHOWN = 8
"""Values of an array that are printed."""
FILE_BYTES = 1 << 28
"""Size of the largest file that is read."""


def fitted_lines(file: Path) -> Iterator[str]:
    """Yield a line for each array that a step has fitted: field, step, name, number of values and the first of them.

    Raises:
        RunError: the file is damaged.
    """
    with reading(str(file), "is not a readable record of the preprocessing", raises=RunError):
        if file.stat().st_size > FILE_BYTES:
            raise ValueError(f"it has more than {FILE_BYTES:,} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        fields = content["preprocess"]
        found = [
            (field, step["kind"], name, array["values"])
            for field, steps in fields.items()
            for step in steps
            for name, array in step.get("fitted", {}).items()
        ]
        lines = [f"  {field}: {kind} {name} {_shown(values)}" for field, kind, name, values in found]
    yield from lines


def _shown(values: Any) -> str:
    """Return the first values of an array of any shape, with their number if there are more."""
    flat = list(_flat(values))
    first = ", ".join(_plain(value) for value in flat[:SHOWN])
    return first if len(flat) <= SHOWN else f"{first}, ... ({len(flat):,} values)"


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, list):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)[:40]
    return text if text.isprintable() else repr(text)
