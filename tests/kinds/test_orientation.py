"""Photographs in the orientation that their camera wrote, against Pillow; damaged orientations change nothing."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from expkit import tf1 as tf
from expkit.kinds.preprocess.images import DecodeImage

Decode = Callable[[bytes], np.ndarray]
TAG = 0x0112


def encoded(kind: str = "JPEG", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)).save(content, kind, **options)
    return content.getvalue()


JPEG = encoded()


@pytest.fixture(scope="module")
def decoders() -> Iterator[tuple[Decode, Decode]]:
    """Return the decoders of images as they were held, and as they are stored."""
    with tf.Graph().as_default() as graph:
        content = tf.placeholder(tf.string, ())
        both = [DecodeImage(orientation=name).apply(content[None], {})[0] for name in ("exif", "as_stored")]
    with tf.Session(graph=graph) as session:
        yield tuple(lambda file, image=image: session.run(image, {content: file}) for image in both)


def segment(content: bytes, marker: int = 0xE1) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(*segments: bytes) -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def tiff(orientation: int, order: str = ">", kind: int = 3, before: int = 0, first: int = 8) -> bytes:
    """Return EXIF's content with an orientation after so many other entries."""
    entries = [struct.pack(f"{order}HHII", 0x0100 + number, 4, 1, 7) for number in range(before)]
    entries.append(struct.pack(f"{order}HHIHH", TAG, kind, 1, orientation, 0))
    head = {">": b"MM", "<": b"II"}[order] + struct.pack(f"{order}HI", 42, first)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)


def test_files_without_exif_are_decoded_without_looking_for_it(decoders: tuple[Decode, Decode]) -> None:
    with_exif, far = with_segments(segment(tiff(6))), with_segments(segment(bytes(5000), 0xFE), segment(tiff(6)))
    step = DecodeImage()
    for files, looks in (([JPEG, encoded("PNG"), far], False), ([JPEG, with_exif], True)):
        assert step.reduced(np.array(files, object)) == (step if looks else DecodeImage(orientation="as_stored"))
    exif, stored = decoders
    np.testing.assert_array_equal(exif(far), stored(far))
    assert exif(with_exif).shape != stored(with_exif).shape


def turned(stored: np.ndarray, orientation: int) -> np.ndarray:
    image = Image.fromarray(stored)
    image.getexif()[TAG] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_eight_orientations_are_pillows(decoders: tuple[Decode, Decode], orientation: int, order: str) -> None:
    upright, as_stored = decoders
    written = Image.Exif()
    written[TAG], written[0x010E] = orientation, "a description"
    xmp, comment = segment(b"http://ns.adobe.com/xap/1.0/\0<x/>"), segment(b"a comment", 0xFE)
    for content in (
        encoded(exif=written),
        with_segments(segment(tiff(orientation, order, before=3))),
        with_segments(comment, segment(bytes(3000), 0xE2), xmp, b"\xff\xff" + segment(tiff(orientation, order))),
    ):
        stored = as_stored(content)
        assert stored.shape == (6, 9, 3)
        np.testing.assert_array_equal(upright(content), turned(stored, orientation))


DAMAGED = {
    "offset behind the end": tiff(6, first=4000),
    "offset of 32 ones": tiff(6, first=2**32 - 1),
    "offset into the head": tiff(6, first=0),
    "no byte order": b"Exif\0\0XX" + tiff(6)[8:],
    "empty": b"Exif\0\0",
    "no entries": tiff(6)[:14] + b"\0\0" + tiff(6)[16:],
    "only a byte order": b"Exif\0\0MM",
    "cut within the entry": tiff(6)[:-12],
    "cut before the entry": tiff(6)[:16],
    "value 0": tiff(0),
    "value 9": tiff(9),
    "another type": tiff(6, kind=4),
    "count beyond the entries": tiff(1)[:14] + b"\xff\xff" + tiff(1)[16:],
    "not EXIF": b"Exif\0" + tiff(6)[6:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_orientation_is_none(decoders: tuple[Decode, Decode], name: str) -> None:
    upright, as_stored = decoders
    content = with_segments(segment(DAMAGED[name]))
    np.testing.assert_array_equal(upright(content), as_stored(content))


def test_exif_behind_4_kib_and_other_formats_are_as_stored(decoders: tuple[Decode, Decode]) -> None:
    upright, as_stored = decoders
    right = segment(tiff(6))
    many = with_segments(*[segment(b"", 0xFE)] * 100, right)
    np.testing.assert_array_equal(upright(many), turned(as_stored(many), 6))
    late = with_segments(segment(bytes(5000), 0xE2), right)
    np.testing.assert_array_equal(upright(late), as_stored(late))  # The standard wants EXIF first.
    exif = Image.Exif()
    exif[TAG] = 6
    for content in (encoded("PNG", exif=exif), encoded("BMP"), encoded("GIF")):
        np.testing.assert_array_equal(upright(content), as_stored(content))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(0, len(tiff(6, before=2)) - 1), st.binary(min_size=1, max_size=8))
def test_no_bytes_of_exif_stop_the_graph(decoders: tuple[Decode, Decode], place: int, damage: bytes) -> None:
    upright, as_stored = decoders
    whole = tiff(6, before=2)
    content = with_segments(segment(whole[:place] + damage + whole[place + len(damage) :]))
    stored, got = as_stored(content), upright(content)
    assert any(got.shape == (image := turned(stored, way)).shape and (got == image).all() for way in range(1, 9))
