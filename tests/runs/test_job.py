"""One job: how it is pruned, and how it ends without its exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from expkit.config.load import load
from expkit.errors import Pruned
from expkit.export.targets.base import Exported
from expkit.export.targets.weights import WeightsTarget
from expkit.preflight import check
from expkit.run_folder import RunFolder
from expkit.runs.job import Job, Outcome, run_job
from expkit.sweeps.sweep_folder import RunState
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


def test_a_run_whose_export_is_not_proven_keeps_its_result_and_can_be_exported_when_it_is_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train.steps=20", "tracking.plots=false", "export.to=[npz]"]
    folder = RunFolder(tmp_path / "child")

    def ended() -> tuple[Outcome, Any]:
        checked = check(load([f"run.folder={tmp_path}", *words]))
        with Recorder(ForkedRecorder) as recorder:
            outcome = run_job(Job(checked=checked, folder=folder.path, overrides=(), recorder=recorder))
        return outcome, client.get_run(folder.state()["mlflow_run_id"])

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    with monkeypatch.context() as patch:
        patch.setattr(WeightsTarget, "write", not_proven)
        outcome, run = ended()
    text = (
        "export.to: npz: it differs; nothing was written; --keep-anyway writes it with this verdict; the run is "
        f"finished without it: `expkit export {folder.path} --to TARGETS` can follow"
    )
    assert (outcome.exit_code, outcome.message) == (2, text)
    assert outcome.result is not None
    assert "test/accuracy" in outcome.result.test
    shown = capsys.readouterr()
    assert shown.err.endswith(f"error: {text}\n")
    assert "test accuracy" in shown.out
    assert (folder.state()["status"], folder.state()["error"]) == ("FINISHED", text)
    assert RunState.read(folder).is_not_exported
    assert (run.info.status, run.data.tags["error"]) == ("FINISHED", text)
    assert "test/accuracy" in run.data.metrics
    assert len(run.outputs.model_outputs) == 1
    assert "frozen.pb" in [item.path for item in client.list_artifacts(run.info.run_id)]
    assert not (folder.path / "export").exists()

    outcome, run = ended()
    assert (outcome.exit_code, folder.state()["error"]) == (0, None)
    assert f"{folder.path}/export  (npz, proven)" in " ".join(capsys.readouterr().out.split("\n"))
    assert "error" not in run.data.tags
    kept = [item.path for item in client.list_artifacts(run.info.run_id, "export")]
    assert kept == ["export/export.json", "export/variables.npz"]


def not_proven(self: Any, source: Any, options: Any, into: Path, say: Any) -> Exported:
    """Write a file of a target whose proof fails."""
    (into / "half").touch()
    return Exported(target="npz", files=[into / "half"], proofs=[], problems=["it differs"])
