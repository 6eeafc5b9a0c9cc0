"""How steps are run: how many in one call, what XLA compiles of them, what computes in what, on which cores."""

from __future__ import annotations

import os
from dataclasses import dataclass

from expkit.config.sections.train import Compiled, Parallelism, Precision

__all__ = ["PLAIN", "Execution", "cores"]

MIN_SHARD_EXAMPLES = 16
"""Examples of the smallest batch shard; products of fewer rows leave a core's units for them half empty."""


@dataclass(frozen=True)
class Execution:
    """A way to run steps; none changes which examples a step sees or what is random in it."""

    steps_per_execution: int = 1
    """Most steps in one call of the session."""
    jit_compile: Compiled = False
    """What XLA compiles of a step."""
    precision: Precision = "float32"
    """What products and convolutions are computed in; variables and their updates are always float32."""
    parallelism: Parallelism = "intra_op"
    """What the cores share; with ``inter_op`` some layers are applied to batch shards in parallel."""

    def shards(self, batch_size: int) -> int:
        """Return the number of shards of a batch: one for each core, if they are large enough."""
        if self.parallelism == "intra_op" or self.jit_compile is True:
            return 1
        return max(1, min(cores(), batch_size // MIN_SHARD_EXAMPLES))

    def __str__(self) -> str:
        compiled = {"update": ", updates compiled by XLA", True: ", compiled by XLA", False: ""}[self.jit_compile]
        products = ", products in bfloat16" if self.precision == "bfloat16" else ""
        apart = ", one core per operation" if self.parallelism == "inter_op" else ""
        return f"{self.steps_per_execution} steps per execution{compiled}{products}{apart}"


def cores() -> int:
    """Return how many cores this process may use; all where the system does not tell, as macOS does not."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


PLAIN = Execution()
"""One step a call, as it is written."""
