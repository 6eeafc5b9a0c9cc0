"""Pruning with several objectives: a run is ended early where others dominate it at the same step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from expkit.errors import Pruned
from expkit.run_folder import RunFolder
from expkit.sweeps.objective import Objective, pareto_front

__all__ = ["dominance_check", "dominated_by", "front_of"]

Costs = tuple[float, ...]


def dominated_by(point: Costs, others: Sequence[Costs]) -> int:
    """Return the number of points that are nowhere worse than a point and somewhere better; costs are minimized."""
    return sum(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in others)


def front_of(point: Costs, others: Sequence[Costs]) -> int:
    """Return the number of points in better fronts than a point's, by non-dominated sorting (Deb et al. 2002)."""
    left = [*others, point]
    better = 0
    while True:
        front = {left[index] for index in pareto_front(left)}
        if point in front or not front:
            return better
        better += sum(item in front for item in left)
        left = [item for item in left if item not in front]


def dominance_check(
    sweep: Path,
    run: str,
    runs: Callable[[], Sequence[str]],
    objectives: Sequence[Objective],
    verdict: Callable[[int, int, Costs, Sequence[Costs]], str | None],
) -> Callable[[int, Mapping[str, float]], None]:
    """Return the check that prunes a run by all objectives.

    Args:
        sweep: the sweep's folder.
        run: name of the run's folder.
        runs: returns the names of the folders of all runs so far.
        objectives: the objectives.
        verdict: returns why a run is pruned, or ``None``, given the step, the number of runs that have ended, the
            run's costs at the step, and those of the others that have reached it.
    """

    def costs(metrics: Mapping[str, float]) -> Costs | None:
        if any(item.metric not in metrics for item in objectives):
            return None
        return tuple(item.cost(metrics) for item in objectives)

    def check(step: int, metrics: Mapping[str, float]) -> None:
        """Compare the objectives of a step.

        Raises:
            Pruned: the run is ended at this step.
        """
        if (mine := costs(metrics)) is None:
            return
        others: list[Costs] = []
        ended = 0
        for name in runs():
            folder = RunFolder(sweep / name)
            if name == run or not folder.metrics_file.is_file():
                continue
            ended += folder.state().get("status") in ("FINISHED", "PRUNED")
            point = next((item for item in folder.metrics() if item["step"] == step and costs(item)), None)
            if point is not None and (found := costs(point)) is not None:
                others.append(found)
        if (why := verdict(step, ended, mine, others)) is not None:
            raise Pruned(f"{why} at step {step}")

    return check
