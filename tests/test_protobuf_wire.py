"""The wire format of protocol buffers, and damage to it."""

from __future__ import annotations

import numpy as np
import pytest

from expkit.protobuf_wire import fields, messages, packed_varints, varint


def test_fields_are_read_by_their_wire_type() -> None:
    data = b"\x08\x96\x01" + b"\x12\x02ab" + b"\x1d\0\0\x80\x3f" + b"\x21" + b"\1" * 8
    assert list(fields(data)) == [(1, 150), (2, b"ab"), (3, b"\0\0\x80\x3f"), (4, b"\1" * 8)]
    assert list(messages(b"\x12\x01a\x0a\x01b\x12\x00", 2)) == [b"a", b""]


def test_integers_have_64_bits() -> None:
    assert varint(b"\xff" * 9 + b"\x01", 0) == (2**64 - 1, 10)
    assert varint(b"\0\x80\x02", 1) == (256, 3)
    np.testing.assert_array_equal(packed_varints(b"\x01" + b"\xff" * 9 + b"\x01" + b"\x80\x01"), [1, -1, 128])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x08\x80", "a number does not end"),
        (b"\x08" + b"\x80" * 11, "a number does not end"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x12\x03ab", "a field is longer than its message"),
        (b"\x1d\0\0\0", "a field is longer than its message"),
        (b"\x08\x01", "a number stands where a message should"),
    ],
)
def test_damaged_bytes_are_an_error(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        list(messages(data, 1))
