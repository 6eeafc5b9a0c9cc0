"""Predictions as lines of text and as files, batch by batch."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from expkit.cli.columns import columns
from expkit.errors import DataError
from expkit.fs import atomic_write, cannot_write
from expkit.kinds.sources.folder import printable

if TYPE_CHECKING:
    import numpy as np

    from expkit.export.labels import GivenLabels

__all__ = ["Labels", "Shown", "Write", "check_output", "probabilities", "writing"]

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
    given: Mapping[str, GivenLabels] = field(default_factory=dict)
    """Labels beside the examples, by output."""

    def names(self, output: str) -> Sequence[str] | None:
        """Return the names of the classes of an output, which are numbers where its labels are; ``None`` of others."""
        given = self.given.get(output)
        return self.classes.get(output) or (given.classes if given is not None else None)

    def heading(self, output: str) -> str:
        """Return the heading of the column of labels."""
        column = self.given[output].column
        return f"{column} (label)" if column in {"example", *self.classes, *self.given} else column

    def column(self, output: str, rows: slice) -> list[object]:
        """Return labels as cells: text, or numbers."""
        values = self.given[output].values[rows]
        if values.ndim > 1:
            return [", ".join(f"{number:g}" for number in row) for row in values.tolist()]
        return _plain(values)

    def example(self, index: int) -> str | int:
        """Return the name of an example, or its number."""
        return index if self.name_of is None else printable(self.name_of(index))


class Shown:
    """The first examples of every output, to be printed."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._parts = dict[str, list["np.ndarray"]]()
        self._totals = dict[str, int]()
        self._nan = dict[str, tuple[int, int]]()

    def add(self, outputs: Outputs) -> None:
        """Add a batch."""
        for name, array in outputs.items():
            parts, total = self._parts.setdefault(name, []), self._totals.get(name, 0)
            if not parts or total < SHOWN:
                parts.append(array[: SHOWN - total].copy() if array.ndim else array)
            if array.ndim and array.dtype.kind == "f":
                wrong = array != array if array.ndim == 1 else (array != array).any(axis=tuple(range(1, array.ndim)))
                if wrong.any():
                    count, first = self._nan.get(name, (0, total + int(wrong.argmax())))
                    self._nan[name] = count + int(wrong.sum()), first
            self._totals[name] = total + (len(array) if array.ndim else 0)

    def lines(self) -> Iterator[str]:
        """Yield the lines that show every output: classes with their probabilities where they have names."""
        import numpy as np

        for name, parts in self._parts.items():
            classes = self._labels.names(name)
            array = np.concatenate(parts) if len(parts) > 1 else parts[0]
            if classes is not None and 0 < array.ndim <= 2:
                yield from self._class_lines(name, probabilities(name, array, classes), classes)
            elif name in self._labels.given and array.size == len(array):
                yield from self._value_lines(name, array.reshape(-1))
            else:
                yield from _number_lines(name, array, self._totals[name])
        if (most := max(self._totals.values(), default=0)) > SHOWN:
            yield f"... and {most - SHOWN:,} more; --output FILE.csv writes all"

    def notes(self) -> Iterator[str]:
        """Yield a sentence about every output that is not a number for some examples."""
        for name, (count, first) in self._nan.items():
            of = f"{count:,} of {self._totals[name]:,} examples, the first is {self._labels.example(first)}"
            yield f"'{name}' is NaN for {of}; is a value missing that data.preprocess does not impute?"

    def _class_lines(self, name: str, probabilities: np.ndarray, classes: Sequence[str]) -> Iterator[str]:
        rows = [["example", name, "probability"]]
        best = zip(_best(probabilities, classes), probabilities.max(axis=1), strict=True)
        for index, (word, share) in enumerate(best):
            rows.append([str(self._labels.example(index)), printable(word or "-"), f"{share:.4f}"])
        yield from columns(self._with_labels(name, rows), right=("probability",))

    def _value_lines(self, name: str, values: np.ndarray) -> Iterator[str]:
        rows = [["example", name]]
        rows += [[str(self._labels.example(index)), f"{value:.6g}"] for index, value in enumerate(values.tolist())]
        rows = self._with_labels(name, rows)
        yield from columns(rows, right=rows[0][1:])

    def _with_labels(self, name: str, rows: list[list[str]]) -> list[list[str]]:
        """Return rows, the first of them headings, with labels beside the predictions."""
        if name not in self._labels.given:
            return rows
        cells = self._labels.column(name, slice(len(rows) - 1))
        shown = [f"{cell:.6g}" if isinstance(cell, float) else printable(str(cell)) for cell in cells]
        beside = [self._labels.heading(name), *shown]
        return [[*row[:2], label, *row[2:]] for row, label in zip(rows, beside, strict=True)]


def _number_lines(name: str, array: np.ndarray, total: int) -> Iterator[str]:
    import numpy as np

    shape = [total, *array.shape[1:]] if array.ndim else []
    with np.printoptions(precision=4, suppress=True, threshold=60, edgeitems=3):
        yield f"{name} {array.dtype} {shape}\n{array}"
        if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
            yield f"{name} largest at {array.argmax(axis=1)}"


def _best(probabilities: np.ndarray, classes: Sequence[str]) -> Iterator[str]:
    """Yield the most probable class of every example; none, an empty name, where probabilities are NaN."""
    for row in probabilities:
        yield "" if row[0] != row[0] else classes[row.argmax()]


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
            own = self._cells(name, array)
            beside = dict[str, list[object]]()
            if name in self._labels.given:
                rows = slice(self._done, self._done + len(array))
                beside = {self._labels.heading(name): self._labels.column(name, rows)}
            classes = {name: own.pop(name)} if name in own else own
            cells |= {**classes, **beside, **own}
        count = len(next(iter(cells.values())))
        examples = map(self._labels.example, range(self._done, self._done + count))
        self._write(["example", *cells], zip(examples, *cells.values(), strict=True))
        self._done += count

    def _cells(self, name: str, array: np.ndarray) -> dict[str, list[object]]:
        classes = self._labels.names(name)
        shares = None if classes is None else probabilities(name, array, classes)
        best: dict[str, list[object]] = {}
        if classes is not None and shares is not None:
            best = {name: [*_best(shares, classes)]}
        if shares is not None and name in self._labels.classes:
            parts = zip(self._labels.classes[name], shares.T, strict=True)
            return {**best, **{f"{name}/{item}": values.tolist() for item, values in parts}}
        if array.ndim == 1:
            return best or {name: _plain(array)}
        return {**best, **{f"{name}/{place}": _plain(array[:, place]) for place in range(array.shape[1])}}


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


def probabilities(output: str, logits: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return [examples, classes]: the softmax of logits, or of one logit the sigmoid and what it leaves.

    Raises:
        DataError: the output has not one logit for each class, as where others wrote the names into the file.
    """
    import numpy as np

    count = int(np.prod(logits.shape[1:]))
    if logits.dtype.kind in "SOU" or max(count, 2) != len(classes):
        rows = f"{logits.dtype.name} of shape {list(logits.shape[1:])} for each example"
        raise DataError.at(f"output {output}", f"is {rows}, which do not fit the {len(classes)} classes that it names")
    logits = logits.reshape(len(logits), -1).astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
