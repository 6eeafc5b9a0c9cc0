"""Arrays on disk: selections, reading in pieces, passes in chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expkit.kinds.sources import mapped
from expkit.kinds.sources import on_disk as stored
from expkit.kinds.sources.mapped import MappedArray, pieces
from expkit.kinds.sources.on_disk import (
    ALIGNMENT_BYTES,
    Array,
    Selection,
    examples_at,
    rows_of,
    scan,
)

VALUES = np.arange(600, dtype=np.float32).reshape(100, 3, 2)
ORDER = np.random.default_rng(0).permutation(100)[:70]


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MappedArray:
    """Return a mapped array that is read in several pieces and passed over in several chunks."""
    monkeypatch.setattr(mapped, "PIECE_EXAMPLES", 3)
    monkeypatch.setattr(mapped, "PIECE_BYTES", 200)
    monkeypatch.setattr(stored, "CHUNK_VALUES", 60)
    np.save(tmp_path / "x.npy", VALUES)
    return MappedArray(np.load(tmp_path / "x.npy", mmap_mode="r"))


def test_indices_come_back_in_their_order(field: MappedArray) -> None:
    indices = np.concatenate([ORDER, ORDER[:5]])
    np.testing.assert_array_equal(field[indices], VALUES[indices])
    np.testing.assert_array_equal(field[90:200], VALUES[90:])
    assert field[:0].shape == (0, 3, 2)


def test_pieces_span_few_bytes_or_hold_few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "PIECE_EXAMPLES", 2)
    monkeypatch.setattr(mapped, "PIECE_BYTES", 10)
    starts = np.array([0, 1, 2, 10, 11, 50, 90, 95, 99, 101, 200])
    assert [starts[piece].tolist() for piece in pieces(starts)] == [
        [0, 1, 2, 10], [11, 50], [90, 95, 99], [101, 200]
    ]  # fmt: skip
    assert list(pieces(starts[:0])) == []


def test_selections_of_selections_are_views_of_the_file(field: MappedArray) -> None:
    ranged, mixed = rows_of(field, range(20, 60)), rows_of(field, ORDER)
    assert isinstance(ranged, Selection)
    assert isinstance(mixed, Selection)
    np.testing.assert_array_equal(ranged[:], VALUES[20:60])
    np.testing.assert_array_equal(mixed[5:9], VALUES[ORDER[5:9]])
    np.testing.assert_array_equal(rows_of(ranged, np.array([3, 1]))[:], VALUES[[23, 21]])
    np.testing.assert_array_equal(rows_of(mixed, range(2, 5))[:], VALUES[ORDER[2:5]])
    assert (mixed.shape, mixed.dtype, mixed.ndim, mixed.nbytes) == ((70, 3, 2), np.float32, 3, 70 * 24)


def test_a_range_of_an_array_in_memory_is_not_copied() -> None:
    assert np.shares_memory(np.asarray(rows_of(VALUES, range(3, 9))), VALUES)
    np.testing.assert_array_equal(np.asarray(rows_of(VALUES, ORDER)), VALUES[ORDER])


def test_a_pass_sees_every_example_once_with_its_index_and_reads_in_the_order_of_the_file(field: MappedArray) -> None:
    cases: list[tuple[Array, np.ndarray]] = [
        (field, VALUES),
        (rows_of(field, range(20, 60)), VALUES[20:60]),
        (rows_of(field, ORDER), VALUES[ORDER]),
        (VALUES, VALUES),
    ]
    for array, expected in cases:
        chunks = list(scan(array))
        assert len(chunks) == len(expected) // 10
        indices = np.concatenate([indices for indices, _ in chunks])
        np.testing.assert_array_equal(np.concatenate([values for _, values in chunks]), expected[indices])
        assert sorted(indices) == list(range(len(expected)))
    in_order = np.concatenate([values for _, values in scan(rows_of(field, ORDER))])[:, 0, 0]
    assert (np.diff(in_order) > 0).all()


def test_examples_are_aligned_for_tensorflow_whatever_holds_them(field: MappedArray) -> None:
    for array in (field, VALUES, rows_of(field, ORDER)):
        found = examples_at(array, np.array([7, 3, 3]))
        assert found.ctypes.data % ALIGNMENT_BYTES == 0
        np.testing.assert_array_equal(found, array[np.array([7, 3, 3])])


def test_consecutive_examples_of_a_file_are_read_where_they_are_mapped(field: MappedArray) -> None:
    first, again, part = field[20:30], field[20:30], rows_of(field, range(20, 60))[0:10]
    assert np.shares_memory(first, again)
    assert np.shares_memory(first, part)
    last = first[9]
    del first, again, part
    np.testing.assert_array_equal(last, VALUES[29])
    with pytest.raises(ValueError, match="read-only"):
        last[0] = 1
    np.testing.assert_array_equal(field[0:90:30], VALUES[0:90:30])


@pytest.mark.parametrize("dtype", [">f4", "<f4"])
def test_maps_of_any_layout_give_the_values_of_this_machine(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x.npy", VALUES.astype(dtype))
    whole = np.load(tmp_path / "x.npy", mmap_mode="r")
    for array, expected in ((whole, VALUES), (whole[::2], VALUES[::2]), (whole[:, :, 1], VALUES[:, :, 1])):
        read = MappedArray(array)[3:7]
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, expected[3:7])


def test_large_examples_are_copied_one_by_one_to_their_places(tmp_path: Path) -> None:
    values = np.arange(20 * 2000, dtype=np.float32).reshape(20, 2000)
    np.save(tmp_path / "x.npy", values)
    indices = np.array([7, 3, 3, 19, 0])
    np.testing.assert_array_equal(MappedArray(np.load(tmp_path / "x.npy", mmap_mode="r"))[indices], values[indices])
