"""How steps are run: how many in one call, and whether XLA compiles them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PLAIN", "Execution"]


@dataclass(frozen=True)
class Execution:
    """A way to run steps; none changes which examples a step sees or what is random in it."""

    steps_per_execution: int = 1
    """Most steps in one call of the session."""
    jit_compile: bool = False
    """Whether XLA compiles the step."""

    def __str__(self) -> str:
        compiled = ", compiled by XLA" if self.jit_compile else ""
        return f"{self.steps_per_execution} steps per execution{compiled}"


PLAIN = Execution()
"""One step a call, as it is written."""
