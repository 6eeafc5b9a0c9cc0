"""Two configurations over the seeds of their sweeps: means, intervals and the paired test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from expkit.report.over_seeds import over_seeds
from expkit.run_folder import RunFolder
from support.sweeps_by_hand import curve, write_run

SCORES = {0.1: (0.90, 0.93, 0.91, 0.95), 0.01: (0.95, 0.96, 0.97, 0.98), 0.001: (0.5,)}


@pytest.fixture
def sweep(tmp_path: Path) -> dict[tuple[float, int], RunFolder]:
    """Return the runs of a sweep over a rate and four seeds, one rate with a single seed, by both."""
    runs = {}
    for rate, scores in SCORES.items():
        for seed, score in enumerate(scores):
            folder = tmp_path / "sweep" / f"{len(runs)}_made"
            write_run(folder, {"optimizer.learning_rate": rate, "run.seed": seed}, curve(0.1, score))
            runs[rate, seed] = RunFolder(folder)
    settings = {"objective": "valid/accuracy", "mode": "max", "repeat_over": ["run.seed"], "varied": []}
    listed = {run.path.name: {"label": run.path.name, "digest": run.path.name} for run in runs.values()}
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(settings | {"runs": listed}))
    return runs


def test_metrics_of_two_configurations_are_compared_over_their_seeds(sweep: dict[tuple[float, int], RunFolder]) -> None:
    found = {item.name: item for item in over_seeds(sweep[0.1, 2], sweep[0.01, 0])}
    assert sorted(found) == ["valid/accuracy", "valid/accuracy/ema"], "those of training are not"
    item = found["valid/accuracy"]
    assert (item.first.n, item.second.n) == (4, 4)
    assert (item.first.mean, item.second.mean) == pytest.approx((np.mean(SCORES[0.1]), np.mean(SCORES[0.01])))
    low, high = stats.t.interval(0.95, 3, np.mean(SCORES[0.01]), stats.sem(SCORES[0.01]))
    assert item.second.interval == pytest.approx((low, high))
    assert item.p == pytest.approx(stats.ttest_rel(SCORES[0.1], SCORES[0.01]).pvalue)


def test_a_single_run_has_no_interval_and_no_test(sweep: dict[tuple[float, int], RunFolder]) -> None:
    (item, _) = over_seeds(sweep[0.1, 0], sweep[0.001, 0])
    assert (item.second.n, item.second.interval, item.p) == (1, None, None)


def test_runs_of_one_configuration_and_runs_of_no_sweep_are_not_compared_so(
    sweep: dict[tuple[float, int], RunFolder], tmp_path: Path
) -> None:
    assert over_seeds(sweep[0.1, 0], sweep[0.1, 1]) == ()
    alone = RunFolder(write_run(tmp_path / "alone", {}, curve(0.5)))
    assert over_seeds(sweep[0.1, 0], alone) == ()
