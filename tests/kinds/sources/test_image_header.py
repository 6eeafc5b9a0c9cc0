"""Sizes that images declare, in all formats, and what is done about them before decoding."""

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
    assert image_header(content) == ImageHeader(7, 5)
    for end in range(len(content)):  # A file that ends anywhere is no mistake of this module.
        assert image_header(content[:end]).height in (0, 7)


def folder(tmp_path: Path, **contents: bytes) -> ImageFolder:
    for name, content in contents.items():
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / f"a/{name}").write_bytes(content)
    return ImageFolder(path=str(tmp_path))


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    png = bytearray(encoded("PNG"))
    png[16:24] = struct.pack(">II", 60_000, 50_000)
    with pytest.raises(DataError) as caught:
        folder(tmp_path, **{"1.png": bytes(png), "2.png": encoded("PNG")}).load()
    assert str(caught.value) == (
        f"data.source.path: {tmp_path}: 1 image of more than 134,217,728 pixels: a/1.png; the first declares 50,000 x "
        "60,000; make them smaller, or remove them"
    )


def test_a_jpeg_of_too_many_pixels_is_refused_behind_long_comments(tmp_path: Path) -> None:
    content = encoded("JPEG", comment=b"c" * 65_000)
    assert image_header(content[:4096]) == ImageHeader()
    frame = content.index(b"\xff\xc0")
    content = content[: frame + 5] + struct.pack(">HH", 60_000, 50_000) + content[frame + 9 :]
    with pytest.raises(DataError, match="the first declares 60,000 x 50,000"):
        folder(tmp_path, **{"1.jpg": content, "2.jpg": encoded("JPEG")}).load()


def test_a_file_that_ends_with_zero_bytes_comes_back_whole(tmp_path: Path) -> None:
    content = encoded("BMP")
    files = np.empty(1, object)
    files[0] = content + b"\0\0\0"
    with writing_arrays(tmp_path / "example.npz") as write:
        write({"image": files})
    with np.load(tmp_path / "example.npz", allow_pickle=False) as arrays:
        assert cast(arrays["image"], "string").tolist() == files.tolist()


def test_bmp_images_that_would_be_decoded_wrongly_are_refused(tmp_path: Path) -> None:
    def saved(mode: str) -> bytes:
        into = io.BytesIO()
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).convert(mode).save(into, "BMP")
        return into.getvalue()

    good = {f"good{mode}.bmp": saved(mode) for mode in ("L", "RGB")}
    compressed = bytearray(saved("L"))
    struct.pack_into("<I", compressed, 30, 1)
    with pytest.raises(DataError) as caught:
        folder(tmp_path, **good, **{"p.bmp": saved("P"), "1.bmp": saved("1"), "rle.bmp": bytes(compressed)}).load()
    assert str(caught.value) == (
        f"data.source.path: {tmp_path}: 3 BMP images with a palette of colors, with compression or of another number "
        "of bits than 8 (gray), 24 and 32: a/1.bmp, a/p.bmp, a/rle.bmp; convert them to PNG"
    )
