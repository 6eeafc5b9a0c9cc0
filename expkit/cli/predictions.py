"""Predictions as lines of text and as files, batch by batch."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from expkit.cli.columns import columns
from expkit.errors import DataError
from expkit.fs import atomic_write, cannot_write
from expkit.kinds.sources.folder import printable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Labels", "Shown", "Write", "check_output", "writing"]

SHOWN = 20
"""Number of examples that are printed."""
ENDINGS = (".npz", ".csv", ".json", ".jsonl")

Outputs = Mapping[str, "np.ndarray"]
Write = Callable[[Outputs], None]
WriteRows = Callable[[Sequence[str], Iterable[Sequence[object]]], None]
"""Writes rows, given the names of their columns."""


@dataclass(frozen=True)
class Labels:
    """Names of examples and classes."""

    classes: Mapping[str, Sequence[str]]
    """Names of classes by output, of those that have names."""
    name_of: Callable[[int], str] | None
    """Returns the name of an example; ``None`` where they are numbered."""

    def example(self, index: int) -> str | int:
        """Return the name of an example, or its number."""
        return index if self.name_of is None else printable(self.name_of(index))


class Shown:
    """The first examples of every output, to be printed."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._parts = dict[str, list["np.ndarray"]]()
        self._totals = dict[str, int]()

    def add(self, outputs: Outputs) -> None:
        """Add a batch."""
        for name, array in outputs.items():
            parts, total = self._parts.setdefault(name, []), self._totals.get(name, 0)
            if not parts or total < SHOWN:
                parts.append(array[: SHOWN - total].copy() if array.ndim else array)
            self._totals[name] = total + (len(array) if array.ndim else 0)

    def lines(self) -> Iterator[str]:
        """Yield the lines that show every output: classes with their probabilities where they have names."""
        import numpy as np

        for name, parts in self._parts.items():
            classes = self._labels.classes.get(name)
            array = np.concatenate(parts) if len(parts) > 1 else parts[0]
            if classes is not None and 0 < array.ndim <= 2:
                yield from self._class_lines(name, _probabilities(array), classes)
            else:
                yield from _number_lines(name, array, self._totals[name])
        if (most := max(self._totals.values(), default=0)) > SHOWN:
            yield f"... and {most - SHOWN:,} more; --output FILE.csv writes all"

    def _class_lines(self, name: str, probabilities: np.ndarray, classes: Sequence[str]) -> Iterator[str]:
        best = probabilities.argmax(axis=1)
        rows = [["example", name, "probability"]]
        for index, number in enumerate(best.tolist()):
            shown = str(self._labels.example(index))
            rows.append([shown, printable(classes[number]), f"{probabilities[index, number]:.4f}"])
        yield from columns(rows, right=("probability",))


def _number_lines(name: str, array: np.ndarray, total: int) -> Iterator[str]:
    import numpy as np

    shape = [total, *array.shape[1:]] if array.ndim else []
    with np.printoptions(precision=4, suppress=True, threshold=60, edgeitems=3):
        yield f"{name} {array.dtype} {shape}\n{array}"
        if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
            yield f"{name} largest at {array.argmax(axis=1)}"


def check_output(output: Path | None) -> None:
    """Check the ending of a file to write.

    Raises:
        DataError: it is none of those known.
    """
    if output is not None and output.suffix and output.suffix.lower() not in ENDINGS:
        raise DataError.at("--output", f"'{output}' ends with {output.suffix}; allowed: {', '.join(ENDINGS)}")


@contextmanager
def writing(output: Path, labels: Labels) -> Iterator[Write]:
    """Yield a function that writes the outputs of a batch; the file is in place, complete, at the end of the block.

    Raises:
        DataError: the file cannot be written, or an output has more dimensions than a table.
    """
    from expkit.export.output_file import writing_arrays

    ending = output.suffix.lower()
    path = output if ending in ENDINGS[1:] else Path(f"{str(output).removesuffix('.npz')}.npz")
    try:
        with atomic_write(path) as partial:
            if path is not output or ending == ".npz":
                with writing_arrays(partial) as write:
                    yield write
            else:
                with partial.open("w", encoding="utf-8", newline="") as file:
                    form = {".csv": _csv, ".json": _json, ".jsonl": _json_lines}[ending]
                    with form(file) as write_rows:
                        yield _Rows(labels, write_rows).add
    except OSError as error:
        raise DataError.at("--output", cannot_write(output, error)) from None


class _Rows:
    """Cuts outputs into rows: an example's name, its classes with their probabilities, all other numbers by place."""

    def __init__(self, labels: Labels, write: WriteRows) -> None:
        self._labels = labels
        self._write = write
        self._done = 0

    def add(self, outputs: Outputs) -> None:
        """Write the rows of a batch.

        Raises:
            DataError: an output has not one row of numbers for each example.
        """
        cells = dict[str, list[object]]()
        for name, array in outputs.items():
            if not 0 < array.ndim <= 2 or len(array) != len(next(iter(outputs.values()))):
                raise DataError.at("--output", f"output '{name}' has the shape {list(array.shape)}; write it as .npz")
            cells |= self._cells(name, array)
        count = len(next(iter(cells.values())))
        examples = map(self._labels.example, range(self._done, self._done + count))
        self._write(["example", *cells], zip(examples, *cells.values(), strict=True))
        self._done += count

    def _cells(self, name: str, array: np.ndarray) -> dict[str, list[object]]:
        classes = self._labels.classes.get(name)
        if classes is None:
            if array.ndim == 1:
                return {name: _plain(array)}
            return {f"{name}/{place}": _plain(array[:, place]) for place in range(array.shape[1])}
        probabilities = _probabilities(array)
        best: list[object] = [classes[number] for number in probabilities.argmax(axis=1).tolist()]
        parts = zip(classes, probabilities.T, strict=True)
        return {name: best, **{f"{name}/{item}": values.tolist() for item, values in parts}}


@contextmanager
def _csv(file: TextIO) -> Iterator[WriteRows]:
    writer = csv.writer(file, lineterminator="\n")
    header: Sequence[str] = ()

    def write(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        nonlocal header
        if not header:
            writer.writerow(header := names)
        writer.writerows(rows)

    yield write


@contextmanager
def _json(file: TextIO) -> Iterator[WriteRows]:
    before = "[\n"

    def write(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        nonlocal before
        for row in rows:
            file.write(before + _json_row(names, row))
            before = ",\n"

    yield write
    file.write("[]\n" if before == "[\n" else "\n]\n")


@contextmanager
def _json_lines(file: TextIO) -> Iterator[WriteRows]:
    def write(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        file.writelines(_json_row(names, row) + "\n" for row in rows)

    yield write


def _json_row(names: Sequence[str], values: Sequence[object]) -> str:
    """Return a row as JSON, which has no numbers that are not finite: they are ``null``."""
    known = (None if isinstance(value, float) and not math.isfinite(value) else value for value in values)
    return json.dumps(dict(zip(names, known, strict=True)), ensure_ascii=False)


def _plain(values: np.ndarray) -> list[object]:
    if values.dtype.kind not in "SOV" or values.dtype.name == "bfloat16":
        found: list[object] = values.tolist()
        return found
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values.tolist()]


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Return [examples, classes]: the softmax of logits, or of one logit the sigmoid and what it leaves."""
    import numpy as np

    logits = logits.reshape(len(logits), -1).astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
