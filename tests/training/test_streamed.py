"""Streamed training: the same batches as resident data, prepared by a thread that ends and whose errors arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data import batches as pipeline
from expkit.data.batches import Sampling, chunk_steps
from expkit.data.prefetch import Stream
from expkit.errors import DataError
from expkit.experiment import frozen_source
from expkit.export.run import freeze_checkpoint
from expkit.kinds.sources.arrays import Npz
from expkit.kinds.sources.mapped import MappedArray
from expkit.run_folder import RunFolder
from expkit.training import sessions as executors
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.sessions import Evaluator, Executor
from support.experiments import (
    CNN,
    STANDARDIZED,
    assert_same,
    checkpoint_values,
    config_of,
    examples,
    loaded,
    opened,
    run,
    write_arrays,
)

SPLITS = {"ranges": {"train": [0, 40], "valid": [40, 50], "test": [50, 60]}, "fractions": {"train": 0.6, "test": 0.4}}


def stored(folder: Path, placement: str, **sections: Any) -> Config:
    """Return the small convolutional experiment with its data in .npy files."""
    data = {"source": write_arrays(folder, examples((6, 6, 1))), "placement": placement, **sections.pop("data", {})}
    train = {"jit_compile": False, **sections.pop("train", {})}
    return config_of(folder, network=CNN, data=data, train=train, **sections)


def stepped(config: Config, calls: list[int], execution: Execution) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return all statistics and all variables after calls of so many steps."""
    built = train_graph(*loaded(config), execution)
    with Executor(built) as executor:
        executor.initialize()
        sums = [executor.run(steps) for steps in calls]
        flat = {
            f"{place}/{name}/{key}": value
            for place, item in enumerate(sums)
            for name, statistics in item.items()
            for key, value in statistics.items()
        }
        return flat, executor.values(built.variables)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("expkit-stream")]


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize(("steps", "calls"), [(1, [23]), (7, [3, 11, 9]), (100, [23])])
def test_streamed_steps_equal_resident_ones_bit_for_bit(
    tmp_path: Path, split: dict[str, Any], steps: int, calls: list[int]
) -> None:
    data = {"preprocess": STANDARDIZED, "split": split}
    resident = stepped(stored(tmp_path / "resident", "resident", data=data), calls, Execution(10))
    streamed = stepped(stored(tmp_path / "streamed", "streamed", data=data), calls, Execution(steps))
    assert_same(resident[1], streamed[1])
    assert_same(resident[0], streamed[0])
    assert threads() == []


def test_streamed_steps_accumulate_and_compile_as_resident_ones(tmp_path: Path) -> None:
    train = {"batch_size": 4, "gradient_accumulation_steps": 2}
    seen = [
        stepped(stored(tmp_path / placement, placement, train=train), [9], Execution(4, jit_compile=jit))
        for jit in (False, True)
        for placement in ("resident", "streamed")
    ]
    assert_same(seen[0][1], seen[1][1])
    for name, value in seen[2][1].items():
        np.testing.assert_allclose(seen[3][1][name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_records_are_streamed_as_the_same_arrays_are(tmp_path: Path) -> None:
    arrays = examples((6, 6, 1))
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for x, label in zip(arrays["x"], arrays["label"], strict=True):
            feature = {
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=x.ravel())),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    features = {"x": {"shape": [6, 6, 1]}, "label": {"dtype": "int64"}}
    source = {"kind": "tfrecord", "files": str(tmp_path / "*.tfrecord"), "features": features}
    data = {"source": source, "split": SPLITS["fractions"]}
    recorded = stepped(config_of(tmp_path / "a", network=CNN, data=data), [12], Execution(5))
    mapped = stored(tmp_path / "b", "streamed", data={"split": SPLITS["fractions"]})
    assert_same(recorded[1], stepped(mapped, [12], Execution(5))[1])


def test_data_in_memory_may_be_streamed_too(tmp_path: Path) -> None:
    config = config_of(tmp_path, data={"placement": "streamed"})
    plain = config_of(tmp_path)
    assert isinstance(config.data.source, Npz)
    assert_same(stepped(config, [12], Execution(5))[1], stepped(plain, [12], Execution(5))[1])


def test_a_streamed_run_that_stops_in_the_middle_of_a_block_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"steps": 30, "log_every_steps": 10, "save_every_steps": 7, "evaluate_every_steps": 9}
    clock["steps_per_execution"] = 8
    config = stored(tmp_path / "data", "streamed", train=clock)
    unbroken = run(config, tmp_path / "unbroken")
    folder = RunFolder.create(tmp_path / "broken", config, [])

    class Stopped(Exception):
        pass

    class Stops:
        def start(self, step: int, last: int) -> None:
            """Show nothing."""

        def advance(self, step: int, shown: Any) -> None:
            if step >= 18:
                raise Stopped

    with pytest.raises(Stopped):
        run(config, folder.path, progress=Stops())
    assert threads() == []
    gone_on = run(config, tmp_path / "broken")
    assert_same(checkpoint_values(unbroken.checkpoint), checkpoint_values(gone_on.checkpoint))
    resident = run(stored(tmp_path / "data", "resident", train=clock), tmp_path / "resident")
    assert_same(checkpoint_values(unbroken.checkpoint), checkpoint_values(resident.checkpoint))
    for first, second in ((unbroken, gone_on), (unbroken, resident)):
        ends = [{k: v for k, v in item.last.items() if "per_second" not in k} for item in (first, second)]
        assert ends[0] == ends[1]


