"""Labels of a first training: whether they name classes, and are complete and common enough."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from expkit.errors import DataError, comma_list, escaped
from expkit.kinds.sources.on_disk import Array
from expkit.kinds.sources.strings import is_text

__all__ = ["as_words", "check_counts", "check_enough", "check_labels", "classes_found", "names_classes", "shown_name"]

MOST_CLASSES = 50
"""Different whole numbers up to which a label of numbers names classes."""
FEWEST_EXAMPLES = 10
LONGEST_NAME = 40
SHOWN = 20
"""Classes that are listed."""
PARTS = 3
"""Training, validation and test examples."""


def names_classes(target: np.ndarray) -> bool:
    """Return True if labels are text, or few different whole numbers."""
    if is_text(target.dtype):
        return True
    return target.dtype.kind in "iub" and len(np.unique(target)) <= min(MOST_CLASSES, max(2, len(target) // 4))


def as_words(labels: Array) -> list[str]:
    """Return labels as text."""
    values = labels[:].tolist()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def classes_found(counts: Mapping[str, int]) -> str:
    """Return a sentence about the classes of a folder and their numbers of examples."""
    shown = ", ".join(f"{shown_name(word)} {count:,}" for word, count in sorted(counts.items())[:SHOWN])
    return f"{len(counts)} classes: {shown}"


def check_labels(target: np.ndarray, label: str) -> None:
    """Check that every example has a label.

    Raises:
        DataError: some have none, or a number that is infinite.
    """
    if is_text(target.dtype):
        absent, what = sum(not value.strip() for value in target.tolist()), f"no '{label}'"
    else:
        numbers = target.astype(np.float64)
        absent, what = int(np.isnan(numbers).sum()), f"no '{label}'"
        if not absent and (absent := int(np.isinf(numbers).sum())):
            what = f"an infinite '{label}'"
    if absent:
        raise DataError.at("--label", f"{absent:,} of {len(target):,} rows have {what}; remove these rows first")


def check_enough(examples: int, what: str, path: Path) -> None:
    """Check that there are examples to learn from and others to measure by.

    Raises:
        DataError: they are too few.
    """
    if examples < FEWEST_EXAMPLES:
        raise DataError.at(
            str(path), f"{examples} {what if examples != 1 else what[:-1]}; a first training needs {FEWEST_EXAMPLES}"
        )


def check_counts(counts: Mapping[str, int], label: str, path: Path, *, drawn: bool = True) -> None:
    """Check that there are two classes, and, where parts are drawn, that each has an example for each of the three.

    Raises:
        DataError: a class is too rare, or there is one.
    """
    if len(counts) < 2:
        raise DataError.at(str(path), f"all examples are of one class, {next(iter(counts))}; two are needed")
    if not drawn:
        return
    rare = [f"{shown_name(name)} {count}" for name, count in counts.items() if count < PARTS]
    if rare:
        raise DataError.at(
            str(path),
            f"{len(rare):,} of {len(counts):,} values of '{label}' are in fewer than {PARTS} examples, too few for the "
            f"{PARTS} parts: {comma_list(rare, 5)}; remove or join rare classes, or predict something else",
        )


def shown_name(name: str) -> str:
    """Return a name for messages: a long one is cut, characters that control a terminal are escaped."""
    printed = escaped(name)
    return printed if len(printed) <= LONGEST_NAME else f"{printed[:LONGEST_NAME]}..."
