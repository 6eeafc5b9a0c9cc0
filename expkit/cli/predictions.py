"""Predictions as lines of text and as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from expkit.cli.columns import columns
from expkit.errors import DataError
from expkit.fs import atomic_write, atomic_write_text, cannot_write

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Predictions", "check_output", "output_lines", "write_outputs"]

SHOWN = 20
"""Number of examples of which classes are printed."""
ENDINGS = (".npz", ".csv", ".json")


@dataclass(frozen=True)
class Predictions:
    """The outputs of a graph for examples."""

    outputs: Mapping[str, np.ndarray]
    classes: Mapping[str, Sequence[str]]
    """Names of classes by output, of those that have names."""
    names: Sequence[str] | None
    """A name for each example; ``None`` where they are numbered."""


def output_lines(
    name: str, array: np.ndarray, classes: Sequence[str] | None, names: Sequence[str] | None
) -> Iterator[str]:
    """Yield the lines that show an output: classes with their probabilities where they have names, else numbers."""
    import numpy as np

    if classes is None or array.ndim > 2:
        with np.printoptions(precision=4, suppress=True, threshold=60, edgeitems=3):
            yield f"{name} {array.dtype} {list(array.shape)}\n{array}"
            if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
                yield f"{name} largest at {array.argmax(axis=1)}"
        return
    probabilities = _probabilities(array)
    best = probabilities.argmax(axis=1)
    rows = [["example", name, "probability"]]
    for index in range(min(len(array), SHOWN)):
        shown = str(index) if names is None else names[index]
        rows.append([shown, classes[best[index]], f"{probabilities[index, best[index]]:.4f}"])
    yield from columns(rows, right=("probability",))
    if len(array) > SHOWN:
        yield f"... and {len(array) - SHOWN:,} more; --output FILE.csv writes all"


def check_output(output: Path | None) -> None:
    """Check the ending of a file to write.

    Raises:
        DataError: it is none of those known.
    """
    if output is not None and output.suffix and output.suffix.lower() not in ENDINGS:
        raise DataError.at("--output", f"'{output}' ends with {output.suffix}; allowed: {', '.join(ENDINGS)}")


def write_outputs(output: Path, predictions: Predictions) -> None:
    """Write predictions into a file, whole or not at all.

    Raises:
        DataError: the file cannot be written, or an output has more dimensions than a table.
    """
    import numpy as np

    from expkit.export.feeding import plain

    ending = output.suffix.lower()
    try:
        if ending == ".csv":
            atomic_write_text(output, _csv(predictions))
        elif ending == ".json":
            atomic_write_text(output, json.dumps(list(_rows(predictions)), ensure_ascii=False, indent=1) + "\n")
        else:
            with atomic_write(Path(f"{str(output).removesuffix('.npz')}.npz")) as partial, partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **{name: plain(item) for name, item in predictions.outputs.items()})
    except OSError as error:
        raise DataError.at("--output", cannot_write(output, error)) from None


def _csv(predictions: Predictions) -> str:
    rows = list(_rows(predictions))
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _rows(predictions: Predictions) -> Iterator[dict[str, object]]:
    """Yield for each example its name, its classes with their probabilities, and all other numbers by place."""
    tables: dict[str, np.ndarray] = {}
    for name, array in predictions.outputs.items():
        classes = predictions.classes.get(name)
        values = _probabilities(array) if classes is not None and array.ndim <= 2 else array
        if values.ndim > 2:
            raise DataError.at("--output", f"output '{name}' has the shape {list(array.shape)}; write it as .npz")
        tables[name] = values
    for index in range(len(next(iter(tables.values())))):
        row: dict[str, object] = {"example": index if predictions.names is None else predictions.names[index]}
        for name, values in tables.items():
            classes = predictions.classes.get(name)
            if classes is not None:
                row[name] = classes[int(values[index].argmax())]
                row |= {f"{name}/{item}": float(value) for item, value in zip(classes, values[index], strict=True)}
            elif values.ndim == 1:
                row[name] = _plain(values[index])
            else:
                row |= {f"{name}/{place}": _plain(value) for place, value in enumerate(values[index])}
        yield row


def _plain(value: np.generic) -> object:
    item = value.item() if hasattr(value, "item") else value
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else item


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Return [examples, classes]: the softmax of logits, or of one logit the sigmoid and what it leaves."""
    import numpy as np

    logits = logits.reshape(len(logits), -1).astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
