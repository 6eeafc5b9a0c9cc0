"""The state of training besides variables; checkpoints hold it, so that a resumed run equals an unbroken one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from expkit.kinds.metrics import ROWS, Mode

__all__ = ["RollBack", "StatisticArrays", "TrainingState", "Waiting"]

StatisticArrays = dict[str, dict[str, Any]]
"""Statistics by metric name: arrays in float64, but of ``rows`` a list of the arrays of batches."""


@dataclass(frozen=True)
class Waiting:
    """The evaluations since a metric last improved."""

    best: float | None = None
    evaluations: int = 0
    """Evaluations since the best one."""

    def after(self, value: float, mode: Mode | None, min_delta: float) -> Waiting:
        """Return the state after an evaluation; ``nan`` is never better."""
        sign = -1 if mode == "min" else 1
        best = -math.inf if self.best is None else sign * self.best
        if sign * value > best + (min_delta if math.isfinite(best) else 0.0):
            return Waiting(value, 0)
        return Waiting(self.best, self.evaluations + 1)


@dataclass(frozen=True)
class RollBack:
    """A return to an earlier step, because a value was not finite."""

    first: int
    last: int
    """The value was computed in the steps after ``first`` up to ``last``."""
    back_to: int
    """Step of the checkpoint from which training continued."""

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass(kw_only=True)
class TrainingState:
    """The state that training carries from step to step."""

    window: StatisticArrays = field(default_factory=dict)
    """Statistics since training metrics were last recorded."""
    waiting: Waiting = Waiting()
    stopped: bool = False
    """Whether training has stopped early."""
    roll_backs: tuple[RollBack, ...] = ()

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> TrainingState:
        """Return the state of a checkpoint; of an empty mapping, that of a new run."""
        if not plain:
            return cls()
        window = plain["window"].items()
        return cls(
            window={
                name: {
                    key: [np.asarray(value, np.float64)] if key == ROWS else np.asarray(value, np.float64)
                    for key, value in sums.items()
                }
                for name, sums in window
            },
            waiting=Waiting(**plain["waiting"]),
            stopped=plain["stopped"],
            roll_backs=tuple(RollBack(**roll_back) for roll_back in plain["roll_backs"]),
        )

    def plain(self) -> dict[str, Any]:
        """Return plain values, for ``of``."""
        window = self.window.items()
        return {
            "window": {
                name: {
                    key: (np.concatenate(value) if key == ROWS else np.asarray(value)).tolist()
                    for key, value in sums.items()
                }
                for name, sums in window
            },
            "waiting": asdict(self.waiting),
            "stopped": self.stopped,
            "roll_backs": [asdict(roll_back) for roll_back in self.roll_backs],
        }
