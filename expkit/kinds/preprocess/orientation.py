"""The orientation that cameras write into JPEG files (EXIF), read and applied by operations of the graph."""

from __future__ import annotations

from typing import Any

from expkit import tf1 as tf

__all__ = ["upright"]

HEAD_BYTES = 1 << 16
"""Bytes at the beginning of a file that are read for the orientation."""
SOUGHT_BYTES = 1 << 12
"""Bytes at the beginning of a file in which EXIF begins; to look at them takes a fraction of decoding an image."""
MOST_SEGMENTS = 32
"""Segments before that of EXIF, which by its standard is the first."""
MOST_ENTRIES = 512
"""Entries of a directory of EXIF among which the orientation is sought."""
ORIENTATION = 0x0112
"""Tag of TIFF and EXIF."""
SHORT = 3
"""Type of TIFF: 16 bits without a sign."""
ENTRY_BYTES = 12
HAS_EXIF = r"\C*Exif\x00\x00\C*"
"""Regular expression of bytes among which EXIF may begin."""
EXIF = 0xFF, 0xE1, *b"Exif\0\0"
"""A marker and, after the length of its segment, the beginning of its content."""
_MARKS = [0, 1, 4, 5, 6, 7, 8, 9]
"""Positions of ``EXIF`` from the marker on."""


def upright(image: Any, content: Any) -> Any:
    """Return an image as its camera was held; as it is stored where no orientation can be read.

    Args:
        image: [height, width, channels].
        content: the encoded file, a string.
    """

    def by_exif() -> Any:
        orientation = _orientation(content)
        return tf.cond(orientation > 1, lambda: _turned(image, orientation), lambda: image)

    start = tf.strings.substr(content, 0, SOUGHT_BYTES)
    return tf.cond(tf.strings.regex_full_match(start, HAS_EXIF), by_exif, lambda: image)


def _turned(image: Any, orientation: Any) -> Any:
    """Return an image whose rows and columns are exchanged, and then reversed, as the orientation says."""
    exchanged = tf.raw_ops.Transpose(x=image, perm=tf.where_v2(orientation >= 5, [1, 0, 2], [0, 1, 2]))
    rows = tf.reduce_any(tf.equal(orientation, [3, 4, 7, 8]))
    columns = tf.reduce_any(tf.equal(orientation, [2, 3, 6, 7]))
    turned = tf.raw_ops.Reverse(tensor=exchanged, dims=tf.stack([rows, columns, False]))
    turned.set_shape((None, None, image.shape[2]))
    return turned


def _orientation(content: Any) -> Any:
    """Return the orientation of a JPEG file, from 1 to 8; 1 if it has none or a damaged one."""
    head = tf.strings.substr(content, 0, HEAD_BYTES)
    is_jpeg = tf.equal(tf.strings.substr(head, 0, 2), b"\xff\xd8")
    bytes_ = tf.io.decode_raw(tf.strings.join([head, "\0" * (max(_MARKS) + 1)]), tf.uint8)  # A window fits anywhere.
    size = tf.size(bytes_)

    def window(place: Any) -> Any:
        place = tf.minimum(place, size - max(_MARKS) - 1)
        return tf.cast(bytes_[place : place + max(_MARKS) + 1], tf.int32)

    def is_passed(place: Any, marks: Any) -> Any:
        # Segments of applications and comments; a marker may begin with more than one byte 0xFF.
        passed = (marks[1] >= 0xE0) & (marks[1] <= 0xEF) | tf.equal(marks[1], 0xFE) | tf.equal(marks[1], 0xFF)
        return tf.equal(marks[0], 0xFF) & passed & ~_is_exif(marks) & (place < size)

    def following(place: Any, marks: Any) -> list[Any]:
        length = 2 + marks[2] * 256 + marks[3]
        place += tf.where_v2(tf.equal(marks[1], 0xFF), 1, length)
        return [place, window(place)]

    place = tf.constant(2)
    place, marks = tf.while_loop(is_passed, following, [place, window(place)], maximum_iterations=MOST_SEGMENTS)

    def of_exif() -> Any:
        end = tf.minimum(place + 2 + marks[2] * 256 + marks[3], size)
        return _in_tiff(tf.cast(bytes_[place + max(_MARKS) + 1 : end], tf.int64))

    return tf.cond(is_jpeg & _is_exif(marks), of_exif, lambda: tf.constant(1))


def _is_exif(marks: Any) -> Any:
    return tf.reduce_all(tf.equal(tf.gather(marks, _MARKS), EXIF))


def _in_tiff(tiff: Any) -> Any:
    """Return the orientation in the first directory of EXIF's TIFF structure, bytes as int64."""
    size = tf.size(tiff, out_type=tf.int64)
    little = tf.reduce_all(tf.equal(_at(tiff, [0, 1]), list(b"II")))
    big = tf.reduce_all(tf.equal(_at(tiff, [0, 1]), list(b"MM")))

    def number(places: Any, count: int) -> Any:
        """Return the numbers whose bytes begin at places, in the byte order of the file."""
        read = _at(tiff, tf.expand_dims(places, -1) + tf.range(count, dtype=tf.int64))
        powers = [256**power for power in range(count)]
        weights = tf.where_v2(little, tf.constant(powers, tf.int64), tf.constant(powers[::-1], tf.int64))
        return tf.reduce_sum(read * weights, -1)

    first = number(tf.constant(4, tf.int64), 4)
    count = tf.minimum(number(first, 2), MOST_ENTRIES)
    entries = first + 2 + ENTRY_BYTES * tf.range(count)
    found = tf.equal(number(entries, 2), ORIENTATION) & (entries + 10 <= size) & (little | big) & (first + 2 <= size)
    entry = tf.minimum(tf.reduce_min(tf.where_v2(found, entries, size)), size)  # Of several the first; none: the end.
    value = number(entry + 8, 2)
    valid = tf.equal(number(entry + 2, 2), SHORT) & (value >= 1) & (value <= 8)
    return tf.cast(tf.where_v2(valid, value, tf.ones_like(value)), tf.int32)


def _at(values: Any, places: Any) -> Any:
    """Return values at places; 0 beyond the end."""
    padded = tf.pad(values, [[0, 1]])
    return tf.gather(padded, tf.minimum(tf.cast(places, tf.int64), tf.size(values, out_type=tf.int64)))
