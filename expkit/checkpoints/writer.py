"""The writer of checkpoints, which saves in a thread of its own while training continues."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.store import Checkpoint, CheckpointStore
from expkit.errors import ExpkitError

__all__ = ["CheckpointWriter", "write_values"]

_log = logging.getLogger(__name__)


class CheckpointWriter:
    """Saves checkpoints one at a time; leaving the ``with`` block waits for the save in progress.

    The next call, or the end of the block, raises the error of a failed save; if the block ends with an error of its
    own, that error is raised and the error of the save is logged.
    """

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint writer")
        self._in_progress: Future[Checkpoint] | None = None

    def __enter__(self) -> CheckpointWriter:
        self._thread.submit(int).result()  # Start the thread now: Ctrl-C during its start would lose a save.
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except ExpkitError as failed:
            if error is None:
                raise
            _log.warning("%s", failed)
        finally:
            self._thread.shutdown()

    def save(
        self,
        write: Callable[[str], bool],
        meta_graph: bytes,
        step: int,
        metrics: Mapping[str, float],
        state: Mapping[str, Any],
    ) -> None:
        """Start to save a checkpoint after the previous save is done; arguments as of ``CheckpointStore.save``.

        Raises:
            CheckpointError: the previous save failed.
        """
        self.wait()
        self._in_progress = self._thread.submit(self._store.save, write, meta_graph, step, metrics, state)

    def check(self) -> None:
        """Raise the error of a failed save, without waiting for one in progress.

        Raises:
            CheckpointError: a save failed.
        """
        save = self._in_progress
        if save is not None and save.done() and save.exception() is not None:
            self.wait()

    def wait(self) -> Checkpoint | None:
        """Wait for the save in progress; return its checkpoint, or ``None`` if there was no save.

        Raises:
            CheckpointError: the save failed.
        """
        save = self._in_progress
        if save is None:
            return None
        wait([save])
        self._in_progress = None  # Only now, so that an interrupted wait can be repeated.
        return save.result()


def write_values(prefix: str, values: Mapping[str, np.ndarray]) -> None:
    """Write values under their names as a checkpoint in the V2 format of ``tf.train.Saver``."""
    names = sorted(values)
    graph = tf.Graph()
    with graph.as_default():
        tensors = [tf.placeholder(values[name].dtype, values[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    graph.finalize()
    with tf.plain_session(graph) as session:
        session.run(save, dict(zip(tensors, (values[name] for name in names), strict=True)))
