"""The examples of a command line that a graph cannot read: one message each, with what can be done there."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from expkit.errors import DataError
from expkit.export.examples import open_examples

TEXTS: Mapping[str, Any] = {"inputs": {"text": {"dtype": "string", "shape": [None]}}, "encoding": "utf-8"}
TABLE: Mapping[str, Any] = {**TEXTS, "columns": {"text": ["review"]}}
TRAIN = "convert it to {}, the encoding of the training data, or train on data in its encoding"


@pytest.mark.parametrize(
    ("name", "content", "metadata", "said"),
    [
        (
            "new.csv",
            b"review\n\xe9t\xe9\n",
            TABLE,
            "INPUT: FILE is not text in utf-8 (byte 0xe9: invalid continuation byte); " + TRAIN.format("utf-8"),
        ),
        (
            "new.csv",
            "review\na\n".encode("utf-16"),
            {**TABLE, "encoding": "latin-1"},
            "INPUT: FILE begins with the mark of utf-16, and is read as latin-1; " + TRAIN.format("latin-1"),
        ),
        (
            "new.csv",
            b"n;review\n1;a\n",
            TABLE,
            "INPUT: no column 'review' in FILE; did you mean 'n;review'? columns: n;review; write it with ',', the "
            "delimiter of the training data",
        ),
        (
            "new.txt",
            b"caf\xe9",
            TEXTS,
            "INPUT: FILE is not text in utf-8: 'utf-8' codec can't decode byte 0xe9 in position 3: unexpected end of "
            "data; " + TRAIN.format("utf-8"),
        ),
        (
            "new.txt",
            b"coffee",
            {**TEXTS, "encoding": "utf-16"},
            "INPUT: FILE has no byte 0, as text in utf-16 has; " + TRAIN.format("utf-16"),
        ),
    ],
)
def test_another_encoding_or_delimiter_is_reported_with_what_predict_can_do(
    name: str, content: bytes, metadata: Mapping[str, Any], said: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError) as caught, open_examples([str(file)], metadata) as examples:
        examples.inputs["text"][:]
    assert str(caught.value) == said.replace("FILE", str(file))


def test_lines_that_are_not_utf8_are_reported_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("né\r\n\U0001f600\n\n".encode() + b"caf\xe9 \n")))
    with pytest.raises(DataError) as caught, open_examples(["-"], TEXTS):
        pass
    assert str(caught.value) == (
        "-: line 4 is not text in utf-8 (byte 0xe9: invalid continuation byte); convert it to utf-8"
    )
