"""The values of a field after the steps of preprocessing that are computed once, by all cores, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, final

import numpy as np

from expkit import tf1 as tf
from expkit.data.preprocess import FieldPreprocessing, Step
from expkit.errors import DataError, error_message
from expkit.kinds.preprocess.base import TEXT, Fitted, Preprocess
from expkit.kinds.sources.on_disk import Array, DiskArray, name_of, scan
from expkit.machine import cores, machine_memory

__all__ = ["Batches", "computed", "fit_steps"]

BATCH = 128
"""Most examples that are computed at once."""
BATCH_ONE_BY_ONE = 32
"""Most examples that are computed at once where each is a loop's iteration, as images are."""
BATCH_OF_TEXT = 1024
"""Most texts that are computed at once: a call takes longer than a short text."""
BATCH_BYTES = 1 << 22
"""Size of the strings that are computed at once, were all as long as the longest, if they are more than one."""
SPARE_THREADS = 1
"""Threads beyond the number of cores: they read files while the others compute."""
THREAD_BYTES = 1 << 30
"""Memory of the machine for each thread, which may hold a large decoded image."""
FINISHED = 2
"""Computed batches that wait for the reader, beside those in the threads."""

_SIZES = {
    "Expected begin[": "it is smaller than the size of center_crop; add resize or pad before it",
    "Paddings must be non-negative": "it is larger than the size of pad; add resize or center_crop before it",
}
"""Messages for images of other sizes, by the beginning of TensorFlow's."""

Batches = Generator[tuple[np.ndarray, np.ndarray], None, None]
"""Indices of examples and their values; whoever does not read all of them closes it."""


def fit_steps(before: FieldPreprocessing, steps: Sequence[Preprocess], train: Array) -> FieldPreprocessing:
    """Add steps that are computed once, each fitted on the training examples after the steps before it.

    Raises:
        DataError: nothing can be learned from the examples, or an example cannot be preprocessed.
    """
    for kind in steps:
        state: Fitted = {}
        if kind.fits:
            try:
                with closing(computed(before, train)) as batches:
                    state = kind.fit(values for _, values in batches)
            except (ValueError, OSError) as error:
                message = f"{kind.kind} cannot be fitted: {error_message(error)}"
                raise DataError.at(f"data.preprocess.{before.field}", message) from None
        before = replace(before, kept=(*before.kept, Step(kind, state)))
    return before


def computed(preprocessing: FieldPreprocessing, array: Array) -> Batches:
    """Yield indices of examples and their values after the steps that are computed once, in ascending order.

    Examples that a step is to skip are left out.

    Raises:
        DataError: examples cannot be preprocessed; the message names the first and their number.
    """
    if not preprocessing.kept:
        yield from scan(array)
        return
    failed: dict[int, str] = {}
    with closing(_Computation(preprocessing, array)) as computation:
        for result in computation.results():
            failed |= result.failed
            yield from result.batches
    if failed and not any(step.kind.skips_failures for step in preprocessing.kept):
        first = min(failed)
        others = f"; {len(failed) - 1:,} more cannot" if len(failed) > 1 else ""
        raise DataError.at(
            f"data.preprocess.{preprocessing.field}",
            f"{name_of(array, first)} cannot be preprocessed: {failed[first]}{others}; mend or remove the data"
            + ("" if preprocessing.kept[0].kind.kind != "decode_image" else ", or set on_error: skip in decode_image"),
        )


@dataclass(frozen=True)
class _Result:
    """The values of some examples."""

    batches: list[tuple[np.ndarray, np.ndarray]]
    failed: dict[int, str] = field(default_factory=dict)
    """Why examples cannot be preprocessed, by index."""


