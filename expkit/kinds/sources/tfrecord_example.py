"""The wire format of ``tf.train.Example``, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["parse_example"]

BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def parse_example(record: bytes) -> dict[str, list[bytes] | np.ndarray]:
    """Return the features of a serialized ``tf.train.Example``: byte strings, or float32 or int64 values.

    Raises:
        ValueError: the bytes are not an example.
    """
    features: dict[str, list[bytes] | np.ndarray] = {}
    for block in _messages(record, 1):
        for entry in _messages(block, 1):
            name, feature = b"", b""
            for number, value in _fields(entry):
                if number == 1:
                    name = _content(value)
                elif number == 2:
                    feature = _content(value)
            features[name.decode("utf-8")] = _feature(feature)
    return features


def _feature(feature: bytes) -> list[bytes] | np.ndarray:
    """Return the values of the list that a feature holds; one that holds none has no values."""
    for number, content in _fields(feature):
        values = [value for field, value in _fields(_content(content)) if field == 1]
        if number == BYTES_LIST:
            return [_content(value) for value in values]
        packed = b"".join(value for value in values if isinstance(value, bytes))
        if number == FLOAT_LIST:
            if len(packed) % 4:
                raise ValueError("a list of floats ends within one")
            return np.frombuffer(packed, "<f4")  # values that are not packed have the same four bytes
        if number == INT64_LIST:
            single = [value for value in values if isinstance(value, int)]
            return np.array(single, np.uint64).view(np.int64) if single else _varints(packed)
    return []


def _messages(data: bytes, wanted: int) -> Iterator[bytes]:
    yield from (_content(value) for number, value in _fields(data) if number == wanted)


def _content(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the number and the content of every field of a message."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == LENGTH:
            length, at = _varint(data, at)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire}")
        if at + length > end:
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
        shift += 7
    raise ValueError("a number does not end")


def _varints(packed: bytes) -> np.ndarray:
    data = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if len(ends) == len(data):
        return data.astype(np.int64)
    if not len(ends) or ends[-1] != len(data) - 1:
        raise ValueError("a list of integers ends within one")
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    parts = (data & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.asarray(np.add.reduceat(parts, starts)).view(np.int64)
