"""The files of a folder: a class per sub-folder, below ready-made parts where there are any."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expkit.errors import DataError, Problem, comma_list, did_you_mean, error_message, escaped, limit_problems, reading
from expkit.kinds.sources.strings import strings

__all__ = ["AT", "SHOWN", "Listing", "counted", "existing_folder", "list_folder", "printable", "some", "walk"]

AT = "data.source.path"
TRAIN_FOLDERS = {"train", "training"}
PART_FOLDERS = TRAIN_FOLDERS | {"valid", "val", "validation", "dev", "test", "testing"}
SHOWN = 3
"""Files that a message names."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a folder that are examples: by part, class and name, in the order of their bytes."""

    root: Path
    names: list[str]
    """Paths relative to the folder."""
    labels: np.ndarray | None = None
    """Names of the classes, ``bytes``; ``None`` where the files lie in no sub-folder."""
    parts: np.ndarray | None = None
    """Names of the ready-made parts, ``bytes``; ``None`` where there are none."""
    others: list[str]
    """Paths of files that are not examples."""
    reason: str = "hidden or with another ending"
    """Reason for leaving them out, as a sentence ends."""

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The fields ``label`` and ``part``, those that there are."""
        found = {"label": self.labels, "part": self.parts}
        return {name: array for name, array in found.items() if array is not None}

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence about the files that are left out, if there are any."""
        if not self.others:
            return ()
        verb = "is" if len(self.others) == 1 else "are"
        return (f"{self.root}: {counted(self.others)} {verb} left out, {self.reason}: {some(self.others)}",)


def list_folder(path: str, endings: Sequence[str], what: str) -> Listing:
    """Return the examples of a folder, without reading them: the files whose names have an ending, in any case.

    Args:
        path: the folder.
        endings: endings in lower case, such as ``.png``.
        what: word for an example in messages.

    Raises:
        DataError: there is no example, a class has none, some lie beside the folders of classes, a link leads out of
            the folder, or a folder cannot be read.
    """
    root = existing_folder(path)
    folders, files, others = _entries(root, "", endings)
    lower = {folder.lower() for folder in folders}
    ready_made = bool(TRAIN_FOLDERS & lower) and lower <= PART_FOLDERS and not files
    names, labels, parts = [], [], []
    problems: list[str] = []
    for part in folders if ready_made else [""]:
        if ready_made:
            folders, files, more = _entries(root, part, endings)
            others += more
        if files and folders:
            where = os.path.normpath(os.path.join(root, part))
            problems.append(
                f"{printable(where)} has {what}s beside the folders of classes {_quoted(folders)}: {some(files)}; move "
                "them into the folder of their class"
            )
        found = [(name, "") for name in files]
        for label in folders:
            inside, more = walk(root, os.path.join(part, label), endings)
            others += more
            found += [(name, label) for name in inside]
            if not inside:
                folder = os.path.join(root, part, label)
                problems.append(
                    f"the class '{printable(label)}' has no {what}: {printable(folder)} holds no file that ends in "
                    f"{comma_list(endings)}{f', but {some(more)}' if more else ''}; remove the folder or fill it"
                )
        if ready_made and not found:
            problems.append(f"{printable(os.path.join(root, part))} has no {what}")
        names += [name for name, _ in found]
        labels += [label for _, label in found]
        parts += [part] * len(found)
    if not names and not problems:
        problems.append(
            f"{root} holds no file that ends in {comma_list(endings)}{f', but {some(others)}' if others else ''}"
        )
    if len({label == "" for label in labels}) > 1 and not problems:
        problems.append(f"some parts of {root} have folders of classes, others have {what}s without a class")
    if problems:
        raise DataError(*limit_problems([Problem(AT, problem) for problem in problems]))
    return Listing(
        root=root,
        names=names,
        labels=_as_text(root, labels) if any(labels) else None,
        parts=_as_text(root, parts) if ready_made else None,
        others=others,
    )


def existing_folder(path: str) -> Path:
    """Return the path of a folder that exists.

    Raises:
        DataError: it does not exist, or is a file.
    """
    folder = Path(path).expanduser()
    with reading(AT, f"{folder} cannot be read", raises=DataError):
        if folder.is_dir():
            return folder
        if folder.exists():
            raise DataError.at(AT, f"{folder} is a file; give the folder that holds the files")
        near = did_you_mean(folder.name, os.listdir(folder.parent)) if folder.parent.is_dir() else ""
    raise DataError.at(AT, f"no folder {folder}{near or ';'} give the path of an existing folder with {AT}=PATH")


def walk(root: Path, folder: str, endings: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the paths, relative to the root, of the examples at any depth below a folder, and of other files."""
    names, others, waiting = [], [], [folder]
    while waiting:
        folders, files, more = _entries(root, waiting.pop(), endings, qualified=True)
        names += files
        others += more
        waiting += folders
    return sorted(names, key=os.fsencode), others


def _entries(
    root: Path, folder: str, endings: Sequence[str], *, qualified: bool = False
) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the folders in a folder, and the paths of its examples and of its other files, sorted."""
    folders, files, others = [], [], []
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                if entry.is_symlink():
                    _check_link(root, path)
                if entry.name.startswith("."):
                    others.append(path)
                elif entry.is_dir():
                    folders.append(path if qualified else entry.name)
                elif entry.name.lower().endswith(tuple(endings)) and entry.is_file():
                    files.append(path)
                else:
                    others.append(path)
    except OSError as error:
        where = printable(os.path.join(root, folder))
        raise DataError.at(AT, f"{where} cannot be read: {error.strerror or error_message(error)}") from None
    return sorted(folders, key=os.fsencode), sorted(files, key=os.fsencode), sorted(others, key=os.fsencode)


def _check_link(root: Path, path: str) -> None:
    """Refuse a symbolic link out of the folder, and one to a folder, which may be a circle."""
    link, target = os.path.join(root, path), os.path.realpath(os.path.join(root, path))
    if os.path.commonpath([os.path.realpath(root), target]) != os.path.realpath(root):
        raise DataError.at(
            AT, f"{printable(link)} is a symbolic link to {printable(target)}, out of the folder; copy the file"
        )
    if os.path.isdir(target):
        raise DataError.at(AT, f"{printable(link)} is a symbolic link to a folder, which is not followed; remove it")


def _as_text(root: Path, names: list[str]) -> np.ndarray:
    """Return names of folders as UTF-8."""
    encoded = {}
    for name in set(names):
        try:
            encoded[name] = name.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError.at(AT, f"the folder '{printable(name)}' in {root} has no UTF-8 name; rename it") from None
    return strings([encoded[name] for name in names], (len(names),))


def printable(path: str) -> str:
    """Return a path with bytes that are not UTF-8, and characters that control a terminal, written as ``\\xff``."""
    return escaped(os.fsencode(path).decode("utf-8", "backslashreplace"))


def some(names: Iterable[str]) -> str:
    """Return the first few of some names, and the number of the rest."""
    return comma_list([printable(name) for name in names], SHOWN)


def counted(items: Sequence[object], word: str = "file") -> str:
    """Return the number of items with their noun."""
    return f"{len(items):,} {word}{'s' * (len(items) != 1)}"


def _quoted(names: Iterable[str]) -> str:
    return comma_list([f"'{printable(name)}'" for name in names], SHOWN)
