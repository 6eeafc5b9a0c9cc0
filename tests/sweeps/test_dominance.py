"""Pruning with several objectives: dominance, fronts, and runs that fall behind in all of them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from expkit.errors import Pruned
from expkit.run_folder import RunFolder
from expkit.sweeps.dominance import dominance_check, dominated_by, front_of
from expkit.sweeps.objective import Objective
from expkit.sweeps.pruners import Asha, Hyperband, Median, Pruner

BOTH = (Objective("valid/loss", "min"), Objective("valid/accuracy", "max"))


def test_dominance_and_fronts_of_points() -> None:
    others = [(1.0, 4.0), (2.0, 2.0), (4.0, 1.0), (3.0, 3.0)]
    assert [dominated_by(point, others) for point in [(2.0, 2.0), (3.0, 3.0), (5.0, 5.0), (0.0, 9.0)]] == [0, 1, 4, 0]
    assert [front_of(point, others) for point in [(2.0, 2.0), (3.0, 3.0), (5.0, 5.0), (0.0, 9.0)]] == [0, 3, 4, 0]


def test_fronts_are_those_of_optuna() -> None:
    optuna = pytest.importorskip("optuna", reason="expkit[optuna] is not installed")
    from optuna.study._multi_objective import _fast_non_domination_rank

    draw = random.Random(0)
    points = [(float(draw.randrange(6)), float(draw.randrange(6)), float(draw.randrange(6))) for _ in range(40)]
    ranks = _fast_non_domination_rank(np.array(points))
    for index, point in enumerate(points):
        others = [*points[:index], *points[index + 1 :]]
        assert front_of(point, others) == int((ranks < ranks[index]).sum())
    assert optuna.__version__


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        (Median(n_startup_trials=2), "median: dominated by 3 of 4 others at step 10"),
        (Asha(reduction_factor=2), "asha: 3 of 4 others are in better fronts at step 10"),
    ],
)
def test_a_run_that_others_dominate_is_pruned_and_one_of_the_front_is_not(
    pruner: Pruner, message: str, tmp_path: Path
) -> None:
    values = {"a": (0.1, 0.5), "b": (0.2, 0.9), "c": (0.2, 0.8), "d": (0.9, 0.1)}
    for name, (loss, accuracy) in values.items():
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).update(status="FINISHED")
        RunFolder(tmp_path / name).log_metrics(10, {"valid/loss": loss, "valid/accuracy": accuracy})

    def reach(loss: float, accuracy: float) -> None:
        verdict = pruner.dominated(10)
        assert verdict is not None
        check = dominance_check(tmp_path, "mine", lambda: [[name] for name in (*values, "mine")], BOTH, verdict)
        check(5, {"train/loss": 9.0})  # no evaluation
        check(10, {"valid/loss": loss, "valid/accuracy": accuracy})

    reach(0.05, 0.2)
    reach(0.6, 0.95)
    with pytest.raises(Pruned) as caught:
        reach(0.5, 0.4)
    assert str(caught.value) == message


def test_points_of_several_runs_are_compared_by_their_means_and_pruned_as_a_whole(tmp_path: Path) -> None:
    points = {"a": [(0.1, 0.9), (0.3, 0.7)], "b": [(0.2, 0.9), (0.2, 0.5)], "mine": [(0.1, 0.95)]}
    for name, values in points.items():
        for index, (loss, accuracy) in enumerate(values):
            folder = tmp_path / f"{name}{index}"
            folder.mkdir()
            RunFolder(folder).update(status="FINISHED")
            RunFolder(folder).log_metrics(10, {"valid/loss": loss, "valid/accuracy": accuracy})
    names = [["a0", "a1"], ["b0", "b1"], ["mine0", "mine1"]]
    verdict = Median(n_startup_trials=2).dominated(0)
    check = dominance_check(tmp_path, "mine1", lambda: names, BOTH, verdict)
    check(10, {"valid/loss": 0.2, "valid/accuracy": 0.7})  # mean (0.15, 0.825): of the front, though alone it is not
    with pytest.raises(Pruned) as caught:
        check(10, {"valid/loss": 0.5, "valid/accuracy": 0.2})  # mean (0.3, 0.575), behind a (0.2, 0.8), b (0.2, 0.7)
    assert str(caught.value) == "median: dominated by 2 of 2 others at step 10 (mean of 2 runs)"
    RunFolder(tmp_path / "mine0").update(status="PRUNED")
    with pytest.raises(Pruned, match="another run of its point was pruned, at step 10"):
        check(10, {"valid/loss": 0.0, "valid/accuracy": 1.0})


def test_hyperband_has_no_rule_for_several_objectives() -> None:
    assert Hyperband().dominated(10) is None
