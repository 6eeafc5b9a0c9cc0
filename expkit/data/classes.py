"""Numbers for labels that are text: the classes of the training examples, by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from expkit.config.schema import Config
from expkit.errors import ConfigError, DataError, Problem, comma_list, did_you_mean, unknown
from expkit.kinds.class_weights import ClassWeighted
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import Array
from expkit.kinds.sources.strings import is_text
from expkit.kinds.weighting import Classed

__all__ = ["Classes", "class_warnings", "named_config", "numbered_classes"]

MANY_CLASSES = 10_000
"""Classes from which on text is not a label."""
UNBALANCED = 100
"""Ratio of the largest class to the smallest from which on a note says so."""


@dataclass(frozen=True)
class Classes:
    """The classes of a field of labels."""

    names: tuple[str, ...]
    """Names, in the order of their numbers."""
    counts: tuple[int, ...]
    """Number of training examples of each."""


def numbered_classes(config: Config, splits: Mapping[str, Fields]) -> tuple[Mapping[str, Fields], dict[str, Classes]]:
    """Replace text that losses and metrics read as classes by the numbers of these, int64.

    Text that one of them takes for anything else, as a regression does, is left as it is, unless ``data.classes`` has
    its field. A class has the number of its place among the names in ``data.classes``, or among those of the training
    examples, sorted.

    Raises:
        DataError: an example has a label that is none of the names.
    """
    train = splits["train"]
    read: dict[str, bool] = {}
    for reader in config.train.readers.values():
        for key, name in reader.data_fields.items():
            read[name] = read.get(name, True) and key == "labels" and isinstance(reader, Classed)
    named = {name for name, by_classes in read.items() if by_classes or name in config.data.classes}
    fields = [name for name in read if name in named and name in train and is_text(train[name].dtype)]
    numbered: dict[str, dict[str, Array]] = {split: dict(arrays) for split, arrays in splits.items()}
    classes: dict[str, Classes] = {}
    problems: list[Problem] = []
    for field in fields:
        if field in config.data.preprocess:
            continue
        text = {split: _text(arrays[field]) for split, arrays in splits.items()}
        names = config.data.classes.get(field) or tuple(np.unique(text["train"]).tolist())
        problems += _problems(field, names, text, given=field in config.data.classes)
        order = np.argsort(names)
        for split, labels in text.items():
            place = np.searchsorted(np.asarray(names)[order], labels).clip(max=len(names) - 1)
            numbered[split][field] = order[place].astype(np.int64)
        counts = np.bincount(numbered["train"][field][:], minlength=len(names))
        classes[field] = Classes(names, tuple(counts.tolist()))
    for field in config.data.classes.keys() - classes.keys():
        problems.append(Problem(f"data.classes.{field}", _unused(config, field, read)))
    if problems:
        raise DataError(*problems)
    return numbered, classes


def _unused(config: Config, field: str, read: Mapping[str, bool]) -> str:
    if field not in read:
        return unknown(f"no loss or metric reads a field '{field}'", field, read)
    if field in config.data.preprocess:
        return f"data.preprocess.{field} numbers the labels by its steps; leave one of the two out"
    return f"field '{field}' holds no text, so its classes have no names; leave them out, or read it as text"


def named_config(config: Config, classes: Mapping[str, Classes]) -> Config:
    """Return a configuration whose losses and metrics name classes by their numbers.

    Raises:
        ConfigError: the labels have no class of some name.
    """
    problems, changed = [], {}
    for at, reader in config.train.readers.items():
        if isinstance(reader, ClassWeighted):
            try:
                named = reader.named(classes[reader.labels].names if reader.labels in classes else None)
            except ValueError as error:
                problems.append(Problem(at, str(error)))
                continue
            if named != reader:
                changed[at] = named
    if problems:
        raise ConfigError(*problems)
    return config.model_copy(update={"train": config.train.with_readers(changed)}) if changed else config


def class_warnings(classes: Mapping[str, Classes]) -> Iterator[str]:
    """Yield a sentence about names that differ in case or white space alone, and about classes that are rare."""
    for field, item in classes.items():
        alike: dict[str, list[str]] = {}
        for name in item.names:
            alike.setdefault(" ".join(_composed(name).split()).casefold(), []).append(name)
        for names in alike.values():
            if len(names) > 1:
                look_equal = len(set(map(_composed, names))) < len(names)
                shown = comma_list([ascii(name) if look_equal else repr(name) for name in names])
                what = "case, white space or encoding of letters" if look_equal else "case or white space"
                yield f"classes of '{field}' differ only in {what}: {shown}; clean the labels"
        most, least = max(item.counts), min(item.counts)
        if least * UNBALANCED <= most:
            rare, common = item.names[item.counts.index(least)], item.names[item.counts.index(most)]
            yield (
                f"classes of '{field}' are unbalanced: {most:,} training examples of '{common}', {least:,} of "
                f"'{rare}'; class_weights of a loss, or more examples, balance them"
            )


def _composed(name: str) -> str:
    """Return a name with one encoding of letters that look alike, such as e and an accent."""
    return unicodedata.normalize("NFKC", name)


def _text(array: Array) -> np.ndarray:
    return np.array([value.decode("utf-8", "replace") for value in array[:].reshape(-1).tolist()])


def _problems(field: str, names: tuple[str, ...], text: Mapping[str, np.ndarray], *, given: bool) -> Iterator[Problem]:
    if len(names) > MANY_CLASSES:
        message = f"field '{field}' has {len(names):,} different texts, too many for classes; it is not a label"
        yield Problem(f"data.source: field '{field}'", message)
        return
    for split, labels in text.items():
        unknown = labels[~np.isin(labels, names)]
        if len(unknown):
            first = str(unknown[0])
            where = "data.classes does not list" if given else "training never saw"
            yield Problem(
                f"data.classes.{field}",
                f"{len(unknown):,} of {len(labels):,} {split} examples have a label that {where}, the first is "
                f"'{first}'{did_you_mean(first, names) or ';'} classes: {comma_list(names)}",
            )
