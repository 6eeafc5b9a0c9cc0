"""Folders of images and of texts: classes, ready-made parts, labels in a table, and and damage."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import cache
from expkit.errors import DataError
from expkit.kinds.sources import files, on_disk
from expkit.kinds.sources.base import Source
from expkit.kinds.sources.image_folder import ImageFolder, image_format
from expkit.kinds.sources.on_disk import DiskArray, rows_of, scan
from expkit.kinds.sources.text import TextFolder

PNG, JPEG, GIF, BMP = b"\x89PNG\r\n\x1a\nrest", b"\xff\xd8\xff\xe0rest", b"GIF89a\x01\0\x01\0rest", b"BMrest"
Fill = Callable[..., str]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    def write(**files: bytes) -> str:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return str(tmp_path)

    return write


def problem_of(source: Source, folder: str) -> str:
    with pytest.raises(DataError) as caught:
        source.load()
    return str(caught.value).replace(folder, "FOLDER")


def listed(source: Source) -> dict[str, Any]:
    return {name: array[:].tolist() for name, array in source.load().items()}


def test_a_sub_folder_is_a_class_and_a_format_is_known_by_content(fill: Fill) -> None:
    folder = fill(**{"b/1.png": JPEG, "a/z.gif": GIF, "a/B.BMP": BMP, "a/deep/er/x.jpeg": PNG, "a/é.png": PNG})
    fields = ImageFolder(path=folder).load()
    assert list(fields) == ["image", "label"]
    assert fields["image"][:].tolist() == [BMP, PNG, GIF, PNG, JPEG]
    assert fields["label"][:].tolist() == [b"a", b"a", b"a", b"a", b"b"]
    image = fields["image"]
    assert isinstance(image, DiskArray)
    assert (image.shape, image.dtype, image.notes) == ((5,), object, ())
    assert image.nbytes == sum(map(len, [BMP, PNG, GIF, PNG, JPEG]))
    np.testing.assert_array_equal(image[np.array([4, 0, 4])], np.array([JPEG, BMP, JPEG], object))


def test_files_that_did_not_change_are_checked_once(
    fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "MOST_FACTS", 2)
    folder = fill(**{"images/a/1.png": PNG, "images/b/2.jpg": JPEG, "texts/a/1.txt": b"one", "texts/a/2.txt": b"two"})
    images, texts = ImageFolder(path=f"{folder}/images"), TextFolder(path=f"{folder}/texts")
    first = [listed(images), listed(texts)]

    def read(*given: object) -> list[bytes]:
        raise AssertionError("read again")

    with monkeypatch.context() as changed:
        changed.setattr(files, "first_bytes", read)
        assert [listed(images), listed(texts)] == first
    fill(**{"images/a/1.png": b"no image"})
    for _ in range(2):
        assert "1 file of 2 without the content of a PNG" in problem_of(images, folder)
    for number in range(3):
        fill(**{"texts/a/1.txt": b"one" * (2 + number)})
        assert listed(texts)["text"] == [b"one" * (2 + number), b"two"]
    assert len(list((tmp_path / "cache/expkit/facts").glob("files-0-1-*"))) == 2
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # No place for a cache.
    assert listed(texts)["text"] == [b"one" * 4, b"two"]


@pytest.mark.parametrize(
    ("start", "name"),
    [(PNG, "PNG"), (JPEG, "JPEG"), (GIF, "GIF"), (b"GIF87a", "GIF"), (BMP, "BMP"), (b"RIFF", None), (b"", None)],
)
def test_thefirst_bytes_are_those_of_a_format(start: bytes, name: str | None) -> None:
    assert image_format(start) == name


def test_files_are_read_when_they_are_needed_in_chunks_of_bytes(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {f"{i:03}.txt": b"x" * (10 * i + 1) for i in range(50)}
    text = TextFolder(path=fill(**contents)).load()["text"]
    assert isinstance(text, DiskArray)
    monkeypatch.setattr(on_disk, "CHUNK_BYTES", 1000)
    chosen = np.random.default_rng(0).permutation(50)[:40]
    for array, order in ((text, np.arange(50)), (rows_of(text, chosen), np.sort(chosen))):
        chunks = [chunk for _, chunk in scan(array)]
        assert np.concatenate(chunks).tolist() == [b"x" * (10 * i + 1) for i in order.tolist()]
        assert len(chunks) > 5
        assert max(sum(map(len, chunk)) for chunk in chunks) <= 1000
    part = rows_of(text, chosen)
    assert isinstance(part, DiskArray)
    assert part.sizes(np.arange(40)).tolist() == (10 * chosen + 1).tolist()


def test_ready_made_parts_are_a_field(fill: Fill) -> None:
    folder = fill(**{"train/a/1.png": PNG, "train/b/2.png": PNG, "test/a/1.png": GIF})
    assert listed(ImageFolder(path=folder)) == {
        "image": [GIF, PNG, PNG],
        "label": [b"a", b"a", b"b"],
        "part": [b"test", b"train", b"train"],
    }
    folder = fill(**{"plane/1.png": PNG})
    assert listed(ImageFolder(path=folder))["label"] == [b"plane", b"test", b"train", b"train"]


def test_files_in_no_sub_folder_have_no_label(fill: Fill) -> None:
    folder = fill(**{"2.png": PNG, "10.png": GIF})
    assert listed(ImageFolder(path=folder)) == {"image": [GIF, PNG]}


def test_files_that_are_left_out_are_reported(fill: Fill) -> None:
    folder = fill(**{"a/1.png": PNG, "a/.DS_Store": b"", "readme.md": b"", ".cache/x.png": PNG, "a/x.webp": b""})
    image = ImageFolder(path=folder).load()["image"]
    assert isinstance(image, DiskArray)
    assert image.notes == (
        f"{folder}: 4 files are left out, hidden or with another ending: .cache, readme.md, a/.DS_Store and 1 more",
        f"{folder}: 1 file of those left out is an image in a format that cannot be decoded: a/x.webp; convert it to "
        "PNG, JPEG, BMP or GIF",
    )
    assert rows_of(image, range(1))[:].tolist() == [PNG]


def test_files_that_are_no_images_are_counted_and_named(fill: Fill) -> None:
    folder = fill(**{f"a/{i}.png": b"<html>" for i in range(5)}, **{"b/x.png": PNG})
    assert problem_of(ImageFolder(path=folder), folder) == (
        "data.source.path: FOLDER: 5 files of 6 without the content of a PNG, JPEG, BMP or GIF image: a/0.png, "
        "a/1.png, a/2.png and 2 more; the first begins with b'<html>'; remove or replace what is not an image"
    )


def test_every_class_without_an_image_is_named(fill: Fill) -> None:
    folder = fill(**{"a/1.png": PNG, "b/x.webp": b"", "c/.x.png": PNG})
    endings = ".png, .jpg, .jpeg, .jpe, .jfif, .bmp, .gif"
    assert problem_of(ImageFolder(path=folder), folder).splitlines() == [
        f"data.source.path: the class '{name}' has no image: FOLDER/{name} holds no file that ends in {endings}, but "
        f"{name}/{other}; remove the folder or fill it"
        for name, other in (("b", "x.webp"), ("c", ".x.png"))
    ]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (
            {"a/1.png": PNG, "1.png": PNG},
            "FOLDER has images beside the folders of classes 'a': 1.png; move them into the folder of their class",
        ),
        ({}, "FOLDER holds no file that ends in .png, .jpg, .jpeg, .jpe, .jfif, .bmp, .gif"),
        ({"train/a/1.png": PNG, "test/.x": b""}, "FOLDER/test has no image"),
        (
            {"train/a/1.png": PNG, "test/1.png": PNG},
            "some parts of FOLDER have folders of classes, others have images without a class",
        ),
    ],
)
def test_a_folder_that_is_wrong_is_explained(fill: Fill, files: dict[str, bytes], problem: str) -> None:
    folder = fill(**files)
    assert problem_of(ImageFolder(path=folder), folder) == f"data.source.path: {problem}"


def test_a_folder_that_is_missing_or_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert problem_of(ImageFolder(path=str(tmp_path / "photo")), str(tmp_path)) == (
        "data.source.path: no folder FOLDER/photo; did you mean 'photos'? give the path of an existing folder with "
        "data.source.path=PATH"
    )
    (tmp_path / "file").write_bytes(PNG)
    assert problem_of(ImageFolder(path=str(tmp_path / "file")), str(tmp_path)) == (
        "data.source.path: FOLDER/file is a file; give the folder that holds the files"
    )


def test_links_that_lead_out_of_the_folder_or_in_circles_are_refused(fill: Fill, tmp_path: Path) -> None:
    folder = fill(**{"in/a/1.png": PNG, "out.png": PNG})
    link = tmp_path / "in/a/2.png"
    link.symlink_to("1.png")
    assert listed(ImageFolder(path=f"{folder}/in"))["image"] == [PNG, PNG]
    for target, problem in (
        ("../../out.png", "is a symbolic link to FOLDER/out.png, out of the folder; copy the file"),
        ("..", "is a symbolic link to a folder, which is not followed; remove it"),
    ):
        link.unlink()
        link.symlink_to(target)
        message = problem_of(ImageFolder(path=f"{folder}/in"), folder)
        assert message == f"data.source.path: FOLDER/in/a/2.png {problem}"
    link.unlink()
    os.mkfifo(link)
    assert listed(ImageFolder(path=f"{folder}/in"))["image"] == [PNG]


def test_names_that_are_not_utf8_are_read_but_are_no_classes(fill: Fill, tmp_path: Path) -> None:
    folder = fill(**{"a/1.png": PNG})
    odd = os.fsencode(tmp_path) + b"/a/\xff.png"
    with open(odd, "wb") as file:
        file.write(b"no image")
    assert ": a/\\xff.png; the first" in problem_of(ImageFolder(path=folder), folder)
    os.unlink(odd)
    os.mkdir(os.fsencode(tmp_path) + b"/b\xff")
    with open(os.fsencode(tmp_path) + b"/b\xff/1.png", "wb") as file:
        file.write(PNG)
    assert problem_of(ImageFolder(path=folder), folder) == (
        "data.source.path: the folder 'b\\xff' in FOLDER has no UTF-8 name; rename it"
    )


def test_a_file_too_large_for_an_example_is_refused_before_it_is_read(fill: Fill) -> None:
    folder = fill(**{"a/1.png": PNG, "b/1.png": PNG})
    os.truncate(f"{folder}/b/1.png", 3 << 30)
    assert problem_of(ImageFolder(path=folder), folder) == (
        "data.source.path: FOLDER/b/1.png has 3.0 GiB, and an example at most 1; remove or divide it"
    )


def test_a_file_that_vanishes_is_named(fill: Fill, tmp_path: Path) -> None:
    image = ImageFolder(path=fill(**{"a/1.png": PNG, "a/2.png": PNG})).load()["image"]
    (tmp_path / "a/2.png").unlink()
    assert image[:1].tolist() == [PNG]
    with pytest.raises(DataError) as caught:
        image[:]
    assert str(caught.value) == (
        f"data.source.path: {tmp_path}/a/2.png cannot be read: No such file or directory; it could be when the folder "
        "was listed"
    )


def test_a_table_beside_the_images_has_their_labels(fill: Fill) -> None:
    labels = b"file,kind,age,part\nx/2.png,cat,1.5,train\n./1.png,dog,,test\n"
    folder = fill(**{"1.png": PNG, "x/2.png": GIF, "3.png": PNG, "labels.csv": labels})
    fields = ImageFolder(path=folder, labels="labels.csv").load()
    image = fields["image"]
    assert isinstance(image, DiskArray)
    assert image[:].tolist() == [GIF, PNG]
    assert image.notes == (f"{folder}: 1 file is left out, not in labels.csv: 3.png",)
    assert fields["kind"][:].tolist() == [b"cat", b"dog"]
    np.testing.assert_array_equal(fields["age"][:], [1.5, np.nan])
    assert fields["part"][:].tolist() == [b"train", b"test"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (None, "no file FOLDER/labels.csv; give the path of an existing file with data.source.labels=PATH"),
        ("filename,y\n1.png,1\n", "no column 'file' in TABLE; did you mean 'filename'? columns: filename, y"),
        (
            "file,y\n../1.png,1\n/etc/passwd,2\n",
            "column 'file' of TABLE: 2 paths out of the folder: ../1.png, /etc/passwd;",
        ),
        ("file,y\na/../../1.png,1\n", "column 'file' of TABLE: 1 path out of the folder: a/../../1.png;"),
        ("file,y\n1.pn,1\n", "column 'file' of TABLE: 1 path not in the folder: 1.pn; did you mean '1.png'?"),
        ("file,y\n,1\n", "column 'file' of TABLE: 1 path not in the folder: an empty cell;"),
        ("file,y\n1.png,1\n./1.png,2\n", "column 'file' of TABLE: 1 path named more than once: 1.png;"),
        ("file,image\n1.png,1\n", "TABLE has a column 'image', which is the name of the images' field; rename it"),
        (
            "file,y\n1.png\n",
            "TABLE line 2 ('1.png'): 1 column, the header has 2 (file, y); it is the last row: fetch the file again if "
            "it is cut off, complete or remove the row",
        ),
    ],
)
def test_a_table_of_labels_that_is_wrong_is_explained(fill: Fill, table: str | None, problem: str) -> None:
    folder = fill(**{"1.png": PNG, **({} if table is None else {"labels.csv": table.encode()})})
    message = problem_of(ImageFolder(path=folder, labels="labels.csv"), folder)
    ways = " write the paths of images relative to the folder, each once" if problem[-1] in ";?" else ""
    assert message == f"data.source.labels: {problem.replace('TABLE', 'FOLDER/labels.csv')}{ways}"


def test_a_table_that_is_not_named_is_not_passed_over(fill: Fill) -> None:
    folder = fill(**{"1.png": PNG, "labels.csv": b"file,y\n1.png,1\n"})
    assert problem_of(ImageFolder(path=folder), folder) == (
        "data.source.labels: FOLDER holds images without folders of classes, and labels.csv; read labels from it with "
        "data.source.labels=labels.csv, or move it to another folder"
    )


def test_texts_are_utf8_whatever_their_encoding(fill: Fill) -> None:
    folder = fill(**{"pos/1.txt": "\ufeffgrün\n".encode(), "neg/1.TXT": b"", "neg/2.txt": "ü".encode()})
    assert listed(TextFolder(path=folder)) == {
        "text": [b"", "ü".encode(), "grün\n".encode()],
        "label": [b"neg", b"neg", b"pos"],
    }
    fill(**{"neg/2.txt": "ü".encode("latin-1")})
    source = TextFolder(path=folder)
    assert source.load()["text"][:1].tolist() == [b""]
    with pytest.raises(DataError) as caught:
        source.load()["text"][:]
    assert str(caught.value) == (
        f"data.source.path: {folder}/neg/2.txt is not text in utf-8: 'utf-8' codec can't decode byte 0xfc in position "
        "0: invalid start byte; give its encoding, such as data.source.encoding=latin-1 "
        "or cp1252"
    )
    fill(**{"neg/2.txt": "ü".encode("utf-16"), "pos/1.txt": "a".encode("utf-16"), "neg/1.TXT": "".encode("utf-16")})
    assert listed(TextFolder(path=folder, encoding="utf-16"))["text"] == [b"", "ü".encode(), b"a"]
    fill(**{"neg/2.txt": "你好".encode("utf-16"), "pos/1.txt": b"ab"})  # The first has no byte 0, the second no mark.
    texts = TextFolder(path=folder, encoding="utf-16").load()["text"]
    assert texts[1:2].tolist() == ["你好".encode()]
    with pytest.raises(
        DataError, match=r"pos/1\.txt has no byte 0, as text in utf-16 has; give its encoding, such as "
    ):
        texts[2:]
    fill(**{"pos/1.txt": "ab".encode("utf-16-le")})
    with pytest.raises(DataError, match="every other byte is 0, as in utf-16-le without its mark; give data"):
        TextFolder(path=folder).load()["text"][2:]
