"""The draft of a project for a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from expkit.data.columns import identifier
from expkit.errors import DataError, comma_list
from expkit.kinds.preprocess.categories import RESERVED
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.folder import printable
from expkit.kinds.sources.strings import is_text
from expkit.kinds.sources.table import REST
from expkit.starter.dense import Column, Columns, dense_network
from expkit.starter.dialect import Written, read_table
from expkit.starter.draft import Draft, quoted, split_line
from expkit.starter.heads import (
    OWN_NAMES,
    Head,
    check_columns,
    class_lines,
    fitted,
    group_of,
    head_of,
    is_free,
    plain_name,
    sentence,
    stratified,
    train_lines,
    with_names,
)
from expkit.starter.labels import as_words, check_counts, check_enough, shown_name
from expkit.starter.words import VOCABULARY, common_length, text_steps, training_rows, word_count

__all__ = ["draft_table"]

NEARLY = 0.95
"""Fraction of the texts of a column above which the column has their form."""
FEW = 20
"""Different dates, or numbers with a sign, up to which they are categories."""
FORMS = {
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.*|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*": "write dates as numbers, such as the month",
    r"[-+]?\s*([^\w\s.,()]|[A-Z]{3})?\s*[-+]?\d[\d.,' ]*([^\d\s()]{1,4})?": "write numbers without sign or unit",
}
"""Advice for columns of texts that are dates or amounts, by the regular expression of these texts."""
MOST_CATEGORIES = 100
"""Different texts up to which a column names categories; a category that is rarer counts as other."""


def draft_table(
    path: Path, labels: Sequence[str], name: str, *, encoding: str | None = None, delimiter: str | None = None
) -> Draft:
    """Return a draft for a table, of which columns are to be predicted.

    Raises:
        DataError: there is no such column, or no other that could be a feature.
    """
    written = read_table(path, encoding, delimiter)
    fields = written.fields
    check_columns(labels, fields, str(path))
    targets = {label: fields[label][:] for label in labels}
    rows = len(targets[labels[0]])
    check_enough(rows, "rows", path)
    heads = [head_of(label, target, numbered=False) for label, target in targets.items()]
    for head in heads:
        if head.counts is not None:
            check_counts(head.counts, head.column, path)
    names = _field_names([name for name in fields if name not in labels])
    heads = with_names(heads, [word for name in names.values() for word in _named_after(name)], fields=True)
    split = split_line(stratified(heads))
    training = training_rows({head.field: targets[head.column] for head in heads}, split)
    heads = [fitted(head, targets[head.column][training]) for head in heads]
    seen = {label: {*as_words(target[training])} for label, target in targets.items()}
    columns = _sorted_out(fields, names, training)
    if not (columns.numbers or columns.categories or columns.texts):
        besides = comma_list(f"'{label}'" for label in labels)
        raise DataError.at("data.source", f"{path} has no column besides {besides} that could be a feature")
    return Draft(
        name=name,
        data="\n".join([*_data(path, heads, targets, columns, written, split), *class_lines(heads, seen)]) + "\n",
        network="\n".join(dense_network(columns, heads)) + "\n",
        train=train_lines(heads),
        group=group_of(heads),
        training_examples=len(training),
        found=[
            f"{rows:,} rows",
            *([f"the table is written with {comma_list(_settings(written))}"] if written.settings else []),
            *(sentence(head, targets[head.column]) for head in heads),
            f"features: {len(columns.numbers)} numbers{' (some are missing)' if columns.missing else ''}, "
            f"{len(columns.categories)} categories, {len(columns.texts)} texts",
            *written.left_out,
            *columns.left_out,
        ],
    )


def _settings(written: Written) -> list[str]:
    """Return the settings of a table as YAML."""
    return [f"{key}: {_yaml(value)}" for key, value in written.settings.items() if value is not None]


def _yaml(value: object) -> str:
    """Return text, or a list of texts, as YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(quoted, value))}]"
    return '"\\t"' if value == "\t" else quoted(str(value))


def _field_names(columns: Sequence[str]) -> dict[str, str]:
    """Return a name of a field for each column: the column's own where a field, and layers after it, may have it."""
    names: dict[str, str] = {}
    used = {*OWN_NAMES}
    for number, column in enumerate(columns):
        plain = plain_name(column)
        free = all(is_free(word, used) for word in _named_after(plain))
        names[column] = plain if free and not re.fullmatch("column_[0-9]+", plain) else f"column_{number}"
        used |= {*_named_after(names[column])}
    return names


