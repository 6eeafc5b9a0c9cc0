"""The index of a checkpoint in TensorFlow's V2 format: names, shapes and dtypes, read without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cramjam

from expkit.protobuf_wire import fields, varint
from expkit.tensor_spec import TensorSpec

__all__ = ["read_index"]

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TRAILER = 5
"""Bytes after a block: its compression, and a checksum of both."""
_PLAIN, _SNAPPY = 0, 1
_MOST_EXPANDED = 64
"""Snappy expands a byte to less than this many: three bytes are a copy of 64 at most."""
_MOST_SHARDS = 99_999
_SLICE = b"\0"
"""Prefix of the keys of slices of a partitioned variable, which has an entry of its own too."""
_DTYPES = (
    *("unknown", "float32", "float64", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool"),
    *("qint8", "quint8", "qint32", "bfloat16", "qint16", "quint16", "uint16", "complex128", "float16", "resource"),
    *("variant", "uint32", "uint64", "float8_e5m2", "float8_e4m3fn"),
)
"""By number, as in tensorflow/core/framework/types.proto."""


@dataclass
class _Message:
    """The fields of a protocol buffer, by number: the last integer, all byte strings."""

    numbers: dict[int, int] = field(default_factory=dict)
    bytes: dict[int, list[bytes]] = field(default_factory=dict)


def read_index(prefix: Path) -> dict[str, TensorSpec]:
    """Return the variables in a checkpoint's ``.index`` file, by name, and check the sizes of its data files.

    The file is a sorted table of blocks as LevelDB's, each with a checksum, and compressed by Snappy where that makes
    it smaller; entries are ``BundleEntryProto`` (tensorflow/core/protobuf/tensor_bundle.proto).

    Raises:
        ValueError: the index is damaged, or a data file is missing or cut off.
        OSError: the index cannot be read.
    """
    content = prefix.with_name(f"{prefix.name}.index").read_bytes()
    if len(content) < _FOOTER or content[-8:] != _MAGIC:
        raise ValueError("its .index file is cut off")
    try:
        variables, ends = _read(content)
    except ValueError as error:
        raise ValueError(f"its .index file is damaged: {error}") from None
    for shard, end in enumerate(ends):
        data = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{len(ends):05d}")
        if not data.is_file() or data.stat().st_size < end:
            raise ValueError(f"{data.name} is {'cut off' if data.is_file() else 'missing'}")
    return variables


def _read(content: bytes) -> tuple[dict[str, TensorSpec], list[int]]:
    """Return the variables of an index by name, and the minimum size of each data file."""
    footer = content[-_FOOTER:]
    _, position = _handle(footer, 0)
    table, _ = _handle(footer, position)
    pairs = [pair for _, value in _pairs(content, table) for pair in _pairs(content, _handle(value, 0)[0])]
    if not pairs or pairs[0][0] != b"":
        raise ValueError("it has no header")
    variables = {}
    shards = _message(pairs[0][1]).numbers.get(1, 0)
    if shards > _MOST_SHARDS:
        raise ValueError(f"it declares {shards:,} data files; names count {_MOST_SHARDS:,} at most")
    ends = [0] * shards
    for key, value in pairs[1:]:
        entry = _message(value)
        numbers = entry.numbers
        if 7 not in entry.bytes:  # A partitioned variable's values are those of its slices.
            shard = numbers.get(3, 0)
            if shard >= len(ends):
                raise ValueError(f"it has no data file {shard}")
            ends[shard] = max(ends[shard], numbers.get(4, 0) + numbers.get(5, 0))
        if not key.startswith(_SLICE):
            variables[key.decode()] = TensorSpec.of_variable(_shape(entry), _dtype(numbers.get(1, 0)))
    return variables, ends


def _pairs(content: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block, whose keys are stored without their common prefix with the key before."""
    block = _block(content, handle)
    if len(block) < 4:
        raise ValueError("a block is too short")
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    position, last, key = 0, len(block) - 4 * (restarts + 1), b""
    while position < last:
        shared, position = varint(block, position)
        own, position = varint(block, position)
        length, position = varint(block, position)
        if shared > len(key) or position + own + length > last:
            raise ValueError("an entry is longer than its block")
        key = key[:shared] + block[position : position + own]
        position += own
        yield key, block[position : position + length]
        position += length
    if position != last:
        raise ValueError("a block lists more restarts than it has bytes")


def _block(content: bytes, handle: tuple[int, int]) -> bytes:
    """Return the bytes of a block, after comparing its checksum."""
    start, size = handle
    end = start + size
    if end + _TRAILER > len(content):
        raise ValueError("a block lies outside of it")
    (checksum,) = struct.unpack_from("<I", content, end + 1)
    if _checksum(content[start : end + 1]) != checksum:
        raise ValueError("a checksum is wrong")
    block, compression = content[start:end], content[end]
    if compression == _PLAIN:
        return block
    if compression != _SNAPPY:
        raise ValueError(f"a block is compressed by method {compression}, which is unknown; known: {_SNAPPY} (Snappy)")
    if varint(block, 0)[0] > _MOST_EXPANDED * size:
        raise ValueError("a compressed block declares more bytes than it can hold")
    try:
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise ValueError(f"a compressed block cannot be read: {error}") from None


def _handle(content: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Return the offset and the size of a block, with the position after them."""
    offset, position = varint(content, position)
    size, position = varint(content, position)
    return (offset, size), position


def _message(content: bytes) -> _Message:
    message = _Message()
    for number, value in fields(content):
        if isinstance(value, int):
            message.numbers[number] = value
        else:
            message.bytes.setdefault(number, []).append(value)
    return message


def _shape(entry: _Message) -> tuple[int, ...]:
    shapes = entry.bytes.get(2, [b""])
    return tuple(_message(dimension).numbers.get(1, 0) for dimension in _message(shapes[0]).bytes.get(2, []))


def _dtype(number: int) -> str:
    return _DTYPES[number] if number < len(_DTYPES) else "unknown"


def _checksum(content: bytes) -> int:
    """Return the masked CRC-32C of bytes, as TensorFlow's tables store it."""
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
