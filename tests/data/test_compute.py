"""The values that are computed once: the same bits whatever the threads and batches, and those of the frozen graph."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.data import compute
from expkit.data.compute import computed, fit_steps
from expkit.data.preprocess import FieldPreprocessing, raw_spec
from expkit.kinds.preprocess.base import Preprocess
from expkit.kinds.preprocess.images import DecodeImage, Resize
from expkit.kinds.sources.on_disk import DiskArray
from expkit.kinds.sources.strings import strings

STEPS: list[Preprocess] = [DecodeImage(on_error="skip"), Resize(size=(6, 5))]
DAMAGED = (0, 33)


def jpeg(draw: np.random.Generator) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, (*draw.integers(4, 30, 2), 3), np.uint8)).save(content, "JPEG")
    return content.getvalue()


def files(count: int = 70) -> np.ndarray:
    draw = np.random.default_rng(0)
    return strings([jpeg(draw)[: 30 if place in DAMAGED else None] for place in range(count)], (count,))


class OnDisk(DiskArray):
    """Files that are read by one thread at a time."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self._readers = threading.Semaphore(1)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def dtype(self) -> np.dtype:
        return self._values.dtype

    @property
    def nbytes(self) -> int:
        return sum(map(len, self._values.tolist()))

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        return np.array([len(self._values[index]) for index in indices.tolist()], np.int64)

    def take(self, indices: np.ndarray) -> np.ndarray:
        assert self._readers.acquire(blocking=False), "read in two threads"
        try:
            return self._values.take(indices)
        finally:
            self._readers.release()


def all_of(field: FieldPreprocessing, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    indices, results = zip(*computed(field, OnDisk(values)), strict=True)
    return np.concatenate(indices), np.concatenate(results)


@pytest.mark.parametrize(
    "settings", [{"cores": lambda: 1}, {"cores": lambda: 6, "BATCH_ONE_BY_ONE": 7}, {"BATCH_BYTES": 1}]
)
def test_no_bit_depends_on_threads_or_batches(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, object]) -> None:
    values = files()
    field = fit_steps(FieldPreprocessing(field="image", raw=raw_spec(STEPS, values)), STEPS, values)
    whole = np.delete(np.arange(len(values)), DAMAGED)
    with tf.Graph().as_default() as graph:
        raw = tf.placeholder(tf.string, (None,))
        served = field.connect_kept(raw)
    with tf.plain_session(graph) as session:
        wanted = session.run(served, {raw: values[whole]})
    for name, value in settings.items():
        monkeypatch.setattr(compute, name, value)
    indices, results = all_of(field, values)
    np.testing.assert_array_equal(indices, whole)
    np.testing.assert_array_equal(results, wanted)


def test_texts_are_computed_together_unless_one_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "BATCH_BYTES", 100)
    values = texts([3] * 40 + [60] + [3] * 5 + [200])
    for array in (values, OnDisk(values)):
        assert [(item.start, item.stop) for item in compute._batches(array, 30)] == [
            (0, 30), (30, 40), (40, 41), (41, 46), (46, 47)
        ]  # fmt: skip
    columns = np.stack([values, values], axis=1)
    assert [item.stop for item in compute._batches(columns, 30)][:2] == [16, 30]


def texts(lengths: list[int]) -> np.ndarray:
    return strings([bytes(length) for length in lengths], (len(lengths),))


def test_whoever_stops_reading_ends_the_threads() -> None:
    values = files()
    field = fit_steps(FieldPreprocessing(field="image", raw=raw_spec(STEPS, values)), STEPS, values)
    before = threading.active_count()
    batches = computed(field, OnDisk(values))
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before
