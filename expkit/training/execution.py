"""The execution mode: how training steps are run, without an effect on their examples or random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any

from expkit.config.sections.train import JitCompile, Parallelism, Precision
from expkit.machine import cores

__all__ = ["PLAIN", "Execution", "ExecutionChoice"]

MIN_SHARD_EXAMPLES = 16
"""Examples of the smallest batch shard; products of fewer rows leave a core's units for them half empty."""


@dataclass(frozen=True)
class Execution:
    """An execution mode; none changes which examples a step sees or its random numbers."""

    steps_per_execution: int = 1
    """Maximum steps per session call."""
    _: KW_ONLY
    jit_compile: JitCompile = False
    """XLA compiles all of a step, only its ``update`` of large variables, or nothing."""
    precision: Precision = "float32"
    """Data type of products and convolutions; variables and their updates are always float32."""
    parallelism: Parallelism = "intra_op"
    """All cores share each operation, or each runs its own and some layers are applied to batch shards."""

    def shards(self, batch_size: int) -> int:
        """Return the number of shards of a batch: one for each core, if they are large enough."""
        if self.parallelism == "intra_op" or self.jit_compile is True:
            return 1
        return max(1, min(cores(), batch_size // MIN_SHARD_EXAMPLES))

    def __str__(self) -> str:
        compiled = {"update": ", updates compiled by XLA", True: ", compiled by XLA", False: ""}[self.jit_compile]
        products = ", products in bfloat16" if self.precision == "bfloat16" else ""
        cores = ", one core per operation" if self.parallelism == "inter_op" else ""
        return f"{self.steps_per_execution} steps per execution{compiled}{products}{cores}"


@dataclass(frozen=True)
class ExecutionChoice:
    """An execution mode, and the reason to use it."""

    execution: Execution
    reason: str

    def __str__(self) -> str:
        return f"{self.execution}: {self.reason}"

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> ExecutionChoice:
        """Return the choice of a plain mapping."""
        return cls(Execution(**plain["execution"]), plain["reason"])

    def as_dict(self) -> dict[str, Any]:
        """Return a plain mapping, for ``of``."""
        return asdict(self)


PLAIN = Execution()
"""One step per call, as it is written."""
