"""A sweep of eight whose process is killed three times: all runs end once, as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from support.command_line import REPOSITORY, call, run, start

RUNS = 8
WORDS = [
    "-m",
    f"run.seed=range({RUNS})",
    "train.steps=40",
    "train.log_every_steps=10",
    "train.evaluate_every_steps=10",
    "train.save_every_steps=10",
    "network.layers.layer1.units=8",
    "export=none",
    "tracking.plots=false",
]


def numbers(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Return the metrics of every run, without what a clock says, by the name of its folder."""
    lines = {file.parent.name: file.read_text().splitlines() for file in folder.glob("*/metrics.jsonl")}
    return {
        name: [{key: v for key, v in json.loads(line).items() if "per_second" not in key} for line in kept]
        for name, kept in lines.items()
    }


def finished(cwd: Path) -> int:
    states = (cwd / "runs" / "multirun").glob("*/*/*/run.json")
    return sum(json.loads(file.read_text()).get("status") == "FINISHED" for file in states)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the sweep was killed at three random moments and then came to its end."""
    cwd = tmp_path_factory.mktemp("killed")
    draw = random.Random()
    for attempt in range(3):
        process = start("train", *WORDS, cwd=cwd, PYTHONPATH=str(REPOSITORY))
        wanted = 2 * attempt + draw.randrange(3)
        while finished(cwd) < wanted and process.poll() is None:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 3 if attempt == 0 else 1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = run("train", *WORDS, cwd=cwd)
    assert (done.code, done.err) == (0, "")
    assert f"{RUNS} of {RUNS} runs finished" in done.out
    return cwd


def test_every_run_has_one_folder_with_the_numbers_of_the_sweep_that_was_not_killed(
    killed: Path, tmp_path: Path
) -> None:
    assert call("train", *WORDS, "tracking=none", cwd=tmp_path).code == 0
    (there,) = (killed / "runs" / "multirun").glob("*/*")
    (here,) = (tmp_path / "runs" / "multirun").glob("*/*")
    expected = numbers(here)
    assert len(expected) == RUNS
    assert numbers(there) == expected


def test_every_run_is_once_in_mlflow_under_one_parent(killed: Path) -> None:
    client = MlflowClient(f"sqlite:///{killed}/runs/mlflow.db")
    found: list[Any] = client.search_runs([client.get_experiment_by_name("expkit").experiment_id], max_results=1000)
    parents = [entry for entry in found if "mlflow.parentRunId" not in entry.data.tags]
    assert [(entry.info.run_name, entry.info.status) for entry in parents] == [
        ("digits_mlp sweep over seed", "FINISHED")
    ]
    nested = [entry for entry in found if entry.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(nested) == len(found) - 1 == RUNS
    assert sorted(entry.info.run_name for entry in nested) == sorted(f"seed={number}" for number in range(RUNS))
    assert {entry.info.status for entry in nested} == {"FINISHED"}
    for entry in nested:
        steps = [point.step for point in client.get_metric_history(entry.info.run_id, "valid/loss")]
        assert steps == [10, 20, 30, 40]
