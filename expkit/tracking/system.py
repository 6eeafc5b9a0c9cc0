"""System metrics: the machine's load during a run, by MLflow's monitors."""

from __future__ import annotations

import threading
import time

from expkit.tracking.journal import Journal
from expkit.tracking.mlflow_internals import monitors

__all__ = ["SystemMetrics"]

_EVERY_SECONDS = 10.0


class SystemMetrics:
    """Samples of processor, memory, disk, network and NVIDIA's processors, every ten seconds, in a journal."""

    def __init__(self, journal: Journal) -> None:
        """Start to sample; the step of a sample is its number, counted over all processes of the run."""
        self._journal = journal
        self._first = journal.last_steps().get("system/cpu_utilization_percentage", -1) + 1
        self._ended = threading.Event()
        threading.Thread(target=self._sample, name="system metrics", daemon=True).start()

    def stop(self) -> None:
        """Take no more samples."""
        self._ended.set()

    def _sample(self) -> None:
        found, step = monitors(), self._first
        while not self._ended.wait(_EVERY_SECONDS if step > self._first else 1.0):
            values: dict[str, float] = {}
            for monitor in found:
                monitor.collect_metrics()
                values |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
            self._journal.append("metrics", step=step, values=values, milliseconds=int(time.time() * 1000))
            step += 1
