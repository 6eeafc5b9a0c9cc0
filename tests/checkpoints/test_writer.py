"""Checkpoints written during training: complete, in order, readable by any Saver; errors reach the caller."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints import writer as writers
from expkit.checkpoints.store import CheckpointStore
from expkit.checkpoints.writer import CheckpointWriter, write_values
from expkit.errors import CheckpointError, TrainingError
from support.experiments import assert_same, checkpoint_values


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep_last=2, best_metric=None, best_mode="max")


def save(to: CheckpointWriter, step: int) -> None:
    to.save(writing({"v": np.float32(step)}), b"graph", step, {}, {})


def writing(values: dict[str, Any]) -> Callable[[str], bool]:
    """Return what writes values by the function that the module has when it is called."""

    def write(prefix: str) -> bool:
        writers.write_values(prefix, values)
        return True

    return write


def steps(of: CheckpointStore) -> list[int]:
    return [checkpoint.step for checkpoint in of.all()]


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let no save go on before the event is set; it is set at the end."""
    go = threading.Event()

    def slowly(prefix: str, values: Any) -> None:
        assert go.wait(60)
        write_values(prefix, values)

    monkeypatch.setattr(writers, "write_values", slowly)
    try:
        yield go
    finally:
        go.set()


def test_write_then_read_is_the_identity(tmp_path: Path) -> None:
    values = {
        "b/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array(7, np.int64),
        "half": np.array([1.5, -2], ml_dtypes.bfloat16),
        "none": np.zeros((0, 3), np.float64),
        "flag": np.array([True, False]),
    }
    write_values(str(tmp_path / "model"), values)
    assert_same(values, checkpoint_values(tmp_path / "model"))


def test_a_saver_restores_what_was_written(tmp_path: Path) -> None:
    write_values(str(tmp_path / "model"), {"x": np.float32([1, 2]), "global_step": np.int64(5)})
    with tf.Graph().as_default(), tf.Session() as session:
        x, step = tf.get_variable("x", (2,)), tf.get_variable("global_step", (), tf.int64)
        tf.train.Saver().restore(session, str(tmp_path / "model"))
        assert (session.run(x).tolist(), session.run(step)) == ([1, 2], 5)


def test_a_save_does_not_block_and_the_end_of_the_block_waits_for_it(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_up(monkeypatch) as go:
        with CheckpointWriter(store) as writer:
            save(writer, 1)
            assert steps(store) == []
            go.set()
        assert steps(store) == [1]


def test_a_save_waits_for_the_previous_one_and_older_ones_are_deleted_only_after_it_is_complete(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CheckpointWriter(store) as writer:
        for step in (1, 2):
            save(writer, step)
        writer.wait()
        with held_up(monkeypatch) as go:
            save(writer, 3)
            assert steps(store) == [1, 2]
            go.set()
            save(writer, 4)
            assert steps(store) in ([2, 3], [3, 4])
    assert steps(store) == [3, 4]


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(prefix: str, values: Any) -> None:
        raise error

    monkeypatch.setattr(writers, "write_values", fail)


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize("act", ["check", "save", "wait", "end"])
def test_an_error_of_a_save_is_raised_once_by_the_next_call(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    failing(monkeypatch, FULL)

    def work() -> None:
        with CheckpointWriter(store) as writer:
            save(writer, 1)
            if act == "check":
                assert writer._in_progress is not None
                futures.wait([writer._in_progress])
                writer.check()
            elif act == "save":
                save(writer, 2)
            elif act == "wait":
                writer.wait()

    with pytest.raises(CheckpointError, match=r"step 1 could not be saved .*; earlier checkpoints are intact"):
        work()
    assert steps(store) == []


def test_an_error_of_training_is_raised_and_the_error_of_the_save_is_logged(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing(monkeypatch, FULL)

    def work() -> None:
        with CheckpointWriter(store) as writer:
            save(writer, 1)
            raise TrainingError.at("train", "the loss became nan")

    with caplog.at_level(logging.WARNING, logger="expkit"), pytest.raises(TrainingError):
        work()
    (line,) = [record.getMessage() for record in caplog.records]
    assert "step 1 could not be saved" in line


@pytest.mark.parametrize("moment", ["it begins", "it is waited for"])
def test_a_save_is_complete_although_training_is_stopped_during_it(
    moment: str, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, waited = futures.ThreadPoolExecutor.submit, futures.wait
    stops = [KeyboardInterrupt()]

    def stopped_after(self: futures.ThreadPoolExecutor, work: Any, *given: Any) -> Any:
        future = submit(self, work, *given)
        if given:
            raise stops.pop()
        return future

    def stopped_before(which: Any) -> Any:
        if stops:
            raise stops.pop()
        return waited(which)

    if moment == "it begins":
        monkeypatch.setattr(futures.ThreadPoolExecutor, "submit", stopped_after)
    else:
        monkeypatch.setattr("expkit.checkpoints.writer.wait", stopped_before)

    def work() -> None:
        with CheckpointWriter(store) as writer:
            save(writer, 1)
            writer.wait()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps(store) == [1]


def test_a_bug_is_raised_unchanged(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError), CheckpointWriter(store) as writer:
        save(writer, 1)
