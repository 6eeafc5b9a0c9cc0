"""Pruning with several objectives: a run is ended early where others dominate it at the same step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from expkit.errors import Pruned
from expkit.run_folder import RunFolder
from expkit.sweeps.objective import Objective, pareto_front

__all__ = ["Costs", "Verdict", "dominance_check", "dominated_by", "front_of"]

Costs = tuple[float, ...]
"""Objectives of a point, each to be minimized."""
Verdict = Callable[[int, int, Costs, Sequence[Costs]], str | None]
"""Reason to prune a run, or ``None``.

It is given the step, the number of points that have ended, the costs of the run's point at the step, and those of the
others that have reached it."""


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
    points: Callable[[], Sequence[Sequence[str]]],
    objectives: Sequence[Objective],
    verdict: Verdict,
) -> Callable[[int, Mapping[str, float]], None]:
    """Return the check that prunes a run by all objectives.

    A point of several runs is judged at a step by the means of those that have reached it, and pruned as a whole.

    Args:
        sweep: the sweep's folder.
        run: name of the run's folder.
        points: returns the names of the folders of the runs of each point so far.
        objectives: the objectives.
        verdict: the pruner's rule.
    """

    def costs(metrics: Mapping[str, float]) -> Costs | None:
        if any(item.metric not in metrics for item in objectives):
            return None
        return tuple(item.cost(metrics) for item in objectives)

    def reached(names: Sequence[str], step: int) -> list[Costs]:
        folders = [folder for name in names if (folder := RunFolder(sweep / name)).metrics_file.is_file()]
        found = (costs(point) for folder in folders for point in folder.metrics() if point["step"] == step)
        return [item for item in found if item is not None]

    def check(step: int, metrics: Mapping[str, float]) -> None:
        """Compare the objectives of a step.

        Raises:
            Pruned: the run is ended at this step.
        """
        if (own := costs(metrics)) is None:
            return
        mine, others, ended = [own], [], 0
        for names in points():
            statuses = [RunFolder(sweep / name).state().get("status") for name in names]
            if run in names:
                if "PRUNED" in statuses:
                    raise Pruned(f"another run of its point was pruned, at step {step}")
                mine += reached([name for name in names if name != run], step)
            else:
                ended += "PRUNED" in statuses or all(status == "FINISHED" for status in statuses)
                others += [_mean(values)] if (values := reached(names, step)) else []
        if (why := verdict(step, ended, _mean(mine), others)) is not None:
            raise Pruned(f"{why} at step {step}" + (f" (mean of {len(mine)} runs)" if len(mine) > 1 else ""))

    return check


def _mean(values: Sequence[Costs]) -> Costs:
    return tuple(sum(column) / len(values) for column in zip(*values, strict=True))
