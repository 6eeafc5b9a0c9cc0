"""New checkpoints from values read one after another: complete or absent."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.edit.plan import names_without_mean
from expkit.checkpoints.edit.write import mean, new_prefix, write_new
from expkit.checkpoints.formats.open import open_variables
from expkit.errors import CheckpointError
from support.experiments import checkpoint_values, write_checkpoint

VALUES = {f"layer{i}/w": np.full((3, 5), i, np.float32) for i in range(4)} | {"text": np.array([b"a", b"bc"], object)}


def reading(values: dict[str, np.ndarray]) -> dict[str, partial[np.ndarray]]:
    return {name: partial(np.copy, value) for name, value in values.items()}


def test_more_than_fits_into_memory_becomes_a_sharded_checkpoint_that_a_saver_reads(tmp_path: Path) -> None:
    write_new(tmp_path / "new", reading(VALUES), "OUTPUT", bytes_at_once=100)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *(f"new.data-{place:05}-of-00003" for place in range(3)),
        "new.index",
    ]
    source = open_variables(tmp_path / "new", "here")
    for name, value in VALUES.items():
        np.testing.assert_array_equal(source.read(name), value)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {name: tf.get_variable(name, (3, 5)) for name in VALUES if name != "text"}
        tf.train.Saver().restore(session, str(tmp_path / "new"))
        for name, value in session.run(variables).items():
            np.testing.assert_array_equal(value, VALUES[name])


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> np.ndarray:
        raise CheckpointError.at("old", "damaged")

    values = {**reading(VALUES), "z": fails}
    with pytest.raises(CheckpointError, match="old: damaged"):
        write_new(tmp_path / "new", values, "OUTPUT", bytes_at_once=100)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match=r"OUTPUT: cannot write .*new \(No such file or directory\)"):
        write_new(tmp_path / "nosuch" / "new", reading(VALUES), "OUTPUT")


def test_existing_files_are_never_overwritten(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "old", {"v": 1.0})
    said = f"OUTPUT: {tmp_path}/old already exists; give the prefix of a new checkpoint"
    with pytest.raises(CheckpointError) as caught:
        new_prefix(str(tmp_path / "old"), "OUTPUT")
    assert str(caught.value) == said
    with pytest.raises(CheckpointError) as caught:
        write_new(tmp_path / "old", reading({"v": np.float32(2)}), "OUTPUT")
    assert str(caught.value) == said
    assert checkpoint_values(tmp_path / "old") == {"v": 1.0}
    with pytest.raises(CheckpointError, match=r"OUTPUT: cannot write .*: folder .*/nosuch does not exist"):
        new_prefix(str(tmp_path / "nosuch" / "new"), "OUTPUT")
    with pytest.raises(CheckpointError, match=r"OUTPUT: cannot write a+ \(File name too long\)"):
        new_prefix("a" * 300, "OUTPUT")


def test_means_are_rounded_once_and_counters_and_integers_are_taken_from_the_last(tmp_path: Path) -> None:
    half = tf.bfloat16.as_numpy_dtype
    sources = []
    for place, value in enumerate((0.1, 0.2, 0.4)):
        values = {
            "beta1_power": np.float32(value),
            "global_step": np.int64(100 * place),
            "half": np.full(2, value, half),
            "w": np.array([value, 3 * value], np.float32),
        }
        sources.append(open_variables(write_checkpoint(tmp_path / f"c{place}", values), "here"))
    assert names_without_mean(sources[-1].variables) == {"beta1_power", "global_step"}
    exact = np.mean(np.float32([[0.1, 3 * 0.1], [0.2, 3 * 0.2], [0.4, 3 * 0.4]]).astype(np.float64), axis=0)
    np.testing.assert_array_equal(mean(sources, "w"), exact.astype(np.float32))
    assert mean(sources, "half").dtype == half
    for name in ("w", "half"):
        assert mean([sources[0]] * 3, name).tobytes() == sources[0].read(name).tobytes()
