"""The index of a checkpoint, read as TensorFlow reads it; damage is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expkit import tf1 as tf
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
