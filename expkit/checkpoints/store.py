"""Checkpoints of a run on disk: each a folder that is complete or absent; the last ones and the best are kept."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from expkit.errors import CheckpointError, reason

__all__ = ["Checkpoint", "CheckpointStore"]

_FOLDER = re.compile(r"step-(\d{8,})\Z")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint."""

    step: int
    prefix: Path
    """What TensorFlow calls the checkpoint: files ``.index``, ``.data-*``, and ``.meta`` begin with it."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the step, where it was evaluated."""
    window: Mapping[str, Any] = field(default_factory=dict)
    """Statistics since the last point of training metrics, so that a resumed run logs the same numbers."""


class CheckpointStore:
    """The folder of a run's checkpoints.

    ``step-00000500/`` holds ``model.index``, ``model.data-*``, ``model.meta`` (the inference graph) and
    ``checkpoint.json``. It is written under another name and renamed when complete. The file ``checkpoint`` names the
    latest one for ``tf.train.latest_checkpoint``.
    """

    def __init__(
        self, folder: Path, *, keep_last: int, best_metric: str | None, best_mode: Literal["max", "min"]
    ) -> None:
        self._folder = folder
        self._keep_last = keep_last
        self._best_metric = best_metric
        self._sign = 1 if best_mode == "max" else -1

    def all(self) -> list[Checkpoint]:
        """Return the complete checkpoints, oldest first.

        Raises:
            CheckpointError: the record of one is damaged.
        """
        found = []
        for folder in self._folder.glob("step-*"):
            record = folder / "checkpoint.json"
            if (match := _FOLDER.match(folder.name)) and record.is_file():
                try:
                    content = json.loads(record.read_text())
                    found.append(Checkpoint(int(match[1]), folder / "model", content["metrics"], content["window"]))
                except (ValueError, KeyError, TypeError):
                    raise CheckpointError.at(
                        str(record), f"damaged; delete the folder {folder} to go on from the checkpoint before it"
                    ) from None
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def latest(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, or ``None``."""
        return next(reversed(self.all()), None)

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the best metric (the earlier of equals), or ``None``; ``nan`` is never best."""
        metric = str(self._best_metric)
        judged = [item for item in self.all() if not math.isnan(item.metrics.get(metric, math.nan))]
        return max(judged, key=lambda item: (self._sign * item.metrics[metric], -item.step), default=None)

    def save(
        self,
        write: Callable[[str], None],
        meta_graph: bytes,
        step: int,
        metrics: Mapping[str, float],
        window: Mapping[str, Any],
    ) -> Checkpoint:
        """Write a checkpoint, then delete those that are no longer to be kept.

        Args:
            write: writes the variables to a prefix.
            meta_graph: serialized inference ``MetaGraphDef``, kept beside the variables.
            step: global step.
            metrics: of this step.
            window: statistics since the last point of training metrics.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints are whole.
        """
        name = f"step-{step:08d}"
        partial = self._folder / f".{name}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(str(partial / "model"))
            (partial / "model.meta").write_bytes(meta_graph)
            content = {"step": step, "metrics": dict(metrics), "window": dict(window)}
            (partial / "checkpoint.json").write_text(json.dumps(content))
            shutil.rmtree(self._folder / name, ignore_errors=True)
            partial.rename(self._folder / name)
            self._point_to(f"{name}/model")
        except Exception as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not isinstance(error, OSError) and not type(error).__module__.startswith("tensorflow"):
                raise
            raise CheckpointError.at(
                str(self._folder), f"step {step} could not be saved ({reason(error)}); earlier checkpoints are whole"
            ) from error
        self._prune()
        return Checkpoint(step, self._folder / name / "model", metrics, window)

    def _point_to(self, path: str) -> None:
        pointer = self._folder / ".checkpoint.partial"
        pointer.write_text(f'model_checkpoint_path: "{path}"\n')
        os.replace(pointer, self._folder / "checkpoint")

    def _prune(self) -> None:
        kept = [*self.all()[-self._keep_last :], self.best()]
        for checkpoint in self.all():
            if checkpoint not in kept:
                shutil.rmtree(checkpoint.prefix.parent, ignore_errors=True)
