"""Launchers: runs of a sweep in other processes of this machine, by joblib and by submitit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from expkit.provenance import is_installed
from support.command_line import run
from support.mlflow_server import Server

SHORT = [
    "train.steps=20",
    "train.log_every_steps=10",
    "train.save_every_steps=10",
    "export=none",
    "tracking.plots=false",
]
KIND = """
from typing import Literal
from expkit.registry import register
from expkit.kinds.metrics import Accuracy


@register
class Judged(Accuracy):
    kind: Literal["judged"] = "judged"
"""

joblib = pytest.mark.skipif(
    not is_installed("hydra_plugins.hydra_joblib_launcher"), reason="pip install 'expkit[joblib]'"
)
submitit = pytest.mark.skipif(
    not is_installed("hydra_plugins.hydra_submitit_launcher"), reason="pip install 'expkit[submitit]'"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one MLflow server that runs reach from all their processes."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        server.start()
        yield server


def nested_runs(client: Any, experiment: str = "expkit") -> tuple[Any, list[Any]]:
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    (parent,) = (entry for entry in found if "mlflow.parentRunId" not in entry.data.tags)
    children = [entry for entry in found if entry.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(found) == 1 + len(children)
    return parent, sorted(children, key=lambda entry: str(entry.info.run_name))


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(["hydra/launcher=cores"], marks=joblib),
        pytest.param(["hydra/launcher=slurm_local", "hydra.sweeper.n_jobs=2"], marks=submitit),
    ],
    ids=["cores", "slurm_local"],
)
def test_runs_in_other_processes_nest_under_one_parent_and_say_how_they_ended(
    launcher: list[str], server: Server, tmp_path: Path
) -> None:
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "mine.py").write_text(KIND)
    words = ["optimizer=sgd", "optimizer.learning_rate=0.1,1e30", *SHORT]
    words += [f"tracking.uri={server.uri}", f"tracking.experiment={tmp_path.name}"]
    words += ["plugins=[mine.py]", "train.metrics.accuracy.kind=judged"]
    done = run("train", "--config-dir", "kinds", "-m", *launcher, *words, cwd=tmp_path)
    assert done.code == 1
    assert done.errors[0].startswith("error: learning_rate=1e+30: train: the loss became ")
    assert sorted(line.partition(" (")[0] for line in done.out.splitlines()[:2]) == [
        "learning_rate=0.1",
        "learning_rate=1e+30",
    ]
    assert done.out.splitlines()[-2] == "1 of 2 runs finished, 1 failed"
    parent, children = nested_runs(server.client(), tmp_path.name)
    assert (parent.info.run_name, parent.info.status) == ("digits_mlp sweep over learning_rate", "FAILED")
    assert [(entry.info.run_name, entry.info.status) for entry in children] == [
        ("learning_rate=0.1", "FINISHED"),
        ("learning_rate=1e+30", "FAILED"),
    ]
    assert "test/accuracy" in children[0].data.metrics
    assert children[1].data.tags["error"].startswith("train: the loss became ")
    assert {entry.data.tags["expkit.sweep"] for entry in children} == {"digits_mlp sweep over learning_rate"}


DEADLY = """
import os, signal
from typing import Any, Literal
from expkit.registry import register
from expkit.kinds.metrics import Accuracy


@register
class Deadly(Accuracy):
    kind: Literal["deadly"] = "deadly"
    deadly: bool = False

    def statistics(self, **read: Any) -> Any:
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().statistics(**read)
"""


@joblib
def test_a_run_that_kills_its_process_is_killed_and_the_others_finish(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    words = ["plugins=[deadly.py]", "train.metrics.accuracy.kind=deadly", "+train.metrics.accuracy.deadly=true,false"]
    done = run("train", "-m", "hydra/launcher=cores", *words, *SHORT, cwd=tmp_path)
    assert done.code == 1
    assert done.out.splitlines()[-2] == "1 of 2 runs finished, 1 killed"
    _, children = nested_runs(MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db"))
    assert [(entry.info.run_name, entry.info.status) for entry in children] == [
        ("deadly=False", "FINISHED"),
        ("deadly=True", "KILLED"),
    ]
    assert children[1].data.tags["error"].startswith("its process ended (TerminatedWorkerError: A worker process ")
