"""How steps are run: how many in one call, what XLA compiles of them, and what products are computed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PLAIN", "Compiled", "Execution", "Precision"]

Compiled = Literal["update"] | bool
"""What XLA compiles of a step: all of it, only what changes large variables, or nothing."""
Precision = Literal["float32", "bfloat16"]
"""What products and convolutions of training are computed in."""


@dataclass(frozen=True)
class Execution:
    """A way to run steps; none changes which examples a step sees or what is random in it."""

    steps_per_execution: int = 1
    """Most steps in one call of the session."""
    jit_compile: Compiled = False
    """What XLA compiles of a step."""
    precision: Precision = "float32"
    """What products and convolutions are computed in; variables and their updates are always float32."""

    def __str__(self) -> str:
        compiled = {"update": ", updates compiled by XLA", True: ", compiled by XLA", False: ""}[self.jit_compile]
        products = ", products in bfloat16" if self.precision == "bfloat16" else ""
        return f"{self.steps_per_execution} steps per execution{compiled}{products}"


PLAIN = Execution()
"""One step a call, as it is written."""
