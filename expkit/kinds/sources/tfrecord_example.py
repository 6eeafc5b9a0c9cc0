"""Serialized ``tf.train.Example`` messages, parsed without TensorFlow."""

from __future__ import annotations

import numpy as np

from expkit.protobuf_wire import content, fields, messages, packed_varints

__all__ = ["parse_example"]

BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3


def parse_example(record: bytes) -> dict[str, list[bytes] | np.ndarray]:
    """Return the features of a serialized ``tf.train.Example``: byte strings, or float32 or int64 values.

    Raises:
        ValueError: the bytes are not an example.
    """
    features: dict[str, list[bytes] | np.ndarray] = {}
    for block in messages(record, 1):
        for entry in messages(block, 1):
            name, feature = b"", b""
            for number, value in fields(entry):
                if number == 1:
                    name = content(value)
                elif number == 2:
                    feature = content(value)
            features[name.decode("utf-8")] = _feature(feature)
    return features


def _feature(feature: bytes) -> list[bytes] | np.ndarray:
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
