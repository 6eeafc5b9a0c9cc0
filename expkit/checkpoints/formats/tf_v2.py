"""The index of a checkpoint of TensorFlow's second format: names, shapes and types, read without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

__all__ = ["Entry", "read_index"]

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TRAILER = 5
_SLICE = b"\0"
"""How the keys of parts of partitioned variables begin; the whole has an entry of its own."""
_DTYPES = (
    *("unknown", "float32", "float64", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool"),
    *("qint8", "quint8", "qint32", "bfloat16", "qint16", "quint16", "uint16", "complex128", "float16", "resource"),
    *("variant", "uint32", "uint64", "float8_e5m2", "float8_e4m3fn"),
)
"""By number, as in tensorflow/core/framework/types.proto."""


@dataclass(frozen=True)
class Entry:
    """What the index tells of a variable."""

    shape: tuple[int, ...]
    dtype: str


@dataclass
class _Message:
    """The fields of a protocol buffer, by number."""

    numbers: dict[int, int] = field(default_factory=dict)
    parts: dict[int, list[bytes]] = field(default_factory=dict)


def read_index(prefix: Path) -> dict[str, Entry]:
    """Return the entries of a checkpoint's ``.index`` file, by name, once its data files are seen to be whole.

    The file is a sorted table of blocks as LevelDB's, each with a checksum; entries are ``BundleEntryProto``
    (tensorflow/core/protobuf/tensor_bundle.proto).

    Raises:
        ValueError: the index is damaged, or a data file is missing or cut off.
        OSError: the index cannot be read.
    """
    content = prefix.with_name(f"{prefix.name}.index").read_bytes()
    if len(content) < _FOOTER or content[-8:] != _MAGIC:
        raise ValueError("its .index file is cut off")
    footer = content[-_FOOTER:]
    _, place = _handle(footer, 0)
    table, _ = _handle(footer, place)
    pairs = [pair for _, value in _pairs(content, table) for pair in _pairs(content, _handle(value, 0)[0])]
    if not pairs or pairs[0][0] != b"":
        raise ValueError("its .index file has no header")
    shards = _message(pairs[0][1]).numbers.get(1, 0)
    entries, ends = {}, dict.fromkeys(range(shards), 0)
    for key, value in pairs[1:]:
        told = _message(value)
        numbers = told.numbers
        if 7 not in told.parts:  # A partitioned variable's values are those of its parts.
            shard = numbers.get(3, 0)
            ends[shard] = max(ends.get(shard, 0), numbers.get(4, 0) + numbers.get(5, 0))
        if not key.startswith(_SLICE):
            entries[key.decode()] = Entry(_shape(told), _dtype(numbers.get(1, 0)))
    for shard, end in ends.items():
        data = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
        if not data.is_file() or data.stat().st_size < end:
            raise ValueError(f"{data.name} is {'cut off' if data.is_file() else 'missing'}")
    return entries


def _pairs(content: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block, whose keys are written without what they share with the one before."""
    start, size = handle
    end = start + size
    if size < 4 or end + _TRAILER > len(content):
        raise ValueError("its .index file is damaged: a block lies outside of it")
    (wanted,) = struct.unpack_from("<I", content, end + 1)
    if content[end] != 0 or _checksum(content[start : end + 1]) != wanted:
        raise ValueError("its .index file is damaged: a checksum is wrong")
    (restarts,) = struct.unpack_from("<I", content, end - 4)
    place, last, key = start, end - 4 * (restarts + 1), b""
    while place < last:
        shared, place = _number(content, place)
        own, place = _number(content, place)
        length, place = _number(content, place)
        key = key[:shared] + content[place : place + own]
        place += own
        yield key, content[place : place + length]
        place += length


def _handle(content: bytes, place: int) -> tuple[tuple[int, int], int]:
    """Return where a block lies and how long it is, and the place behind."""
    offset, place = _number(content, place)
    size, place = _number(content, place)
    return (offset, size), place


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Return a number of as many bytes as it needs, seven bits in each, and the place behind."""
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _message(content: bytes) -> _Message:
    made, place = _Message(), 0
    while place < len(content):
        tag, place = _number(content, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            made.numbers[number], place = _number(content, place)
        elif kind == 2:
            length, place = _number(content, place)
            made.parts.setdefault(number, []).append(content[place : place + length])
            place += length
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError("its .index file is damaged: an entry is none")
    return made


def _shape(entry: _Message) -> tuple[int, ...]:
    shapes = entry.parts.get(2, [b""])
    return tuple(_message(dimension).numbers.get(1, 0) for dimension in _message(shapes[0]).parts.get(2, []))


def _dtype(number: int) -> str:
    return _DTYPES[number] if number < len(_DTYPES) else "unknown"


def _checksum(content: bytes) -> int:
    """Return the masked CRC-32C of bytes, as TensorFlow's tables keep it."""
    table, value = _crc_table(), 0xFFFFFFFF
    for byte in content:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)
