"""Duplicates across parts: told with their number and two names, whatever the source, and read once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.config.load import load
from expkit.data.dataset import Dataset, load_dataset
from expkit.data.duplicates import duplicate_warnings, find_duplicates
from expkit.errors import DataError
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.files import FileContents, checked_contents
from expkit.kinds.sources.folder import Listing
from expkit.kinds.sources.mapped import MappedArray
from expkit.preflight import check


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def parts_of(**arrays: Any) -> dict[str, dict[str, Any]]:
    return {part: {"x": array} for part, array in arrays.items()}


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, np.float16])
@pytest.mark.parametrize("shape", [(3,), (2, 5), (16,)])
def test_equal_examples_of_two_parts_are_found(dtype: Any, shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    train, valid, test = ((draw.random((count, *shape)) * 250).astype(dtype) for count in (50, 10, 20))
    assert find_duplicates(parts_of(train=train, valid=valid, test=test)) == []
    valid[3], test[7], test[9] = train[40], train[40], train[41]
    assert [str(item) for item in find_duplicates(parts_of(train=train, valid=valid, test=test))] == [
        "1 of 10 valid examples is among the train examples, too: valid example 3 equals train example 40",
        "2 of 20 test examples are among the train examples, too: test example 7 equals train example 40",
        "1 of 20 test examples is among the valid examples, too: test example 7 equals valid example 3",
    ]


def test_as_many_as_a_plain_comparison_finds() -> None:
    draw = np.random.default_rng(1)
    train, test = (draw.integers(0, 6, (count, 3)).astype(np.float64) for count in (120, 60))
    known = {row.tobytes() for row in train}
    (found,) = find_duplicates(parts_of(train=train, test=test))
    assert found.count == sum(row.tobytes() in known for row in test)


def test_few_categories_are_no_duplicates() -> None:
    few = np.arange(100) % 4
    assert find_duplicates(parts_of(train=few, test=few[:10])) == []


def test_all_fields_of_an_example_count() -> None:
    train = {"x": np.arange(20), "y": np.arange(20)}
    assert find_duplicates({"train": train, "test": {"x": np.arange(5), "y": np.arange(5) + 1}}) == []
    assert find_duplicates({"train": train, "test": {"x": np.arange(5), "y": np.arange(5)}})[0].count == 5


def files(folder: Path, names: list[str]) -> FileContents:
    return checked_contents(Listing(root=folder, names=names, others=[]), lambda starts: None)


def test_files_are_read_at_the_first_start_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(bytes([number % 5]) * 20)

    def listed() -> dict[str, Fields]:
        train, test = ["0.png", "1.png", "2.png", "3.png"], ["5.png"]
        return parts_of(train=files(tmp_path, train), test=files(tmp_path, test))

    parts = listed()
    said = [
        f"1 of 1 test examples is among the train examples, too: {tmp_path}/5.png equals {tmp_path}/0.png; scores of "
        "them are too good (data.duplicates: ignore says nothing)"
    ]
    assert list(duplicate_warnings(parts, ["x"], "warn")) == said

    def read(self: object, indices: np.ndarray) -> np.ndarray:
        raise AssertionError("read again")

    with monkeypatch.context() as changed:
        changed.setattr(FileContents, "take", read)
        assert list(duplicate_warnings(parts, ["x"], "warn")) == said
        assert list(duplicate_warnings(parts, ["x"], "ignore")) == []
        with pytest.raises(DataError) as caught:
            list(duplicate_warnings(parts, ["x"], "error"))
    assert str(caught.value) == (
        f"data.duplicates: 1 of 1 test examples is among the train examples, too: {tmp_path}/5.png equals "
        f"{tmp_path}/0.png; remove them from one part, keep copies together by data.split.group, or set "
        "data.duplicates: warn"
    )
    (tmp_path / "5.png").write_bytes(b"another")
    assert list(duplicate_warnings(listed(), ["x"], "warn")) == []
    for entry in (tmp_path / "cache/expkit/facts").glob("duplicates-*"):
        entry.write_text("{")
    assert list(duplicate_warnings(listed(), ["x"], "warn")) == []


def test_a_mapped_file_is_known_by_its_place_and_time(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(12.0).reshape(6, 2))

    def identity(rows: slice = slice(None)) -> bytes | None:
        return MappedArray(np.load(tmp_path / "x.npy", mmap_mode="r")[rows]).identity()

    first = identity()
    assert first == identity()
    assert len({first, identity(slice(0, 3)), identity(slice(3, 6)), identity(slice(0, 6, 2))}) == 4
    os.utime(tmp_path / "x.npy", ns=(1, 1))
    assert first != identity()


def loaded(*words: str) -> Dataset:
    checked = check(load(["experiment=iris", "tracking=none", *words]))
    return load_dataset(checked.config, checked.spec)


def test_two_equal_flowers_of_iris_are_reported() -> None:
    """Rows 101 and 142 of the table are equal."""
    named = "data.split={train: [0, 110], valid: [110, 120], test: [120, 150]}"
    (said,) = [text for text in loaded(named).warnings if "among" in text]
    assert said.startswith(
        "1 of 30 test examples is among the train examples, too: test example 22 equals train example 101; "
    )
    with pytest.raises(DataError, match=r"^data\.duplicates: 1 of 30 test examples"):
        loaded(named, "data.duplicates=error")
    assert not [text for text in loaded(named, "data.duplicates=ignore").warnings if "among" in text]
