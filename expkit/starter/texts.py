"""The draft of a project for a folder of texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from expkit.errors import ConfigError, DataError, comma_list
from expkit.kinds.sources.files import FileContents, first_bytes
from expkit.kinds.sources.folder import list_folder, printable
from expkit.kinds.sources.on_disk import rows_of
from expkit.kinds.sources.table_content import FIRST_BYTES, likely_encoding
from expkit.kinds.sources.text import ENDINGS, TextFolder
from expkit.starter.dense import Column, Columns, dense_network
from expkit.starter.draft import Draft, quoted
from expkit.starter.heads import of_folders
from expkit.starter.labels import as_words, check_counts, check_enough, classes_found, shown_name
from expkit.starter.parts import draws_parts, folder_split, parts_found
from expkit.starter.words import VOCABULARY, common_length, text_steps, training_rows, word_count

__all__ = ["draft_texts"]


def draft_texts(path: Path, name: str, encoding: str | None = None) -> Draft:
    """Return a draft for a folder of texts, a class per sub-folder.

    Args:
        path: the folder.
        name: name of the experiment.
        encoding: encoding of the files; that which the first bytes of all show, or UTF-8, when not given.

    Raises:
        ConfigError: there is no such encoding.
        DataError: there are no texts, words or two classes, a class is too rare, or a text is in another encoding.
    """
    encoding = encoding or _encoding(path)
    try:
        fields = TextFolder(path=str(path), encoding=encoding).load()
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError.at("--encoding", message) from None
    texts = fields["text"]
    if "label" not in fields:
        raise DataError.at(str(path), "the texts are in no folders of classes; put those of a class into a folder")
    labels = as_words(fields["label"])
    counts = Counter(labels)
    check_enough(len(texts), "texts", path)
    check_counts(counts, "label", path, drawn=draws_parts(fields))
    split = folder_split(fields, "label")
    training = training_rows(fields, split)
    if unseen := sorted(counts.keys() - {labels[row] for row in training.tolist()}):
        raise DataError.at(
            str(path),
            f"no training text is of the class {comma_list(map(shown_name, unseen), 5)}; add some, or remove the class",
        )
    length = common_length(texts)
    words = word_count(rows_of(texts, training), VOCABULARY)
    if not words:
        raise DataError.at(str(path), "the texts of the training part have no words of letters or digits")
    column = Column("words", "text", words, length)
    columns = Columns(numbers=[], missing=False, categories=[], texts=[column], left_out=[])
    data = [
        f"# Texts of {printable(path.name)}, a class per folder: fields `text`, `label`.",
        "defaults: [text]",
        "source:",
        f"  path: {quoted(str(path))}",
        *([f"  encoding: {quoted(encoding)}"] if encoding != "utf-8" else []),
        split,
        "preprocess:                  # fitted on the training part, inside the frozen graph, too",
        "  text:",
        *(f"    - {step}" for step in text_steps(words, length)),
    ]
    return Draft(
        name=name,
        data="\n".join(data) + "\n",
        network="\n".join(dense_network(columns, [of_folders(counts)])) + "\n",
        train=(),
        group="classification",
        training_examples=len(training),
        found=[
            f"{len(texts):,} texts, {'at least ' if words == VOCABULARY else ''}{words:,} words in the training part",
            *([f"the texts are written with encoding: {quoted(encoding)}"] if encoding != "utf-8" else []),
            classes_found(counts),
            *parts_found(fields),
            *(texts.notes if isinstance(texts, FileContents) else ()),
        ],
    )


def _encoding(path: Path) -> str:
    """Return the encoding that the first bytes of all texts show, besides those that are empty; otherwise UTF-8."""
    listing = list_folder(str(path), ENDINGS, "text")
    starts = first_bytes(listing.root, listing.names, FIRST_BYTES)
    shown = {likely_encoding(start) for start in starts if start}
    return shown.pop() or "utf-8" if len(shown) == 1 else "utf-8"
