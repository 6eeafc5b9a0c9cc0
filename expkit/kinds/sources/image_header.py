"""The size that an encoded image declares, read from its first bytes without decoding it."""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

__all__ = ["HEADER_BYTES", "ImageHeader", "bmp_is_decoded", "image_header", "is_damaged"]

HEADER_BYTES = 4096
"""First bytes of a file that hold its declarations, but for JPEG files with more than that before them."""
_NO_SIZE = {0xC4, 0xC8, 0xCC}
"""Markers of JPEG among 0xC0 to 0xCF that begin no frame."""
BITFIELDS = 3
"""Compression of BMP that is none, but says where the colors are."""
MOST_SEGMENTS = 10_000
"""Segments of a JPEG file before its first frame; cameras write fewer than a hundred."""


class ImageHeader(NamedTuple):
    """The declarations of an image; 0 where they are not among the bytes."""

    height: int = 0
    width: int = 0


def image_header(start: bytes | mmap.mmap) -> ImageHeader:
    """Return the declarations in the first bytes of a PNG, JPEG, GIF or BMP file; damaged ones declare nothing."""
    try:
        if start[:4] == b"\x89PNG":
            width, height = struct.unpack_from(">II", start, 16)
            return ImageHeader(height, width)
        if start[:4] == b"GIF8":
            width, height = struct.unpack_from("<HH", start, 6)
            return ImageHeader(height, width)
        if start[:2] == b"BM":
            width, height = struct.unpack_from("<ii", start, 18)
            return ImageHeader(abs(height), abs(width))
        if start[:2] == b"\xff\xd8":
            return _jpeg(start)
    except struct.error:  # The file ends early.
        pass
    return ImageHeader()


def is_damaged(start: bytes) -> bool:
    """Return True if the first ``HEADER_BYTES`` of a file, or all that it has, declare no size."""
    return not image_header(start).height and (len(start) < HEADER_BYTES or start[:2] != b"\xff\xd8")


def bmp_is_decoded(start: bytes) -> bool:
    """Return False for a BMP file that TensorFlow decodes wrongly or not at all; True for other files.

    It reads 8 bits as gray, whatever the palette, and 24 and 32 bits, as if nothing were compressed.
    """
    if start[:2] != b"BM" or len(start) < 34:
        return True
    header_size, (bits, compression) = struct.unpack_from("<I", start, 14)[0], struct.unpack_from("<HI", start, 28)
    if bits in (24, 32):
        return compression == 0 or (bits, compression) == (32, BITFIELDS)
    palette = start[14 + header_size : min(struct.unpack_from("<I", start, 10)[0], 14 + header_size + 1024)]
    gray = all(palette[4 * level : 4 * level + 3] == bytes([level]) * 3 for level in range(len(palette) // 4))
    return bits == 8 and compression == 0 and gray


def _jpeg(start: bytes | mmap.mmap) -> ImageHeader:
    """Return the size that the first frame of a JPEG file declares."""
    place = 2
    for _ in range(MOST_SEGMENTS):
        if place + 4 > len(start) or start[place] != 0xFF:
            break
        marker = start[place + 1]
        if marker == 0xFF:  # Markers may begin with more than one such byte.
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            return ImageHeader(*struct.unpack_from(">HH", start, place + 5))
        place += 2 + struct.unpack_from(">H", start, place + 2)[0]
    return ImageHeader()
