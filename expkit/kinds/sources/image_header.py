"""The size and orientation that an encoded image declares, read from its first bytes without decoding it."""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["HEADER_BYTES", "ImageHeader", "image_header"]

HEADER_BYTES = 4096
"""First bytes of a file that hold its declarations, but for JPEG files with long comments before them."""
ORIENTATION = 0x0112
"""Tag of TIFF and EXIF."""
_NO_SIZE = {0xC4, 0xC8, 0xCC}
"""Markers of JPEG among 0xC0 to 0xCF that begin no frame."""


class ImageHeader(NamedTuple):
    """The declarations of an image; 0 where they are not among the bytes."""

    height: int = 0
    width: int = 0
    orientation: int = 1
    """Orientation of EXIF: 1 where the rows are stored as they are shown, 2 to 8 otherwise."""


def image_header(start: bytes) -> ImageHeader:
    """Return what the first bytes of a PNG, JPEG, GIF or BMP file declare; damaged ones declare nothing."""
    try:
        if start.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", start, 16)
            return ImageHeader(height, width)
        if start.startswith(b"GIF8"):
            width, height = struct.unpack_from("<HH", start, 6)
            return ImageHeader(height, width)
        if start.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", start, 18)
            return ImageHeader(abs(height), abs(width))
        if start.startswith(b"\xff\xd8"):
            return _jpeg(start)
    except struct.error:  # The file ends early.
        pass
    return ImageHeader()


def _jpeg(start: bytes) -> ImageHeader:
    """Return the declarations of the segments of a JPEG file up to its first frame."""
    place, orientation = 2, 1
    while place + 4 <= len(start) and start[place] == 0xFF:
        marker = start[place + 1]
        if marker == 0xFF:  # Markers may begin with more than one such byte.
            place += 1
            continue
        length = struct.unpack_from(">H", start, place + 2)[0]
        if marker == 0xE1 and start.startswith(b"Exif\0\0", place + 4):
            orientation = _orientation(start[place + 10 : place + 2 + length])
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            try:
                height, width = struct.unpack_from(">HH", start, place + 5)
            except struct.error:
                break
            return ImageHeader(height, width, orientation)
        place += 2 + length
    return ImageHeader(orientation=orientation)


def _orientation(tiff: bytes) -> int:
    """Return the orientation in the first directory of EXIF's TIFF structure; 1 if it has none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, first)
        for number in range(min(count, 512)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, first + 2 + 12 * number)
            if tag == ORIENTATION:
                return int(value) if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
