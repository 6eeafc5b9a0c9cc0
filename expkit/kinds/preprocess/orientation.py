"""The orientation that cameras write into JPEG files (EXIF), read and applied by operations of the graph."""

from __future__ import annotations

from typing import Any

from expkit import tf1 as tf

__all__ = ["may_be_turned", "upright"]

SOUGHT_BYTES = 1 << 12
"""Bytes at the beginning of a file in which EXIF begins; to look at them takes a fraction of decoding an image."""
EXIF = b"Exif\0\0"
BEFORE_EXIF = r"(\C*?Exif\x00\x00)\C*"
"""Regular expression of bytes with the beginning of EXIF's content; its group ends with that."""
HEAD_BYTES = 10
"""Bytes of an EXIF segment before its TIFF structure: marker, length, and the beginning of its content."""
MARKER = 0xFFE1
ORIENTATION = 0x0112
"""Tag of TIFF and EXIF."""
SHORT = 3
"""Type of TIFF: 16 bits without a sign."""
ENTRY_BYTES = 12


def may_be_turned(content: bytes) -> bool:
    """Return False for a file that ``upright`` leaves as it is stored, found without a graph."""
    return content.find(EXIF, 0, SOUGHT_BYTES) >= 0


def upright(image: Any, content: Any) -> Any:
    """Return an image as its camera was held; as it is stored where no orientation can be read.

    Args:
        image: [height, width, channels].
        content: the encoded file, a string.
    """

    def by_exif() -> Any:
        orientation = _orientation(content, start)
        return tf.cond(orientation > 1, lambda: _turned(image, orientation), lambda: image)

    start = tf.strings.substr(content, 0, SOUGHT_BYTES)
    return tf.cond(tf.strings.regex_full_match(start, BEFORE_EXIF), by_exif, lambda: image)


def _turned(image: Any, orientation: Any) -> Any:
    """Return an image whose rows and columns are exchanged, and then reversed, as the orientation says."""
    exchanged = tf.raw_ops.Transpose(x=image, perm=tf.where_v2(orientation >= 5, [1, 0, 2], [0, 1, 2]))
    rows = tf.reduce_any(tf.equal(orientation, [3, 4, 7, 8]))
    columns = tf.reduce_any(tf.equal(orientation, [2, 3, 6, 7]))
    turned = tf.raw_ops.Reverse(tensor=exchanged, dims=tf.stack([rows, columns, False]))
    turned.set_shape((None, None, image.shape[2]))
    return turned


def _orientation(content: Any, start: Any) -> Any:
    """Return the orientation of a file that has EXIF, from 1 to 8; 1 if it is not a JPEG file, or damaged."""
    place = tf.strings.length(tf.strings.regex_replace(start, BEFORE_EXIF, r"\1"))
    head = tf.strings.substr(content, tf.maximum(place - HEAD_BYTES, 0), 4)
    marker, length = tf.unstack(tf.cast(tf.io.decode_raw(head, tf.uint16, little_endian=False), tf.int32), 2)
    tiff = tf.strings.substr(content, place, tf.maximum(length - (HEAD_BYTES - 2), 0))
    is_jpeg = tf.equal(tf.strings.substr(content, 0, 2), b"\xff\xd8")
    return tf.where_v2(is_jpeg & tf.equal(marker, MARKER), _in_tiff(tiff), 1)


def _in_tiff(tiff: Any) -> Any:
    """Return the orientation in the first directory of EXIF's TIFF structure."""
    size = tf.maximum(tf.strings.length(tiff), 10)
    bytes_ = tf.cast(tf.io.decode_raw(tf.strings.join([tiff, bytes(12)]), tf.uint8), tf.int32)
    order = tf.strings.substr(tiff, 0, 2)
    little = tf.equal(order, b"II")
    weights = tf.where_v2(little, [1, 256], [256, 1])
    numbers = bytes_[:-1] * weights[0] + bytes_[1:] * weights[1]  # Those of two bytes, at all places.
    low, high = tf.unstack(tf.where_v2(little, numbers[4:8:2], numbers[6:2:-2]), 2)
    first = tf.where_v2(tf.equal(high, 0), tf.minimum(low, size), size)
    parts = [numbers[first + 2 + at : size - 9 + at : ENTRY_BYTES] for at in (0, 2, 8)]  # Of entries that are whole.
    entries = tf.concat([tf.stack(parts, 1)[: numbers[first]], [[ORIENTATION, SHORT, 1]]], 0)
    _, kind, value = tf.unstack(entries[tf.argmax(tf.cast(tf.equal(entries[:, 0], ORIENTATION), tf.int32))], 3)
    valid = tf.equal(kind, SHORT) & (value >= 1) & (value <= 8) & (little | tf.equal(order, b"MM"))
    return tf.where_v2(valid, value, 1)
