"""The index of a checkpoint, read as TensorFlow reads it; damage is reported."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import cramjam
import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.formats import tf_v2
from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.tf_v2 import read_index
from expkit.checkpoints.writer import write_values

NUMBERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "bfloat16", "float64")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of a checkpoint of variables of every type, one of them in parts."""
    prefix = tmp_path_factory.mktemp("sharded") / "model"
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("table", (10, 4), partitioner=tf.fixed_size_partitioner(3))
        tf.get_variable("text", initializer=tf.constant([["a", "b"]]))
        for dtype in (*NUMBERS, "bool", "complex64"):
            tf.get_variable(f"of/{dtype}", initializer=tf.cast(tf.constant([[1], [2]]), dtype))
        session.run(tf.global_variables_initializer())
        tf.train.Saver(sharded=True).save(session, str(prefix), write_meta_graph=False)
    return prefix


def told_by_tensorflow(prefix: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    reader = tf.train.load_checkpoint(str(prefix))
    dtypes = reader.get_variable_to_dtype_map()
    return {name: (tuple(shape), dtypes[name].name) for name, shape in reader.get_variable_to_shape_map().items()}


def test_names_shapes_and_dtypes_are_those_that_tensorflow_reads(sharded: Path) -> None:
    assert {name: (spec.shape, spec.dtype) for name, spec in read_index(sharded).items()} == told_by_tensorflow(sharded)


def test_an_index_of_many_blocks_is_read_completely(tmp_path: Path) -> None:
    values = {f"layer_{i:04d}/kernel": np.zeros((i % 7, 2), np.float32) for i in range(1500)}
    write_values(str(tmp_path / "model"), values)
    assert {name: spec.shape for name, spec in read_index(tmp_path / "model").items()} == {
        name: value.shape for name, value in values.items()
    }


def test_missing_or_truncated_data_is_reported(sharded: Path, tmp_path: Path) -> None:
    (tmp_path / "model.index").write_bytes(sharded.with_name("model.index").read_bytes())
    with pytest.raises(ValueError, match=r"^model\.data-00000-of-00001 is missing$"):
        read_index(tmp_path / "model")
    data = sharded.with_name("model.data-00000-of-00001").read_bytes()
    (tmp_path / "model.data-00000-of-00001").write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"^model\.data-00000-of-00001 is cut off$"):
        read_index(tmp_path / "model")


def test_every_flipped_bit_of_an_index_is_detected(sharded: Path, tmp_path: Path) -> None:
    content = sharded.with_name("model.index").read_bytes()
    (tmp_path / "model.data-00000-of-00001").write_bytes(sharded.with_name("model.data-00000-of-00001").read_bytes())
    right = read_index(sharded)
    told = 0
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        (tmp_path / "model.index").write_bytes(flipped)
        try:
            assert read_index(tmp_path / "model") == right  # the footer's padding and the list of other blocks
        except ValueError:
            told += 1
    assert told > len(content) // 3 - 40


SNAPPY_INDEX = (
    "ZGwAAAYIARoCCAEAAQthCAESACgENQY4Jx8BAQ0yAQ8EIAQNEQwAAQ1iBREsCCgENRD9eE8AAQ1jBREcDCgENe/WgsMVMzwQKAQ179aCwwAAAAABAAAA"
    "AQPaPh0AAAAAAQAAAADA8qGwAAECZABXAAAAAAEAAAAAdfech1wIaQ4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABX+4CLJHVH2w=="
)
"""An index that an earlier TensorFlow wrote: its first block is compressed."""


def test_an_index_compressed_by_snappy_is_read_with_its_values(tmp_path: Path) -> None:
    (tmp_path / "model.index").write_bytes(base64.b64decode(SNAPPY_INDEX))
    (tmp_path / "model.data-00000-of-00001").write_bytes(base64.b64decode("AAAAPwAAAD8AAABAAABAQAAAQEA="))
    source = open_variables(tmp_path / "model", "SOURCE")
    assert {name: float(source.read(name)) for name in source.variables} == {
        "a": 0.5, "a2": 0.5, "b": 2, "c": 3, "c2": 3
    }  # fmt: skip


def compressed(content: bytes, method: int, block: bytes | None = None) -> bytes:
    """Return an index whose only block of entries is compressed."""
    _, position = tf_v2._handle(content[-48:], 0)
    (start, size), _ = tf_v2._handle(content[-48:], position)
    ((_, handle),) = tf_v2._pairs(content, (start, size))
    first, length = tf_v2._handle(handle, 0)[0]
    assert first == 0
    if block is None:
        block = bytes(cramjam.snappy.compress_raw(content[:length]))
    data = _closed(block, method)
    value = _varint(0) + _varint(len(block))
    listing = bytes([0, 1, len(value)]) + b"z" + value + struct.pack("<II", 0, 1)
    empty = _closed(struct.pack("<II", 0, 1), 0)
    offset = len(data) + len(empty)
    handles = _varint(len(data)) + _varint(8) + _varint(offset) + _varint(len(listing))
    return data + empty + _closed(listing, 0) + handles.ljust(40, b"\0") + content[-8:]


def _closed(block: bytes, method: int) -> bytes:
    return block + bytes([method]) + struct.pack("<I", tf_v2._checksum(block + bytes([method])))


def _varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low | 0x80]) + _varint(value >> 7) if value > 0x7F else bytes([low])


def test_compression_by_snappy_changes_nothing_that_is_read(sharded: Path, tmp_path: Path) -> None:
    content = compressed(sharded.with_name("model.index").read_bytes(), 1)
    (tmp_path / "model.index").write_bytes(content)
    (tmp_path / "model.data-00000-of-00001").write_bytes(sharded.with_name("model.data-00000-of-00001").read_bytes())
    assert read_index(tmp_path / "model") == read_index(sharded)
    assert {name: (spec.shape, spec.dtype) for name, spec in read_index(tmp_path / "model").items()} == (
        told_by_tensorflow(tmp_path / "model")
    )


@pytest.mark.parametrize(
    ("method", "block", "message"),
    [
        (2, None, "a block is compressed by method 2, which is unknown; known: 1 \\(Snappy\\)"),
        (1, b"\x05\x10hel", "a compressed block cannot be read"),
        (1, b"\xff\xff\xff\xff\x0fab", "a compressed block declares more bytes than it can hold"),
        (1, b"", "a number does not end"),
        (0, b"\0\x7f\x01ab" + struct.pack("<II", 0, 1), "an entry is longer than its block"),
        (0, struct.pack("<I", 2**30), "a block lists more restarts than it has bytes"),
        (0, b"\0\0\x06\x08\xff\xff\xff\xff\x0f" + struct.pack("<II", 0, 1), "it declares 4,294,967,295 data files"),
    ],
)
def test_a_block_that_no_writer_makes_is_explained(
    sharded: Path, tmp_path: Path, method: int, block: bytes | None, message: str
) -> None:
    (tmp_path / "model.index").write_bytes(compressed(sharded.with_name("model.index").read_bytes(), method, block))
    with pytest.raises(ValueError, match=f"its .index file is damaged: {message}"):
        read_index(tmp_path / "model")
