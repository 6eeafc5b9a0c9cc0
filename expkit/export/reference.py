"""Outputs of the frozen graph for batches, which those of exported files are compared with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from expkit.errors import ExportError, reading
from expkit.export.feeding import cast
from expkit.export.targets.base import ExportSource

__all__ = ["frozen_run", "is_large", "latency"]

Arrays = Mapping[str, np.ndarray]
Tensors = Mapping[str, Mapping[str, Any]]
LARGE = 64 * 1024 * 1024
"""Bytes of a graph above which its converter and its runtime are not in memory at once."""


def is_large(source: ExportSource) -> bool:
    """Return whether memory is spared in place of time: the runtime is started when the converter has ended."""
    return source.file.stat().st_size > LARGE


def frozen_run(source: ExportSource, outputs: Tensors, inputs: Tensors, batches: Iterable[Arrays]) -> list[Any]:
    """Return the outputs of batches, in one session: each has a copy of all constants.

    Args:
        source: the frozen graph, which is run as it is written.
        outputs: tensors by name.
        inputs: tensor and dtype by name.
        batches: arrays by input.

    Raises:
        ExportError: TensorFlow cannot compute it.
    """
    fetches = {name: item["tensor"] for name, item in outputs.items()}
    feeds = ({name: cast(array, inputs[name]["dtype"]) for name, array in batch.items()} for batch in batches)
    with (
        source.frozen.session(plain=True) as session,
        reading("export", "TensorFlow cannot compute it", raises=ExportError),
    ):
        return [session.run(fetches, {inputs[name]["tensor"]: array for name, array in feed.items()}) for feed in feeds]


def latency(source: ExportSource, outputs: Tensors, inputs: Tensors, one: Arrays, repeat: int) -> float:
    """Return the median seconds that the frozen graph takes for one example, as it is written.

    An ordinary session would rewrite it first, which takes longer than all the rest where constants are large.
    """
    feed = {inputs[name]["tensor"]: array for name, array in one.items()}
    fetches = [item["tensor"] for item in outputs.values()]
    seconds: list[float] = []
    with source.frozen.session(plain=True) as session:
        run = session.make_callable(fetches, feed_list=list(feed))
        run(*feed.values())
        while len(seconds) < repeat and sum(seconds) < 0.5:
            begun = time.perf_counter()
            run(*feed.values())
            seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))
