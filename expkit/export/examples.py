"""The examples that a graph is to read: arrays, a table, files or lines of text."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expkit.errors import DataError, Problem, comma_list, reading
from expkit.export.example_folder import read_folder
from expkit.export.input_file import ArrayInFile, open_arrays
from expkit.export.labels import GivenLabels, LabelColumns, given_labels, label_columns
from expkit.kinds.sources.files import FileContents
from expkit.kinds.sources.on_disk import Array
from expkit.kinds.sources.spool import Spool, Strings
from expkit.kinds.sources.strings import strings
from expkit.kinds.sources.table import TABLE_SETTINGS, Table
from expkit.kinds.sources.text import TextFolder
from expkit.tensor_spec import sizes_text

__all__ = ["Examples", "open_examples"]

STANDARD_INPUT = "-"
LINES = 1 << 14
"""Lines that are kept at once."""
LINE_BYTES = 1 << 24
"""Bytes of the longest line."""
_TYPES: Mapping[str, Literal["text", "int64"]] = {
    "string": "text",
    **dict.fromkeys(("uint8", "int32", "int64"), "int64"),
}
"""Types of columns by dtype of the input that reads them; of others float64."""
TABLES = (".csv", ".tsv", ".tab", ".parquet", ".csv.gz", ".tsv.gz", ".tab.gz")


@dataclass(frozen=True)
class Examples:
    """Examples to compute outputs of."""

    inputs: Mapping[str, Any]
    """Arrays by input name, or what has their ``shape`` and ``dtype`` and can be sliced."""
    name_of: Callable[[int], str] | None = None
    """Returns the name of an example, its file or its line; ``None`` where they are numbered."""
    labels: Mapping[str, GivenLabels] = field(default_factory=dict)
    """Labels that stand beside the examples, by output."""
    notes: tuple[str, ...] = ()
    """Sentences about labels that cannot be read, and files that are left out."""


@contextmanager
def open_examples(given: Sequence[str], metadata: Mapping[str, Any]) -> Iterator[Examples]:
    """Open the examples that a command line names.

    Args:
        given: nothing; a ``.npz`` file; a table; a folder of images or texts; ``-`` for lines of text on standard
            input; or files, each an example.
        metadata: the graph's inputs, and the columns of a table where it was trained on one.

    Raises:
        DataError: a file is missing, damaged or of another kind, or the graph does not read what is given.
    """
    with _naming_inputs(metadata):
        labels = label_columns(metadata)
        if not given:
            yield Examples({})
        elif list(given) == [STANDARD_INPUT]:
            yield Examples(
                {_text_input(metadata, "lines of text"): _lines("encoding" in metadata)},
                lambda index: f"line {index + 1}",
            )
        elif len(given) == 1 and given[0].lower().endswith(TABLES):
            yield _table(given[0], metadata, labels)
        elif len(given) == 1 and os.path.isdir(given[0]) and _reads_files(metadata):
            name = _text_input(metadata, "a folder")
            found = read_folder(given[0], _encoding(metadata), labels)
            yield Examples({name: found.contents}, found.contents.describe, found.labels, found.notes)
        elif (len(given) == 1 and not _reads_files(metadata)) or (
            len(given) == 1 and given[0].lower().endswith(".npz")
        ):
            with open_arrays(Path(given[0])) as arrays:
                yield _with_given(arrays, metadata, labels)
        else:
            yield Examples({_text_input(metadata, "files"): _files(given, metadata)}, given.__getitem__)


@contextmanager
def _naming_inputs(metadata: Mapping[str, Any]) -> Iterator[None]:
    """Give the way out for what a graph reads in place of settings of training: its encoding is that of training."""
    try:
        yield
    except DataError as error:
        raise DataError(*(_of_input(problem, metadata) for problem in error.problems)) from None


def _of_input(problem: Problem, metadata: Mapping[str, Any]) -> Problem:
    message, _, setting = problem.message.rpartition("; give ")
    if "data.source.encoding=" in setting:
        encoding = metadata.get("encoding", "utf-8")
        message += f"; convert it to {encoding}, the encoding of the training data, or train on data in its encoding"
    elif "data.source.delimiter=" in setting:
        message += f"; write it with {metadata.get('delimiter') or ','!r}, the delimiter of the training data"
    elif "data.source.path=" in setting:
        message += "; give the path of an existing file"
    else:
        message = problem.message.replace(
            "leave the column out, or list words that stand for missing values in data.source.missing",
            "write a number, or nothing where it is missing",
        )
    return replace(problem, path="INPUT" if problem.path == "data.source.path" else problem.path, message=message)


def _reads_files(metadata: Mapping[str, Any]) -> bool:
    return any(item["dtype"] == "string" for item in metadata["inputs"].values())


def _text_input(metadata: Mapping[str, Any], what: str) -> str:
    """Return the only input, if it reads text or encoded files."""
    inputs = metadata["inputs"]
    if len(inputs) == 1 and _reads_files(metadata):
        return str(next(iter(inputs)))
    read = comma_list(f"{name} ({item['dtype']} {sizes_text(item['shape'] or ())})" for name, item in inputs.items())
    raise DataError.at(
        "INPUT",
        f"{what} can be given to a graph that reads one input of strings, this one reads {read}; give a .npz file"
        + (" or a table" if "columns" in metadata else ""),
    )


def _lines(text: bool) -> Array:
    """Return the lines of standard input, which are in a temporary file where they are many; checked if it is text."""
    spool, count = Spool("-", "standard input"), 0
    while chunk := list(_some_lines()):
        if text:
            _check_text(chunk, count + 1)
        offsets = np.cumsum([0, *map(len, chunk)], dtype=np.int64)
        spool.append({"": Strings(offsets, np.frombuffer(b"".join(chunk), np.uint8))})
        count += len(chunk)
    return spool.arrays().get("", strings([], (0,)))


def _check_text(lines: Sequence[bytes], first: int) -> None:
    """Refuse lines that are not UTF-8, as texts are that a graph was trained on, whatever their files' encoding."""
    for number, line in enumerate(lines, start=first):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            found = f"byte 0x{line[error.start]:02x}: {error.reason}"
            raise DataError.at("-", f"line {number} is not text in utf-8 ({found}); convert it to utf-8") from None


