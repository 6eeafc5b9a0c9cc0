"""What training remembers besides variables; a checkpoint keeps it, so that a run goes on as if it never stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from expkit.config.sections.train import EarlyStoppingConfig

__all__ = ["RollBack", "SumArrays", "TrainingState", "Waiting"]

SumArrays = dict[str, dict[str, np.ndarray]]
"""Statistics by metric name, in float64."""


@dataclass(frozen=True)
class Waiting:
    """How long a metric has not become better."""

    best: float | None = None
    evaluations: int = 0
    """Evaluations since the best one."""

    def after(self, value: float, asked: EarlyStoppingConfig) -> Waiting:
        """Return what is remembered after an evaluation; ``nan`` is never better."""
        sign = 1 if asked.mode == "max" else -1
        best = -math.inf if self.best is None else sign * self.best
        if sign * value > best + (asked.min_delta if math.isfinite(best) else 0.0):
            return Waiting(value, 0)
        return Waiting(self.best, self.evaluations + 1)


@dataclass(frozen=True)
class RollBack:
    """Training went on from an earlier step, because something was not finite."""

    first: int
    last: int
    """It happened in the steps after ``first`` up to ``last``."""
    back_to: int
    """Step of the checkpoint from which training went on."""

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass
class TrainingState:
    """What is remembered from step to step."""

    window: SumArrays = field(default_factory=dict)
    """Statistics since the last point of training metrics."""
    waiting: Waiting = Waiting()
    stopped: bool = False
    """Whether training has stopped early."""
    roll_backs: tuple[RollBack, ...] = ()

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> TrainingState:
        """Return the state of a checkpoint; of an empty mapping, that of a run that begins."""
        if not plain:
            return cls()
        sums = plain["window"].items()
        return cls(
            {name: {key: np.asarray(v, np.float64) for key, v in parts.items()} for name, parts in sums},
            Waiting(**plain["waiting"]),
            plain["stopped"],
            tuple(RollBack(**one) for one in plain["roll_backs"]),
        )

    def plain(self) -> dict[str, Any]:
        """Return plain values, for ``of``."""
        sums = self.window.items()
        return {
            "window": {name: {key: np.asarray(v).tolist() for key, v in parts.items()} for name, parts in sums},
            "waiting": asdict(self.waiting),
            "stopped": self.stopped,
            "roll_backs": [asdict(one) for one in self.roll_backs],
        }