def _named_after(field: str) -> tuple[str, ...]:
    """Return the names of a field and of layers that may follow it."""
    return field, f"{field}_words", f"{field}_mean"


def _sorted_out(fields: Fields, names: Mapping[str, str], training: np.ndarray) -> Columns:
    """Return which columns are features, of what type, under the names of their fields."""
    numbers, categories, texts, left_out, missing = [], [], [], [], False
    for name, field in names.items():
        if name == REST:
            left_out.append(f"'{name}' is left out: as a column it stands for all others; give it another name")
            continue
        values = fields[name][:]
        if not is_text(values.dtype):
            present = values[~np.isnan(values.astype(np.float64))]
            if infinite := int(np.isinf(present.astype(np.float64)).sum()):
                left_out.append(f"'{name}' is left out: {infinite:,} rows hold infinity")
            elif len(np.unique(present)) < 2:
                left_out.append(f"'{name}' is left out: it has one value")
            elif reason := identifier(name, values):
                left_out.append(f"'{name}' is left out: it {reason}")
            else:
                numbers.append(name)
                missing = missing or len(present) < len(values)
            continue
        counts = Counter(values.tolist())
        known = Counter(values[training].tolist()).keys() - {b""}
        lengths = [len(value.split()) for value in counts]
        if len(counts) < 2:
            left_out.append(f"'{name}' is left out: it has one value")
        elif np.mean(lengths) > 2.5:
            if words := word_count(values[training], VOCABULARY):
                texts.append(Column(name, field, words, common_length(values)))
            else:
                left_out.append(f"'{name}' is left out: its texts have no words of letters or digits")
        elif len(counts) > FEW and (form := _form(counts)):
            left_out.append(f"'{name}' is left out: {form}")
        elif len(counts) > max(MOST_CATEGORIES, len(values) // 2) or len(counts) == len(values):
            left_out.append(f"'{name}' is left out: {len(counts):,} different values name the rows")
        else:
            categories.append(Column(name, field, min(MOST_CATEGORIES, max(1, len(known)))))
    return Columns(numbers=numbers, missing=missing, categories=categories, texts=texts, left_out=left_out)


def _form(texts: Iterable[bytes]) -> str | None:
    """Return a sentence with advice if nearly all texts have one of the forms of ``FORMS``; ``None`` otherwise."""
    words = [text.decode("utf-8", "replace").strip() for text in texts if text.strip()]
    for form, what in FORMS.items():
        if sum(re.fullmatch(form, word) is not None for word in words) > NEARLY * len(words):
            return f"it has text such as '{shown_name(words[0])}'; {what}"
    return None


def _data(
    path: Path,
    heads: Sequence[Head],
    targets: Mapping[str, np.ndarray],
    columns: Columns,
    written: Written,
    split: str,
) -> list[str]:
    by_class = [
        f"{quoted(head.column)}: text"
        for head in heads
        if head.counts is not None and not is_text(targets[head.column].dtype)
    ]
    numbers = ", ".join(map(quoted, columns.numbers))
    steps = ["{kind: impute, value: median}"] if columns.missing else []
    lines = [
        f"# Rows of {printable(path.name)}: what is read of them, and what is done to it.",
        "defaults: [table]",
        "source:",
        f"  path: {quoted(str(path))}",
        *(f"  {setting}" for setting in _settings(written)),
        "  columns:",
        *([f"    numbers: [{numbers}]"] if numbers else []),
        *(f"    {column.field}: {quoted(column.name)}" for column in (*columns.categories, *columns.texts)),
        *(f"    {head.field}: {quoted(head.column)}" for head in heads),
        *([f"  types: {{{', '.join(by_class)}}}   # its numbers are names of classes"] if by_class else []),
        split,
        "preprocess:                  # fitted on the training part, inside the frozen graph, too",
        *([f"  numbers: [{', '.join([*steps, '{kind: standardize}'])}]"] if numbers else []),
    ]
    for column in columns.categories:
        vocabulary = f"{{kind: vocabulary, max_size: {column.size}}}"
        lines.append(f"  {column.field}: [{vocabulary}, {{kind: one_hot, depth: {column.size + RESERVED}}}]")
    for column in columns.texts:
        lines += [f"  {column.field}:", *(f"    - {step}" for step in text_steps(column.size, column.length))]
    return lines
