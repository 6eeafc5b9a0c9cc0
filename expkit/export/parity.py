"""Parity: the proof that the frozen graph computes the numbers of the evaluation graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import ExportError, Problem
from expkit.export.freeze import read_frozen

__all__ = ["Difference", "Outputs", "check_parity", "meta_graph_outputs"]

Outputs = Mapping[str, np.ndarray]
Pair = tuple[Outputs, Outputs]


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference between two computations of the same batch, with its limit."""

    name: str
    maximum: float
    allowed: float | None
    """The limit; ``None`` for the control, which must differ."""

    def as_dict(self) -> dict[str, Any]:
        """Return a plain mapping."""
        return asdict(self)


def check_parity(
    computed: Mapping[str, Pair], rewritten: Pair, control: Pair | None, tolerance: float, *, note: str = ""
) -> list[Difference]:
    """Return the table of differences.

    Args:
        computed: pairs of outputs that must agree, by name: of the evaluation graph and of another graph, each run as
            it is written.
        rewritten: outputs of the evaluation graph, and of the frozen graph in an ordinary session, which folds
            constants and fuses operations: rounding grows with the numbers, so the tolerance is multiplied by the
            largest output.
        control: a pair of which outputs of floats must differ (EMA and raw weights); ``None`` if there is none.
        tolerance: the largest difference allowed.
        note: words after each name.

    Raises:
        ExportError: a pair differs by more, or the control does not differ.
    """
    scale = max(1.0, *(float(np.max(np.abs(array), initial=0.0)) for array in rewritten[0].values()))
    table = [Difference(f"{name}{note}", _largest(*pair), tolerance) for name, pair in computed.items()]
    table.append(Difference(f"frozen file in an ordinary session{note}", _largest(*rewritten), tolerance * scale))
    problems = [
        Problem(
            "export",
            f"{item.name} differs from the evaluation graph by {item.maximum:.3g}, "
            f"allowed by export.tolerance: {item.allowed:.3g}; nothing was written",
        )
        for item in table
        if item.allowed is not None and not item.maximum <= item.allowed
    ]
    if control is not None and any(_is_float(array) for array in control[0].values()):
        first = {name: array for name, array in control[0].items() if _is_float(array)}
        table.append(Difference(f"control: raw weights{note}", _largest(first, control[1]), None))
        if table[-1].maximum == 0:
            problems.append(
                Problem(
                    "export",
                    "the control failed: raw weights give the same numbers as EMA; nothing was written",
                )
            )
    if problems:
        raise ExportError(*problems)
    return table


def meta_graph_outputs(
    prefix: Path,
    outputs: Sequence[str],
    inputs: Mapping[str, np.ndarray],
    allowed: Collection[str] = (),
    batch_size: int | None = None,
) -> Outputs:
    """Return the outputs of a checkpoint's inference graph, as the ``.meta`` file beside it holds it.

    Args:
        prefix: of the checkpoint, which has a ``.meta`` file.
        outputs: names to fetch.
        inputs: a batch, by name.
        allowed: operations to allow besides those known to be pure.
        batch_size: examples computed at once.
    """
    graph = read_frozen(Path(f"{prefix}.meta"), fetch=outputs, allowed=allowed)
    return graph.predict(inputs, batch_size=batch_size)


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind not in "iub"


def _largest(first: Outputs, second: Outputs) -> float:
    with np.errstate(invalid="ignore"):  # Infinity minus infinity is NaN, which is no agreement.
        differences = [np.abs(first[name].astype(np.float64) - second[name].astype(np.float64)) for name in first]
    largest = float(np.max([np.max(difference, initial=0.0) for difference in differences]))
    return largest if np.isfinite(largest) else float("inf")
