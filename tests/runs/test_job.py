"""One job: how it is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from expkit.config.load import load
from expkit.errors import Pruned
from expkit.preflight import check
from expkit.run_folder import RunFolder
from expkit.runs.job import Job, run_job
from expkit.tracking.recorder import Recorder
from support.forked_recorder import ForkedRecorder


def test_a_pruned_run_is_pruned_here_and_killed_with_a_tag_in_mlflow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train.steps=40", "train.log_every_steps=10", "train.evaluate_every_steps=20", "tracking.plots=false"]
    config = load([f"run.folder={tmp_path}", *words])
    seen: dict[int, Mapping[str, float]] = {}

    def prune(step: int, metrics: Mapping[str, float]) -> None:
        seen[step] = dict(metrics)
        if "valid/loss" in metrics:
            raise Pruned(f"step {step}: worse than the median")

    folder = RunFolder(tmp_path / "child")
    with Recorder(ForkedRecorder) as recorder:
        job = Job(
            checked=check(config),
            folder=folder.path,
            overrides=(),
            label="seed=1",
            recorder=recorder,
            prune_check=prune,
            quiet=True,
        )
        outcome = run_job(job)
    assert outcome.exit_code == 0
    assert capsys.readouterr() == ("", "")
    assert {step: "valid/loss" in metrics for step, metrics in seen.items()} == {10: False, 20: True}
    state = folder.state()
    assert (state["status"], state["error"]) == ("PRUNED", "step 20: worse than the median")
    run = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(state["mlflow_run_id"])
    assert (run.info.status, run.data.tags["pruned"]) == ("KILLED", "step 20: worse than the median")
    assert "error" not in run.data.tags
