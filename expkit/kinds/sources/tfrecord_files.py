"""The bytes of TFRecord files, mapped or decompressed, and the offsets of their records."""

from __future__ import annotations

import gzip
import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import numpy as np

from expkit.errors import DataError, reading
from expkit.kinds.sources.mapped import advise
from expkit.kinds.sources.spool import temporary_file, write_temporary

__all__ = ["AT", "CHECKSUM", "checksum", "mapped", "record_offsets"]

AT = "data.source.files"
LENGTH, CHECKSUM = 8, 4
HEADER = LENGTH + CHECKSUM
"""Bytes before a record: its length and the checksum of the length. Behind it is the checksum of its bytes."""
SCANNED_BYTES = 1 << 28
"""Bytes that are indexed before mapped pages are released."""
BLOCK_BYTES = 1 << 24
"""Bytes that are decompressed at once."""


def mapped(file: Path) -> mmap.mmap | None:
    """Return the bytes of a file, ``None`` if it is empty; a compressed one (GZIP, ZLIB) is unpacked temporarily.

    Raises:
        DataError: the file cannot be read, or is compressed and damaged.
    """
    try:
        if not file.stat().st_size:
            return None
        with file.open("rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise DataError.at(AT, f"{file} cannot be read: {error}") from None
    start = content[:HEADER]
    if len(start) == HEADER and checksum(start[:LENGTH]) == start[LENGTH:]:
        return content  # Its first length may begin as compressed files do.
    zipped = start[:2] == b"\x1f\x8b"
    if not zipped and not (start[:1] == b"\x78" and int.from_bytes(start[:2]) % 31 == 0):
        return content
    with (
        reading(AT, f"{file} is compressed and damaged", raises=DataError, fix="fetch it again"),
        temporary_file() as unpacked,
    ):
        for block in _gzip_blocks(file) if zipped else _zlib_blocks(file):
            write_temporary(unpacked, block, AT, f"{file}, which is compressed,")
        unpacked.flush()
        return mmap.mmap(unpacked.fileno(), 0, access=mmap.ACCESS_READ) if unpacked.tell() else None


def _gzip_blocks(file: Path) -> Iterator[bytes]:
    with gzip.open(file) as opened:
        while block := opened.read(BLOCK_BYTES):
            yield block


def _zlib_blocks(file: Path) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    with file.open("rb") as opened:
        while not unpacker.eof and (packed := unpacker.unconsumed_tail or opened.read(BLOCK_BYTES)):
            yield unpacker.decompress(packed, BLOCK_BYTES)
        if not unpacker.eof or unpacker.unused_data or opened.read(1):
            raise ValueError("it ends early, or something follows its end")


def record_offsets(file: Path, content: mmap.mmap) -> tuple[np.ndarray, np.ndarray]:
    """Return the offset and the length of every record, in one pass.

    Raises:
        DataError: the file is truncated or damaged, or is not a TFRecord file.
    """
    offsets: list[int] = []
    lengths: list[int] = []
    at, released, end = 0, 0, len(content)
    while at + HEADER <= end:
        length, written = content[at : at + LENGTH], content[at + LENGTH : at + HEADER]
        if checksum(length) != written:
            problem = "is damaged" if offsets else "is not a TFRecord file"
            raise DataError.at(
                AT, f"{file} {problem}: the checksum of the length at byte {at} (record {len(offsets)}) is wrong"
            )
        offsets.append(at + HEADER)
        lengths.append(int.from_bytes(length, "little"))
        at += HEADER + lengths[-1] + CHECKSUM
        if at - released > SCANNED_BYTES:
            advise(content, mmap.MADV_DONTNEED, released, min(at, end))
            released = at
    advise(content, mmap.MADV_DONTNEED, 0, end)
    if at != end:
        complete = len(lengths) - (at > end)
        raise DataError.at(
            AT,
            f"{file} is truncated: {end} bytes end within record {complete}, after {complete} complete ones; "
            "fetch it again",
        )
    return np.array(offsets, np.int64), np.array(lengths, np.int64)


def checksum(content: bytes) -> bytes:
    """Return the CRC-32C of bytes as TFRecord files store it: rotated, and with a number added."""
    crc = int(google_crc32c.value(content))
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")
