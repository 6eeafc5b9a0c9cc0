"""Sources: what they read, and what they say of files that are missing, damaged or not what they should be."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.errors import DataError
from expkit.kinds.sources.arrays import NpyFiles, Npz
from expkit.kinds.sources.digits import Digits
from expkit.kinds.sources.idx import Idx, read_idx
from expkit.kinds.sources.on_disk import DiskArray


def problem_of(act: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        act()
    return str(caught.value)


def idx(array: np.ndarray, type_code: int = 0x08) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, type_code, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2) * 20
LABELS = np.array([7, 0, 9], np.uint8)


@pytest.fixture
def mnist(tmp_path: Path) -> Idx:
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "labels").write_bytes(idx(LABELS))
    return Idx(images=str(tmp_path / "images.gz"), labels=str(tmp_path / "labels"))


@pytest.mark.parametrize(("flat", "shape"), [(True, (1797, 64)), (False, (1797, 8, 8, 1))])
def test_digits_are_embedded(flat: bool, shape: tuple[int, ...]) -> None:
    arrays = Digits(flat=flat).load()
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        "image": (shape, "float32"),
        "label": ((1797,), "int64"),
    }
    assert arrays["image"].max() == 16
    assert set(arrays["label"]) == set(range(10))


@pytest.mark.parametrize(("flat", "shape"), [(True, (3, 4)), (False, (3, 2, 2, 1))])
def test_idx_reads_gzipped_and_plain_files(mnist: Idx, flat: bool, shape: tuple[int, ...]) -> None:
    arrays = mnist.model_copy(update={"flat": flat}).load()
    np.testing.assert_array_equal(arrays["image"], (IMAGES.astype(np.float32) / 255).reshape(shape))
    np.testing.assert_array_equal(arrays["label"], LABELS)
    assert (arrays["image"].dtype, arrays["label"].dtype) == (np.float32, np.int64)


def test_idx_labels_that_are_not_whole_stay_as_they_are(mnist: Idx, tmp_path: Path) -> None:
    for labels, dtype in ((np.array([7, 0, 9]), np.int64), (np.array([7, 0.5, 9]), np.float64)):
        (tmp_path / "labels").write_bytes(idx(labels.astype(">f8"), 0x0E))
        got = mnist.load()["label"]
        assert (got.tolist(), got.dtype) == (labels.tolist(), dtype)


def test_idx_of_floats_is_not_scaled(mnist: Idx, tmp_path: Path) -> None:
    (tmp_path / "floats").write_bytes(idx(IMAGES.astype(">f4"), 0x0D))
    arrays = mnist.model_copy(update={"images": str(tmp_path / "floats")}).load()
    np.testing.assert_array_equal(arrays["image"], IMAGES.reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not an IDX file of 3 dimension(s): magic 0x, expected 0x00000803"),
        (b"\0\0\x08", "is not an IDX file of 3 dimension(s): magic 0x000008, expected 0x00000803"),
        (b"PK\x03\x04 zip", "is not an IDX file of 3 dimension(s): magic 0x504b0304, expected 0x00000803"),
        (b"\0\0\x07\x03more", "is not an IDX file of 3 dimension(s): magic 0x00000703, expected 0x00000803"),
        (idx(LABELS), "is not an IDX file of 3 dimension(s): magic 0x00000801, expected 0x00000803"),
        (idx(IMAGES)[:10], "is truncated or damaged: 10 bytes, its header says 16; fetch it again"),
        (idx(IMAGES)[:-1], "is truncated or damaged: 27 bytes, its header says 28; fetch it again"),
        (idx(IMAGES) + b"!", "is truncated or damaged: 29 bytes, its header says 28; fetch it again"),
        (
            b"\0\0\x08\x03" + b"\xff" * 12,
            f"is truncated or damaged: 16 bytes, its header says {16 + (2**32 - 1) ** 3}; fetch it again",
        ),
        (
            gzip.compress(idx(IMAGES), mtime=0)[:-9],
            "cannot be read: Compressed file ended before the end-of-stream marker was reached; it is truncated or "
            "damaged, fetch it again",
        ),
        (
            b"\x1f\x8bnonsense",
            "cannot be read: Unknown compression method; it is truncated or damaged, fetch it again",
        ),
    ],
)
def test_idx_says_what_is_wrong_with_a_file(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "images"
    file.write_bytes(content)
    assert problem_of(lambda: read_idx(str(file), "images", dimensions=3)) == f"data.source.images: {file} {problem}"


def test_idx_with_more_labels_than_images_counts_both(mnist: Idx, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(idx(np.zeros(4, np.uint8)))
    assert problem_of(mnist.load) == f"data.source: {mnist.images} has 3 images but {mnist.labels} has 4 labels"


def test_a_missing_file_names_the_nearest_and_the_way_out(mnist: Idx, tmp_path: Path) -> None:
    source = mnist.model_copy(update={"images": str(tmp_path / "images.g")})
    assert problem_of(source.load) == (
        f"data.source.images: no file {tmp_path}/images.g; did you mean 'images.gz'? give the path of an existing file "
        "with data.source.images=PATH"
    )


def test_a_missing_folder_gives_the_way_out() -> None:
    assert problem_of(Npz(path="/no/such/folder/x.npz").load) == (
        "data.source.path: no file /no/such/folder/x.npz; give the path of an existing file with data.source.path=PATH"
    )


def test_npz_gives_every_array_its_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=IMAGES, label=LABELS)
    arrays = Npz(path=str(tmp_path / "a.npz")).load()
    assert list(arrays) == ["image", "label"]
    np.testing.assert_array_equal(arrays["image"], IMAGES)


def test_npz_takes_and_renames_the_arrays_that_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS, other=np.zeros(1))
    arrays = Npz(path=str(tmp_path / "a.npz"), fields={"y": "label", "x": "image"}).load()
    assert sorted(arrays) == ["image", "label"]
    np.testing.assert_array_equal(arrays["label"], LABELS)


@pytest.mark.parametrize(
    ("arrays", "fields", "problem"),
    [
        ({"x": IMAGES, "y": LABELS}, {"z": "label", "w": "v"}, "data.source.fields: no array z, w in {file}"),
        (
            {"x": IMAGES, "y": LABELS[:2]},
            {},
            "data.source.path: the arrays of {file} differ in their number of examples: x 3, y 2",
        ),
        (
            {"x": np.float32(1)},
            {},
            "data.source.path: the arrays of {file}: 'x' has shape []; needs a first dimension that counts examples, "
            "and no size of 0",
        ),
        (
            {"x": np.zeros((3, 0))},
            {},
            "data.source.path: the arrays of {file}: 'x' has shape [3, 0]; needs a first dimension that counts "
            "examples, and no size of 0",
        ),
        ({}, {}, "data.source.path: {file} has no arrays"),
        (
            {"x": np.array([None])},
            {},
            "data.source.path: the arrays of {file}: 'x' holds pickled Python objects, which are never read",
        ),
    ],
)
def test_npz_says_what_is_wrong_with_its_arrays(
    tmp_path: Path, arrays: dict[str, Any], fields: dict[str, str], problem: str
) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, **arrays)
    assert problem_of(Npz(path=str(file), fields=fields).load) == problem.format(file=file)


def test_npz_that_is_no_zip_archive_says_so(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    with file.open("wb") as out:
        np.save(out, IMAGES)
    expected = f"data.source.path: {file} is not a readable .npz file: it is not a zip archive"
    assert problem_of(Npz(path=str(file)).load) == expected
    np.savez(file, x=IMAGES)
    file.write_bytes(file.read_bytes()[:-20])
    assert problem_of(Npz(path=str(file)).load) == expected


def test_npz_that_is_damaged_inside_says_so(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, x=IMAGES)
    content = file.read_bytes()
    file.write_bytes(content.replace(IMAGES.tobytes(), b"\xff" * IMAGES.size))
    assert problem_of(Npz(path=str(file)).load) == (
        f"data.source.path: {file} is not a readable .npz file: Bad CRC-32 for file 'x.npy'"
    )


def test_arrays_stay_on_disk_and_are_read_by_index(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 4)
    np.save(tmp_path / "x.npy", values)
    np.save(tmp_path / "y.npy", np.arange(6))
    fields = NpyFiles(fields={"image": str(tmp_path / "x.npy"), "label": str(tmp_path / "y.npy")}).load()
    assert all(isinstance(field, DiskArray) for field in fields.values())
    image = fields["image"]
    assert (image.shape, image.dtype, image.ndim, len(image), image.nbytes) == ((6, 4), np.float32, 2, 6, 96)
    np.testing.assert_array_equal(image[np.array([4, 0, 4, 5])], values[[4, 0, 4, 5]])
    np.testing.assert_array_equal(image[1:3], values[1:3])
    np.testing.assert_array_equal(fields["label"][:], np.arange(6))


def _truncated(path: Path) -> None:
    np.save(path, np.zeros(1000))
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: path.write_bytes(b"not numpy"), " is not a readable .npy file: "),
        (lambda path: path.write_bytes(b""), " is not a readable .npy file: "),
        (
            _truncated,
            " is not a readable .npy file: its header declares [1000] values of float64, 8,000 bytes, but 7,992 follow "
            "it",
        ),
        (lambda path: np.save(path, np.array([{}])), ": 'x' holds pickled Python objects, which are never read"),
        (lambda path: np.save(path, np.float32(1)), ": 'x' has shape []; needs a first dimension that counts examples"),
        (lambda path: np.save(path, np.zeros((0, 4))), ": 'x' has shape [0, 4]; needs a first dimension that counts"),
        (lambda path: np.savez(path.open("wb"), x=np.zeros(3)), " is not a readable .npy file: the magic string"),
    ],
)
def test_arrays_say_what_is_wrong_with_a_file(tmp_path: Path, write: Callable[[Path], Any], problem: str) -> None:
    file = tmp_path / "x.npy"
    write(file)
    assert problem_of(NpyFiles(fields={"x": str(file)}).load).startswith(f"data.source.fields.x: {file}{problem}")


def test_arrays_of_different_sizes_and_missing_files_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    np.save(tmp_path / "y.npy", np.zeros(4))
    both = NpyFiles(fields={"x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy")})
    assert problem_of(both.load) == "data.source.fields: the files differ in their number of examples: x 3, y 4"
    assert problem_of(NpyFiles(fields={"x": str(tmp_path / "xx.npy")}).load) == (
        f"data.source.fields.x: no file {tmp_path}/xx.npy; did you mean 'x.npy'? give the path of an existing file "
        "with data.source.fields.x=PATH"
    )


def test_arrays_of_another_byte_order_or_layout_are_read_as_those_of_this_machine(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(6, 2)
    for array in (values.astype(">f8"), np.asfortranarray(values), values.astype("<f8")):
        np.save(tmp_path / "x.npy", array)
        np.savez(tmp_path / "x.npz", x=array)
        for source in (NpyFiles(fields={"x": str(tmp_path / "x.npy")}), Npz(path=str(tmp_path / "x.npz"))):
            got = source.load()["x"]
            assert got.dtype == np.dtype("=f8")
            np.testing.assert_array_equal(got[np.array([5, 0, 3])], values[[5, 0, 3]])


def test_two_arrays_cannot_be_one_field() -> None:
    with pytest.raises(ValueError, match="arrays x, z cannot all be the field 'image'"):
        Npz(path="a.npz", fields={"x": "image", "y": "label", "z": "image"})


def test_arrays_larger_than_the_memory_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((10, 4)))
    monkeypatch.setattr("expkit.kinds.sources.arrays.machine_memory", lambda: 300)
    assert problem_of(Npz(path=str(tmp_path / "a.npz")).load) == (
        f"data.source.path: the arrays of {tmp_path}/a.npz need 320 bytes, this machine has 300 bytes; write them as "
        ".npy files, which data=arrays reads by index"
    )


def test_digits_without_labels_are_marked_in_a_field() -> None:
    fields = Digits(unlabeled=(100, 1257)).load()
    assert fields["labeled"].dtype == np.float32
    np.testing.assert_array_equal(np.flatnonzero(fields["labeled"] == 0), np.arange(100, 1257))
    assert set(np.unique(fields["labeled"])) == {0, 1}
    assert "labeled" not in Digits().load()


@pytest.mark.parametrize("unlabeled", [(-1, 5), (5, 5), (7, 5), (0, 1798)])
def test_a_range_that_is_none_of_digits_is_refused(unlabeled: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"is not a range of the 1,797 examples; give \[first, after_last\]"):
        Digits(unlabeled=unlabeled)
