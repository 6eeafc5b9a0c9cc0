"""The writer: checkpoints written in a thread of its own while training goes on."""

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
    """Saves snapshots of the variables, one at a time; leaving the ``with`` block waits for the save that is under way.

    An error of a save is raised by the next call, or at the end of the block; where the block ends with an error of its
    own, that one is raised and the save's is logged.
    """

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint writer")
        self._under_way: Future[Checkpoint] | None = None

    def __enter__(self) -> CheckpointWriter:
        self._thread.submit(int).result()  # It runs from now on: Ctrl-C in the middle of its start would lose a save.
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
        """Begin to save a checkpoint, once the save before it is done; arguments as of ``CheckpointStore.save``.

        Raises:
            CheckpointError: the save before could not be written.
        """
        self.wait()
        self._under_way = self._thread.submit(self._store.save, write, meta_graph, step, metrics, state)

    def check(self) -> None:
        """Raise the error of a save that has failed; wait for none.

        Raises:
            CheckpointError: a save could not be written.
        """
        save = self._under_way
        if save is not None and save.done() and save.exception() is not None:
            self.wait()

    def wait(self) -> Checkpoint | None:
        """Wait until the save that is under way is done; return what it saved, or ``None`` where there was none.

        Raises:
            CheckpointError: it could not be written.
        """
        save = self._under_way
        if save is None:
            return None
        wait([save])
        self._under_way = None  # Only now: a wait that was interrupted is taken up again.
        return save.result()


def write_values(prefix: str, values: Mapping[str, np.ndarray]) -> None:
    """Write values as a checkpoint of ``tf.train.Saver``'s second format, under their names."""
    names = sorted(values)
    graph = tf.Graph()
    with graph.as_default():
        tensors = [tf.placeholder(values[name].dtype, values[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    graph.finalize()
    with tf.plain_session(graph) as session:
        session.run(save, dict(zip(tensors, (values[name] for name in names), strict=True)))
