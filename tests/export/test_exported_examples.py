"""Examples on which exported files are compared, in batches of a fixed size."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from expkit.config.load import load
from expkit.errors import ExportError
from expkit.export.doors import Door
from expkit.export.exported_examples import door_examples
from expkit.export.freeze import FrozenGraph
from expkit.export.metrics_of_outputs import metric_rows
from expkit.export.targets.base import ExportSource


def rows(batch: int | None, *, whole: bool) -> list[float]:
    """Return the examples of a source of ten, in the order in which they are computed."""
    metadata: dict[str, Any] = {"inputs": {"x": {"tensor": "x:0", "dtype": "float32", "shape": [None, 1]}}}
    frozen = FrozenGraph(graph_def=None, metadata=metadata, graph=None)
    source = ExportSource(
        file=Path("x.pb"), frozen=frozen, examples={"x": np.arange(10, dtype=np.float32).reshape(10, 1)}
    )
    inputs = {"x": {**metadata["inputs"]["x"], "shape": [batch, 1]}}
    door = Door(name="raw", graph_def=None, inputs=inputs, outputs={}, origins={})
    found = door_examples(source, door, whole=whole)
    return [value for part in found for value in part["x"].reshape(-1).tolist()]


def test_batches_of_a_fixed_size_have_all_examples_where_metrics_are_computed() -> None:
    assert rows(None, whole=True) == [*range(10)]
    assert rows(4, whole=True) == [*range(10), 0, 1]
    assert rows(4, whole=False) == [*range(8)]
    assert rows(16, whole=True) == rows(16, whole=False) == [*range(10), *range(6)]


def test_a_batch_beyond_memory_is_refused() -> None:
    with pytest.raises(ExportError, match=r"^--batch: a batch of 1,000,000,000,000 examples has 4,000.0 GB, too much"):
        rows(10**12, whole=False)


def test_rows_that_fill_the_last_batch_are_in_no_metric() -> None:
    labels = np.array([0, 1, 2, 3], np.int32)
    dataset = SimpleNamespace(splits={"test": {"label": labels}}, size=lambda split: len(labels))
    run: Any = SimpleNamespace(checked=SimpleNamespace(config=load([])), dataset=dataset)
    right = np.eye(10, dtype=np.float32)[[0, 1, 2, 3, 9, 9]]
    wrong = np.eye(10, dtype=np.float32)[[0, 1, 2, 9, 9, 9]]
    rows = {row.name: row for row in metric_rows(run, {"logits": right}, {"logits": wrong})}
    assert (rows["accuracy"].before, rows["accuracy"].after, rows["accuracy"].drop) == (1.0, 0.75, 0.25)
    single = {"total": np.float32(1)}
    assert metric_rows(run, single, single) == []
