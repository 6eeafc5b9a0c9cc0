"""Serialized ``tf.train.Example`` and ``tf.train.SequenceExample`` messages, parsed without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from expkit.protobuf_wire import content, fields, messages, packed_varints

__all__ = ["Features", "Values", "parse_example"]

BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3

Values = list[bytes] | np.ndarray
Features = dict[str, Values | tuple[Values, ...]]
"""Features by name: byte strings, or float32 or int64 values; those of feature lists as a tuple, one of each step."""


def parse_example(record: bytes) -> Features:
    """Return the features of a serialized example, or the context and the feature lists of a sequence example.

    Raises:
        ValueError: the bytes are not an example, or a name is in the context and in the lists.
    """
    features: Features = {}
    for block in messages(record, 1):
        features.update((name, _feature(value)) for name, value in _entries(block))
    for block in messages(record, 2):
        for name, value in _entries(block):
            if isinstance(features.get(name, ()), tuple):
                features[name] = tuple(_feature(step) for step in messages(value, 1))
            else:
                raise ValueError(f"'{name}' is in its context and in its feature lists")
    return features


def _entries(block: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and values of a map."""
    for entry in messages(block, 1):
        name, item = b"", b""
        for number, value in fields(entry):
            if number == 1:
                name = content(value)
            elif number == 2:
                item = content(value)
        yield name.decode("utf-8"), item


def _feature(feature: bytes) -> Values:
    """Return the values of a feature's list; a feature without a list has no values."""
    for number, items in fields(feature):
        values = [value for field, value in fields(content(items)) if field == 1]
        if number == BYTES_LIST:
            return [content(value) for value in values]
        packed = b"".join(value for value in values if isinstance(value, bytes))
        if number == FLOAT_LIST:
            if len(packed) % 4:
                raise ValueError("a list of floats ends within one")
            return np.frombuffer(packed, "<f4")  # Values that are not packed have the same four bytes.
        if number == INT64_LIST:
            single = [value for value in values if isinstance(value, int)]
            return np.array(single, np.uint64).view(np.int64) if single else packed_varints(packed)
    return []
