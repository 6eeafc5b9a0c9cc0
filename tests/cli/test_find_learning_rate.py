"""The verb ``find-learning-rate``: the curve, the suggestion, and what a user may get wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from expkit.training.rate_finder import RateCurve
from support.command_line import call


def test_a_rising_rate_is_drawn_and_the_rate_of_the_steepest_descent_suggested(tmp_path: Path) -> None:
    words = (
        "find-learning-rate",
        "experiment=iris",
        "optimizer=sgd_exponential",
        "tracking=none",
        "--to",
        "10",
        "--output",
        "r.png",
    )
    first, second = call(*words, cwd=tmp_path), call(*words[:-1], "kept", cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    assert first.out == second.out.replace("see kept", "see r.png")
    lines = first.out.splitlines()
    assert lines[1] == "the rising rate replaced the schedule 'exponential'; the suggestion is for its initial rate"
    key, _, rate = lines[2].rpartition(": ")[2].partition("=")
    assert key == "optimizer.learning_rate.initial_learning_rate"
    assert 1e-3 < float(rate) < 10
    assert imread(tmp_path / "r.png").shape[0] > 100
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept", "r.png"]
    kept = {file.name: file for file in (tmp_path / "kept").iterdir()}
    assert sorted(kept) == ["config.yaml", "curve.csv", "curve.png", "suggestion.json"]
    assert kept["curve.png"].read_bytes() == (tmp_path / "r.png").read_bytes()
    with kept["curve.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["step", "learning_rate", "loss", "moving_average"]
    assert float(rows[0]["learning_rate"]) == pytest.approx(1e-6)
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    found = json.loads(kept["suggestion.json"].read_text())
    assert f"{found[key]:.2g}" == rate
    assert "sgd" in kept["config.yaml"].read_text()
    again = call(*words[:-1], "kept", cwd=tmp_path)
    assert (again.code, again.errors) == (
        2,
        ["error: --output: kept: holds files, and nothing is overwritten; give a new folder, or FILE.png"],
    )


def test_a_tracked_search_is_a_run_in_mlflow(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    done = call("find-learning-rate", "experiment=iris", "--steps", "30", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["learning-rate.png", "runs"]
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs/mlflow.db'}")
    experiments = [item.experiment_id for item in client.search_experiments()]
    (found,) = client.search_runs(experiments)
    assert (found.info.run_name, found.info.status) == ("iris, learning rates", "FINISHED")
    assert found.data.tags["mlflow.source.name"] == "expkit find-learning-rate"
    assert found.data.params["find_learning_rate.steps"] == "30"
    (folder,) = (tmp_path / "runs/find-learning-rate").glob("*/*_iris")
    names = ["config.yaml", "curve.csv", "curve.png", "suggestion.json"]
    assert sorted(item.path for item in client.list_artifacts(found.info.run_id)) == names
    assert sorted(file.name for file in folder.iterdir() if not file.name.startswith("tracking")) == names
    rows = list(csv.DictReader((folder / "curve.csv").read_text().splitlines()))
    for metric, column in (("learning_rate", "learning_rate"), ("train/loss", "loss")):
        history = client.get_metric_history(found.info.run_id, metric)
        assert [item.value for item in history] == pytest.approx([float(row[column]) for row in rows])
    (rate,) = json.loads((folder / "suggestion.json").read_text()).values()
    assert found.data.metrics["suggested_learning_rate"] == pytest.approx(rate)
    assert found.data.tags["suggestion"] == f"optimizer.learning_rate={rate:.2g}"
    assert f"`optimizer.learning_rate={rate:.2g}`" in found.data.tags["mlflow.note.content"]


def curve(losses: np.ndarray) -> RateCurve:
    return RateCurve(rates=np.geomspace(1e-4, 1, len(losses)), losses=losses, smoothed=losses, exploded=False)


def test_the_suggestion_is_where_the_loss_falls_steepest_before_its_minimum() -> None:
    x = np.linspace(-4, 0, 81)
    losses = 2 - 1 / (1 + np.exp(-8 * (x + 2))) + np.where(x > -1, 40 * (x + 1) ** 2, 0)
    assert curve(losses).suggestion == pytest.approx(1e-2)
    assert curve(np.linspace(1, 2, 81)).suggestion is None


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--from", "0"), "--from: needs a rate above 0, got 0"),
        (("--from", "nan"), "--from: needs a rate above 0, got nan"),
        (("--from", "1"), "--to: needs a rate above --from, 1, got 1"),
        (("--steps", "3"), "--steps: needs 20 to 100,000, got 3"),
        (("--output", "r.jpg"), "--output: r.jpg does not end in .png; give FILE.png, or a folder"),
        (
            ("--output", "no/r.png"),
            "--output: no/r.png: its folder does not exist; give FILE.png, or a new folder, in a folder that exists",
        ),
        (
            ("experiment=gan",),
            "train.phases: d, g have learning rates of their own, of which none can rise alone; try rates in a sweep",
        ),
    ],
)
def test_wrong_input_is_reported_and_leaves_nothing(tmp_path: Path, words: tuple[str, ...], error: str) -> None:
    done = call("find-learning-rate", *words, cwd=tmp_path)
    assert (done.code, done.err) == (2, f"error: {error}\n")
    assert not list(tmp_path.iterdir())