def _some_lines() -> Iterator[bytes]:
    """Yield as many lines as may be in memory at once."""
    count = size = 0
    while count < LINES and size < LINE_BYTES and (line := sys.stdin.buffer.readline(LINE_BYTES + 1)):
        if len(line) > LINE_BYTES:
            raise DataError.at("-", f"a line has more than {LINE_BYTES:,} bytes; give long texts as files")
        count, size = count + 1, size + len(line)
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _files(paths: Sequence[str], metadata: Mapping[str, Any]) -> FileContents:
    """Return the contents of files: texts in the encoding of training, others as they are."""
    sizes = []
    for path in paths:
        if os.path.isdir(path):
            raise DataError.at(
                path, f"a folder among other inputs; give it alone, or name its files: {os.path.join(path, '*')}"
            )
        try:
            sizes.append(os.stat(path).st_size)
        except OSError as error:
            raise DataError.at(path, f"cannot be read: {error.strerror}") from None
    return FileContents(Path(), paths, np.array(sizes, np.int64), (), _encoding(metadata))


def _encoding(metadata: Mapping[str, Any]) -> str | None:
    """Return the encoding of the texts of training; ``None`` where files are read as they are."""
    if "encoding" not in metadata or "columns" in metadata:
        return None
    with reading("INPUT", "the graph's metadata does not say how its texts are encoded", raises=DataError):
        return TextFolder(path="", encoding=metadata["encoding"]).encoding


def _table(path: str, metadata: Mapping[str, Any], labels: Mapping[str, LabelColumns]) -> Examples:
    """Return the rows of a table: the columns that training read, and the labels that stand beside them."""
    inputs = metadata["inputs"]
    columns: Mapping[str, Sequence[str]] = metadata.get("columns") or {name: [name] for name in inputs}
    types: dict[str, Literal["text", "int64", "float32", "float64"]] = {
        column: _TYPES.get(inputs[name]["dtype"], "float64") for name, names in columns.items() for column in names
    }
    joined = {name: tuple(names) if inputs[name]["shape"][1:] else names[0] for name, names in columns.items()}
    written = {key: metadata[key] for key in sorted(TABLE_SETTINGS - {"missing"}) if key in metadata}
    with reading("INPUT", "the graph's metadata does not say how its table is written", raises=DataError):
        table = Table(path=path, columns=joined, types=types, missing=tuple(metadata.get("missing", ("",))), **written)
    try:
        known = {*table.opened().names} - types.keys()
        there = {output: item for output, item in labels.items() if known.issuperset(item.columns)}
        if not there:
            return Examples(table.load())
        try:
            read = _with_labels(table, there).load()
        except DataError as error:  # Of labels or of what the graph reads, which is needed.
            features = table.load()
            return Examples(features, notes=tuple(f"no score: {problem.message}" for problem in error.problems))
        given, notes = given_labels(there, lambda item: read[_field(item)])
        return Examples({name: read[name] for name in joined}, None, given, tuple(notes))
    except DataError as error:
        raise DataError(*(replace(problem, path="INPUT") for problem in error.problems)) from None


def _with_given(
    arrays: Mapping[str, ArrayInFile], metadata: Mapping[str, Any], labels: Mapping[str, LabelColumns]
) -> Examples:
    """Return the arrays that a graph reads, and the labels among the others."""
    others = {name: array for name, array in arrays.items() if name not in metadata["inputs"]}
    there = {output: item for output, item in labels.items() if others.keys() >= {*item.columns}}
    inputs = {name: array for name, array in arrays.items() if name in metadata["inputs"]}
    read = {column for item in there.values() for column in item.columns}
    counts = {array.shape[0] for array in inputs.values() if array.shape}

    def values(item: LabelColumns) -> Array:
        found = [others[column][...] for column in item.columns]
        for column, array in zip(item.columns, found, strict=True):
            if not array.ndim or {len(array)} != counts:
                raise DataError.at("INPUT", f"array '{column}' has the shape {list(array.shape)}, not one per example")
        return np.stack(found, axis=1) if len(found) > 1 else found[0]

    given, notes = given_labels(there, values)
    return Examples({name: array for name, array in arrays.items() if name not in read}, None, given, tuple(notes))


def _with_labels(table: Table, labels: Mapping[str, LabelColumns]) -> Table:
    """Return a table that reads columns of labels, too, each once for all outputs that are compared with it."""
    columns = {_field(item): item.columns if len(item.columns) > 1 else item.columns[0] for item in labels.values()}
    types = {column: item.type for item in labels.values() for column in item.columns}
    return table.model_copy(update={"columns": {**table.columns, **columns}, "types": {**table.types, **types}})


def _field(labels: LabelColumns) -> str:
    return f"labels {labels.columns}"