def test_slow_steps_take_several_calls_of_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = stored(tmp_path, "streamed")
    fast = stepped(config, [20], Execution(8))
    monkeypatch.setattr(executors, "LONGEST_CALL_SECONDS", 0.0)
    assert_same(stepped(config, [20], Execution(8))[1], fast[1])


def test_an_error_of_the_thread_reaches_the_user_as_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = stored(tmp_path, "streamed")
    built = train_graph(*loaded(config), Execution(4))
    take, seen = MappedArray.take, []

    def broken(self: MappedArray, indices: np.ndarray) -> np.ndarray:
        seen.append(threading.current_thread().name)
        if len(seen) > 5:
            raise OSError(5, "Input/output error")
        return take(self, indices)

    monkeypatch.setattr(MappedArray, "take", broken)
    with Executor(built) as executor:
        executor.initialize()
        with pytest.raises(DataError) as caught:
            executor.run(40)
        assert 4 <= executor.step < 40
    assert str(caught.value).startswith("data.source: the batches from step 8 on cannot be read: ")
    assert str(caught.value).endswith("Input/output error")
    assert {name.rpartition("_")[0] for name in seen} == {"expkit-stream"}
    assert threads() == []


def test_a_stream_prepares_two_blocks_ahead_and_no_more() -> None:
    arrays = {"x": np.arange(10, dtype=np.float32)}
    opened = Stream(arrays, 4, Sampling(batch_size=3, seed=0))
    read: list[int] = []
    inner = opened._read
    opened._read = lambda number: (read.append(number), inner(number))[1]
    first = opened.chunk(5)
    while len(read) < 3:  # a stream that never reads is ended with the tests
        time.sleep(0.01)
    assert opened.chunk(5) is first
    assert read == [5, 6, 7]
    assert opened.chunk(6)["x"].shape == (4, 3)
    again = opened.chunk(5)
    np.testing.assert_array_equal(again["x"], first["x"])
    opened.close()
    assert threads() == []


def test_a_block_holds_as_many_steps_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"x": np.zeros((10, 1000), np.float32), "label": np.zeros(10, np.int64)}
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 10 * 4008 * 5 + 1)
    assert [chunk_steps(arrays, steps, 10) for steps in (1, 4, 100)] == [1, 4, 5]
    assert chunk_steps(arrays, 100, 1000) == 1


def test_evaluation_reads_only_what_one_call_works_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = stored(tmp_path, "streamed", train={"evaluation_batch_size": 3})
    checked, data = loaded(config)
    sizes: list[int] = []
    span = MappedArray.span
    monkeypatch.setattr(MappedArray, "span", lambda self, a, b: (sizes.append(b - a), span(self, a, b))[1])
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 7 * (144 + 8))  # two batches of 3: 36 numbers and a label
    built = train_graph(checked, data)
    with Executor(built) as executor, Evaluator(evaluate_graph(checked, data), config) as evaluator:
        executor.initialize()
        evaluator.load(executor.values(evaluator.names))
        streamed = evaluator.evaluate(data.splits["valid"], 0)
        memory = {name: array[:] for name, array in data.splits["valid"].items()}
        assert sizes == [6, 6, 4, 4, 10, 10]
        assert streamed == evaluator.evaluate(memory, 0)


def test_freezing_reads_only_the_examples_it_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = stored(tmp_path, "streamed")
    monkeypatch.setattr("expkit.export.run.PARITY_EXAMPLES", 4)
    done = run(config, tmp_path / "run")
    assert done.frozen is not None
    data = loaded(config)[1]
    sizes: list[int] = []
    span = MappedArray.span
    monkeypatch.setattr(MappedArray, "span", lambda self, a, b: (sizes.append(b - a), span(self, a, b))[1])
    freeze_checkpoint(frozen_source(opened(tmp_path / "run"), dataset=data), tmp_path / "again.pb")
    assert set(sizes) == {1, 4}  # one label shows whether it is a class