@final
class _Computation:
    """A session that several threads share, each with a batch of its own.

    All operations of a batch run in its thread, and examples of other sizes one after the other: so many are decoded at
    once as there are threads, however large they are.
    """

    def __init__(self, preprocessing: FieldPreprocessing, array: Array) -> None:
        self._array = array
        self._preprocessing = preprocessing
        self._dtype = preprocessing.raw.dtype
        one_by_one = any(step.kind.one_by_one for step in preprocessing.kept)
        self._most = BATCH_ONE_BY_ONE if one_by_one else BATCH_OF_TEXT if self._dtype == TEXT else BATCH
        self._opened = ExitStack()
        self._opening = Lock()
        self._runs: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        self._threads = max(1, min(cores(), machine_memory() // THREAD_BYTES)) + SPARE_THREADS
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="expkit-preprocess")
        self._reading = Lock()

    def close(self) -> None:
        """End the threads, after the batches that they are computing."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._opened.close()

    def results(self) -> Iterator[_Result]:
        """Yield the results of all examples, in order."""
        waiting: deque[Future[_Result]] = deque()
        for examples in _batches(self._array, self._most):
            waiting.append(self._pool.submit(self._result, examples))
            if len(waiting) == self._threads + FINISHED:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _result(self, examples: slice) -> _Result:
        with self._reading:  # A source need not be safe to read in several threads.
            values = self._array[examples]
        values = values if self._dtype == TEXT else values.astype(self._dtype, copy=False)
        indices = np.arange(examples.start, examples.stop)
        try:
            return _Result([(indices, self._run(values))])
        except tf.errors.OpError:
            result = _Result([])
        for number, index in enumerate(indices.tolist()):
            try:
                one = self._run(values[number : number + 1])
            except tf.errors.OpError as error:
                result.failed[index] = _reason(error)
            else:
                result.batches.append((indices[number : number + 1], one))
        return result

    def _run(self, values: np.ndarray) -> np.ndarray:
        first = self._preprocessing.kept[0].kind.reduced(values)
        with self._opening:
            run = self._runs.get(key := repr(first)) or self._runs.setdefault(key, self._session(first))
        return run(values)

    def _session(self, first: Preprocess) -> Callable[[np.ndarray], np.ndarray]:
        """Open a session for a kind of first step; return the function that computes a batch in it."""
        steps = replace(self._preprocessing.kept[0], kind=first), *self._preprocessing.kept[1:]
        with tf.Graph().as_default() as graph:
            raw = tf.placeholder(self._dtype, (None, *self._preprocessing.raw.shape))
            kept = replace(self._preprocessing, kept=steps).connect_kept(raw, parallel=1)
        graph.finalize()
        in_caller = tf.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1)
        session = self._opened.enter_context(closing(tf.Session(graph=graph, config=in_caller)))
        run: Callable[[np.ndarray], np.ndarray] = session.make_callable(kept, [raw])
        return run


def _batches(array: Array, most: int) -> Iterator[slice]:
    """Yield slices of examples to compute at once, limited by their number, of strings by their bytes too."""
    for first in range(0, len(array), most):
        sizes, start = _sizes(array, first, min(first + most, len(array))), 0
        while start < len(sizes):
            longest = np.maximum.accumulate(sizes[start:]) * np.arange(1, len(sizes) - start + 1)
            after = start + max(1, int(np.searchsorted(longest, BATCH_BYTES, side="right")))
            yield slice(first + start, first + after)
            start = after


def _sizes(array: Array, first: int, end: int) -> np.ndarray:
    """Return the sizes in bytes of the strings of examples; 0 where they are numbers, which are small."""
    if not array.dtype.hasobject:
        return np.zeros(end - first, np.int64)
    if isinstance(array, DiskArray):
        return array.sizes(np.arange(first, end))
    strings = array[first:end]
    sizes = np.fromiter(map(len, strings.flat), np.int64, strings.size)
    return np.asarray(sizes.reshape(len(strings), -1).sum(axis=1))


def _reason(error: Any) -> str:
    """Return the fault of an example, by TensorFlow's message without the places in the graph."""
    lines = [line.strip().partition("\t")[0].partition(" [[")[0] for line in str(error.message).splitlines()]
    traced = [number for number, line in enumerate(lines) if line.startswith(("Detected", "Node:", "Graph execution"))]
    said = next((line for line in lines[max(traced, default=-1) + 1 :] if line), type(error).__name__)
    return next((message for start, message in _SIZES.items() if said.startswith(start)), said)
