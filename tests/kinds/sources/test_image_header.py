"""What images declare: sizes of all formats, orientations, and what is done about them before decoding."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from expkit.errors import DataError
from expkit.export.feeding import cast
from expkit.export.output_file import writing_arrays
from expkit.kinds.sources.image_folder import ImageFolder
from expkit.kinds.sources.image_header import ImageHeader, image_header


def encoded(kind: str, size: tuple[int, int] = (7, 5), **options: Any) -> bytes:
    into = io.BytesIO()
    Image.fromarray(np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(*size, 3)).save(into, kind, **options)
    return into.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_sizes_are_those_of_the_decoded_image(kind: str) -> None:
    content = encoded(kind)
    assert image_header(content) == ImageHeader(7, 5, 1)
    for end in range(len(content)):  # A file that ends anywhere is no mistake of this module.
        assert image_header(content[:end]).height in (0, 7)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_that_are_written(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description"
    assert image_header(encoded("JPEG", exif=exif)) == ImageHeader(7, 5, orientation)
    big = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0)
    jpeg = encoded("JPEG")
    segment = b"Exif\0\0" + big
    assert image_header(
        jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    ).orientation == (orientation)


def folder(tmp_path: Path, **contents: bytes) -> ImageFolder:
    for name, content in contents.items():
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / f"a/{name}").write_bytes(content)
    return ImageFolder(path=str(tmp_path))


def test_images_that_are_stored_turned_are_counted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = folder(tmp_path, one=b"", **{"1.jpg": encoded("JPEG", exif=exif), "2.jpg": encoded("JPEG")})
    (tmp_path / "a/one").unlink()
    assert source.load()["image"].notes == (  # type: ignore[union-attr]
        f"{tmp_path}: 1 image of 2 is stored turned or mirrored (an EXIF orientation other than 1) and read as stored, "
        "in training and in the frozen graph: a/1.jpg; turn the pixels, as `magick mogrify -auto-orient` does",
    )


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    png = bytearray(encoded("PNG"))
    png[16:24] = struct.pack(">II", 60_000, 50_000)
    with pytest.raises(DataError) as caught:
        folder(tmp_path, **{"1.png": bytes(png), "2.png": encoded("PNG")}).load()
    assert str(caught.value) == (
        f"data.source.path: {tmp_path}: 1 image of more than 134,217,728 pixels: a/1.png; the first declares 50,000 x "
        "60,000; make them smaller, or remove them"
    )


def test_a_file_that_ends_with_zero_bytes_comes_back_whole(tmp_path: Path) -> None:
    content = encoded("BMP")
    files = np.empty(1, object)
    files[0] = content + b"\0\0\0"
    with writing_arrays(tmp_path / "example.npz") as write:
        write({"image": files})
    with np.load(tmp_path / "example.npz", allow_pickle=False) as arrays:
        assert cast(arrays["image"], "string").tolist() == files.tolist()
