"""The wire format of protocol buffers, read without their message classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["content", "fields", "messages", "packed_varints", "varint"]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the number and the value of every field of a message: a varint as an integer, all else as bytes.

    Raises:
        ValueError: the bytes are not a message.
    """
    position, end = 0, len(data)
    while position < end:
        key, position = varint(data, position)
        wire = key & 7
        if wire == VARINT:
            value, position = varint(data, position)
            yield key >> 3, value
            continue
        if wire == LENGTH:
            length, position = varint(data, position)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire}")
        if position + length > end:
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[position : position + length]
        position += length


def messages(data: bytes, number: int) -> Iterator[bytes]:
    """Yield the messages in the fields of one number."""
    yield from (content(value) for field, value in fields(data) if field == number)


def content(value: bytes | int) -> bytes:
    """Return a value that must be bytes: a string or a message; ValueError where it is a number."""
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def varint(data: bytes, position: int) -> tuple[int, int]:
    """Return an unsigned integer of seven bits a byte, with the position after it; ValueError where it does not end."""
    if position < len(data) and data[position] < 0x80:  # Most are a single byte.
        return data[position], position + 1
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
        shift += 7
    raise ValueError("a number does not end")


def packed_varints(packed: bytes) -> np.ndarray:
    """Return the int64 values of a packed list; ValueError where it ends within one."""
    data = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if len(ends) == len(data):
        return data.astype(np.int64)
    if not len(ends) or ends[-1] != len(data) - 1:
        raise ValueError("a list of integers ends within one")
    starts = np.concatenate([[0], ends[:-1] + 1])
    positions = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    bits = (data & 0x7F).astype(np.uint64) << (7 * positions).astype(np.uint64)
    return np.asarray(np.add.reduceat(bits, starts)).view(np.int64)
