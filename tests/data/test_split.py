"""The split: ready-made parts by name, alone and beside fractions; fields of text up to the digest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.config.sections.data import SplitConfig
from expkit.data.dataset import _digest, _notes
from expkit.data.split import split_fields
from expkit.errors import ConfigError, DataError
from expkit.kinds.sources.strings import string_array
from expkit.kinds.sources.text import TextFolder

PART = np.array([b"train", b"test"] * 10 + [b"val"] * 10, object)
FIELDS = {"x": np.arange(30), "part": PART, "also": PART, "n": np.arange(30) / 2, "fold": np.arange(30) % 3}


def split(fields: Mapping[str, Any] = FIELDS, **given: Any) -> dict[str, list[int]]:
    return {name: part["x"].tolist() for name, part in split_fields(fields, SplitConfig(**given)).items()}


def test_ready_made_parts_are_taken_by_name_in_their_order() -> None:
    assert split(train="train", valid="val", test="test") == {
        "train": list(range(0, 20, 2)),
        "valid": list(range(20, 30)),
        "test": list(range(1, 20, 2)),
    }


def test_whole_numbers_may_name_parts() -> None:
    assert split(train="0", valid="1", test="2", field="fold") == {
        name: list(range(fold, 30, 3)) for fold, name in enumerate(("train", "valid", "test"))
    }


def test_fractions_beside_names_are_of_the_other_examples() -> None:
    found = split(train=0.75, valid=0.25, test="val")
    assert found["test"] == list(range(20, 30))
    assert [len(found["train"]), len(found["valid"])] == [15, 5]
    assert sorted(found["train"] + found["valid"]) == list(range(20))
    assert found != split(train=0.75, valid=0.25, test="val", seed=1)


@pytest.mark.parametrize(
    ("given", "error", "problem"),
    [
        (
            {"train": "train", "test": "tst"},
            DataError,
            "data.split.test: the data has no part 'tst'; did you mean 'test'? parts: test, train, val",
        ),
        (
            {},
            DataError,
            "data.split: the data has ready-made parts, test, train, val, which fractions would mix; name them, as in "
            "data.split={train: train, valid: val, test: test}, or give another data.split.field=NAME to mix them",
        ),
        (
            {"train": "train", "test": "test", "field": "n"},
            ConfigError,
            "data.split.field: 'n' is neither text nor whole numbers, so no part is named 'train', 'test'; give the "
            "field that names parts, of these: x, part, also, fold; or fractions as data.split",
        ),
        (
            {"train": "train", "test": "test", "field": "z"},
            ConfigError,
            "data.split.field: 'z' is not in the data, so no part is named 'train', 'test'; give the field that names "
            "parts, of these: x, part, also, fold; or fractions as data.split",
        ),
        (
            {"train": "train", "valid": "val", "test": "test", "field": "also"},
            None,
            "",
        ),
        ({"field": "n", "train": 0.5}, None, ""),
    ],
)
def test_parts_that_are_not_there_are_named(given: dict[str, Any], error: Any, problem: str) -> None:
    if error is None:
        assert sum(map(len, split(**given).values())) > 0
        return
    with pytest.raises(error) as caught:
        split(**given)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("parts", "example"),
    [
        ((b"train", b"test"), "train: 0.9, valid: 0.1, test: test"),
        ((b"train", b"val"), "train: 0.9, valid: 0.1, test: val"),
        ((b"training", b"validation", b"testing"), "train: training, valid: validation, test: testing"),
    ],
)
def test_the_split_that_a_message_gives_is_one(parts: tuple[bytes, ...], example: str) -> None:
    fields = {"x": np.arange(60), "part": np.array([*parts] * (60 // len(parts)), object)}
    with pytest.raises(DataError) as caught:
        split(fields)
    assert f"data.split={{{example}}}" in str(caught.value)
    given = dict(pair.split(": ") for pair in example.split(", "))
    found = split(fields, **{name: float(size) if size[0] == "0" else size for name, size in given.items()})
    assert sorted(index for indices in found.values() for index in indices) == list(range(60))


def test_fractions_of_nothing_say_why() -> None:
    with pytest.raises(DataError) as caught:
        split(
            {"x": np.arange(4), "part": np.array([b"train", b"test"] * 2, object)},
            train="train",
            valid=0.5,
            test="test",
        )
    assert str(caught.value) == (
        "data.split.valid: 0.5 of 0 examples that are in no part named: 'train', 'test' is none; increase it"
    )


def test_numbers_in_a_field_called_part_are_left_alone() -> None:
    assert len(split({"x": np.arange(10), "part": np.arange(10)}, train=0.5)["train"]) == 5
    assert len(split({"x": np.arange(4), "part": np.array([b"wheel", b"door"] * 2, object)}, train=0.5)["train"]) == 2


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array(["ü", "a"]), ["ü".encode(), b"a"]),
        (np.array([b"a", b"bc"]), [b"a", b"bc"]),
        (np.array(["a", None, np.nan, b"b"], object), [b"a", b"", b"", b"b"]),
        (np.array([["a"], ["b"]]), [[b"a"], [b"b"]]),
    ],
)
def test_text_of_any_kind_becomes_bytes(array: np.ndarray, expected: list[Any]) -> None:
    found = string_array("x", array)
    assert found.dtype == object
    assert found[:].tolist() == expected


def test_objects_that_are_no_text_are_named() -> None:
    with pytest.raises(DataError) as caught:
        string_array("x", np.array(["a", {}], object))
    assert (
        str(caught.value) == "data.source: field 'x': holds an element of type dict; its elements must be str or bytes"
    )


def test_the_digest_covers_text_in_memory_and_on_disk(tmp_path: Path) -> None:
    def digest(*texts: bytes) -> set[str]:
        for index, text in enumerate(texts):
            (tmp_path / f"{index}.txt").write_bytes(text)
        field = TextFolder(path=str(tmp_path)).load()["text"]
        return {_digest({"train": {"text": field}}), _digest({"train": {"text": field[:]}})}

    first = digest(b"ab", b"c")
    assert len(first) == 2
    assert first == digest(b"ab", b"c")
    assert not first & digest(b"a", b"bc")
    assert not first & digest(b"ab", b"d")


def test_what_a_source_leaves_out_is_a_warning_of_the_data_set(tmp_path: Path) -> None:
    for name in ("a/1.txt", "a/.hidden", "b/2.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    fields = TextFolder(path=str(tmp_path)).load()
    assert _notes(fields) == [f"{tmp_path}: 1 file is left out, hidden or with another ending: a/.hidden"]
