"""The writer: checkpoints written in a thread of its own while training goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.store import CheckpointStore
from expkit.errors import ExpkitError

__all__ = ["CheckpointWriter", "write_values"]

_log = logging.getLogger(__name__)


class CheckpointWriter:
    """Saves copies of the variables, one at a time; leaving the ``with`` block waits for the save that is under way.

    An error of a save is raised by the next call, or at the end of the block; where the block ends with an error of its
    own, that one is raised and the save's is logged.
    """

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> CheckpointWriter:
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

    def save(
        self,
        values: Mapping[str, np.ndarray],
        meta_graph: bytes,
        step: int,
        metrics: Mapping[str, float],
        window: Mapping[str, Any],
    ) -> None:
        """Begin to save a checkpoint, once the save before it is done; arguments as of ``CheckpointStore.save``.

        Raises:
            CheckpointError: the save before could not be written.
        """
        self.wait()

        def work() -> None:
            try:
                self._store.save(lambda prefix: write_values(prefix, values), meta_graph, step, metrics, window)
            except BaseException as error:  # raised again where somebody waits for it
                self._error = error

        self._thread = threading.Thread(target=work, name="checkpoint writer")
        self._thread.start()

    def check(self) -> None:
        """Raise the error of a save that has failed; wait for none.

        Raises:
            CheckpointError: a save could not be written.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Wait until the save that is under way is done.

        Raises:
            CheckpointError: it could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()


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
