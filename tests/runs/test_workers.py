"""``expkit sweep``: workers that join a sweep, its status, its end; heads and workers that are killed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from expkit.provenance import is_installed
from expkit.sweeps.claims import holder_of
from expkit.sweeps.sweep_folder import SweepFolder
from support.command_line import BARE, REPOSITORY, call, run, start
from support.slurm import needs_slurm, slurm

RUNS = 6
WORDS = [
    *("-m", "hydra.sweep.dir=mine", "hydra.sweeper.n_jobs=2", f"run.seed=range({RUNS})", *BARE),
    *("tracking=none", "network.layers.layer1.units=8"),
]


def statuses(folder: Path) -> list[str]:
    return [state.status for state in SweepFolder(folder).states().values()]


def executed(folder: Path) -> list[tuple[Path, int]]:
    """Return the runs that live processes execute, with the processes."""
    found = [(path.parent, holder_of(path.parent)) for path in folder.glob("*/.claim")]
    return [(path, holder.process) for path, holder in found if holder is not None and holder.alive]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two workers of which one was killed, then the head; a worker by hand executed the rest."""
    cwd = tmp_path_factory.mktemp("killed")
    head = start("train", *WORDS, cwd=cwd, PYTHONPATH=str(REPOSITORY))
    deadline = time.monotonic() + 1800

    def wait_for(count: int) -> None:
        while (cwd / "mine").is_dir() is False or statuses(cwd / "mine").count("FINISHED") < count:
            assert head.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while not executed(cwd / "mine"):
            time.sleep(0.02)

    wait_for(1)
    os.kill(executed(cwd / "mine")[0][1], signal.SIGKILL)
    wait_for(2)
    head.send_signal(signal.SIGKILL)
    head.communicate()
    while executed(cwd / "mine"):  # workers whose head is gone end after their run
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return cwd


def test_a_worker_that_is_stopped_now_interrupts_its_run_which_others_resume(killed: Path) -> None:
    sweep = SweepFolder(killed / "mine")

    def stop() -> None:
        while not executed(sweep.path):  # its graph is built after that, before the first evaluation
            time.sleep(0.02)
        sweep.stop_file.write_text("now\n")

    stopping = threading.Thread(target=stop)
    stopping.start()
    stopped = call("sweep", "work", "mine", cwd=killed)
    stopping.join()
    assert stopped.code == 143
    assert stopped.errors[-1] == f"stopped; expkit sweep stop --undo {sweep.path} lets workers go on"
    assert "KILLED" in statuses(sweep.path)
    assert executed(sweep.path) == []
    assert call("sweep", "status", "mine", cwd=killed).out.splitlines()[0].endswith("; stopped")
    assert call("sweep", "stop", "mine", "--undo", cwd=killed).code == 0


def test_a_worker_by_hand_executes_what_is_left_and_finishes_the_sweep(killed: Path) -> None:
    status = call("sweep", "status", "mine", cwd=killed)
    assert (status.code, status.err) == (0, "")
    assert status.out.splitlines()[0].endswith(f"{RUNS} runs in all; running, without the command that began it")
    done = call("sweep", "work", "mine", cwd=killed)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == f"{RUNS} of {RUNS} runs finished"
    assert statuses(killed / "mine") == ["FINISHED"] * RUNS
    assert SweepFolder(killed / "mine").settings()["status"] == "FINISHED"
    assert (killed / "mine" / "conf" / "experiment" / "best.yaml").is_file()
    for path in killed.glob("mine/*/metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert sorted({line["step"] for line in lines}) == [20, 40, 60]
        assert sum("test/loss" in line for line in lines) == 1
    again = call("train", *WORDS, cwd=killed)
    assert again.out.startswith(f"nothing to run: all {RUNS} runs are finished in ")


def test_a_finished_sweep_is_not_stopped_and_a_stopped_one_has_a_message_and_goes_on(killed: Path) -> None:
    assert call("sweep", "status", "mine", cwd=killed).out.endswith(f"{RUNS} finished, {RUNS} runs in all; finished\n")
    assert call("sweep", "stop", "mine", cwd=killed).out == "nothing to stop: the sweep is finished\n"
    SweepFolder(killed / "mine").update(status="KILLED")
    assert call("sweep", "stop", "mine", cwd=killed).out == (
        "no further run is taken; 0 being executed are completed; the same command continues\n"
    )
    assert call("sweep", "status", "mine", cwd=killed).out.splitlines()[0].endswith("; stopped")
    refused = call("sweep", "work", "mine", cwd=killed)
    assert refused.errors == [
        f"error: {killed}/mine: this sweep was stopped; continue it with expkit sweep stop --undo {killed}/mine"
    ]
    assert refused.code == 2
    assert call("sweep", "stop", "mine", "--undo", cwd=killed).code == 0
    assert not (killed / "mine" / "stop").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": {"expkit": "0.0.1"}}, "expkit is "),
        ({"key": "other"}, "its configuration has changed since the sweep began; undo that, or begin another sweep"),
        ({"overrides": ["a.uri=http://***@host"]}, "the secret in a.uri=http://***@host is not kept in files; repeat "),
        ({"working_folder": "/no/such"}, "its working folder /no/such cannot be entered here (No such file or "),
    ],
    ids=["version", "configuration", "secret", "folder"],
)
def test_a_worker_that_does_not_fit_is_refused(change: dict[str, object], message: str, killed: Path) -> None:
    file = killed / "mine" / "sweep.json"
    before = file.read_text()
    try:
        file.write_text(json.dumps({**json.loads(before), **change}))
        done = call("sweep", "work", "mine", cwd=killed)
    finally:
        file.write_text(before)
    assert done.code == 2
    assert done.errors[0].startswith(f"error: {killed}/mine: {message}")


def test_other_code_is_refused(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expkit.runs.sweep_plan.code_digest", lambda files: "other")
    done = call("sweep", "work", "mine", cwd=killed)
    assert (done.code, done.errors) == (
        2,
        [
            f"error: {killed}/mine: the code of expkit or of a plugin differs; runs of one sweep need the same: repeat "
            "the sweep's command, or use its version"
        ],
    )


def test_a_folder_without_a_sweep_is_reported(tmp_path: Path) -> None:
    for action in ("work", "status", "stop"):
        done = call("sweep", action, "nosuch", cwd=tmp_path)
        assert done.code == 2
        assert done.errors == ["error: nosuch: no sweep: a folder with sweep.json, which expkit train -m writes"]


@pytest.mark.parametrize(
    "change",
    [{"runs": 3}, {"runs": {"../elsewhere": {"label": "x", "digest": "y"}}}, {"runs": {"0_a": {}}}, {"key": None}],
    ids=lambda change: json.dumps(change),
)
def test_a_file_that_was_written_by_another_hand_is_no_sweep(change: dict[str, object], tmp_path: Path) -> None:
    settings = {"key": "k", "name": "n", "total": 1, "runs": {"0_a": {"label": "a", "digest": "d"}}} | change
    (tmp_path / "sweep.json").write_text(json.dumps({key: value for key, value in settings.items() if value}))
    for action in ("work", "status", "stop"):
        done = call("sweep", action, ".", cwd=tmp_path)
        assert done.errors == ["error: .: no sweep: a folder with sweep.json, which expkit train -m writes"]


@needs_slurm
def test_workers_are_an_array_of_slurm(tmp_path: Path) -> None:
    words = ["-m", "hydra.sweep.dir=mine", "run.seed=range(3)", *BARE, "tracking=none"]
    assert call("train", *words, cwd=tmp_path).code == 0
    mine = tmp_path / "mine"
    for name in ("1_digits_mlp", "2_digits_mlp"):  # as if the command had been killed before they began
        shutil.rmtree(mine / name)
    SweepFolder(mine).update(status="RUNNING")
    with TemporaryDirectory(prefix="slurm-") as folder, slurm(Path(folder)):
        worker = shlex.join([sys.executable, "-m", "expkit", "sweep", "work", str(mine)])
        words = ["--wait", "--array=0-1", f"--output={tmp_path}/%a.txt", f"--wrap={worker}"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run(["sbatch", *words], cwd=tmp_path, env=environment, check=True)
    told = [(tmp_path / f"{number}.txt").read_text() for number in range(2)]
    assert sum(int(text.partition(" runs executed here")[0].split()[-1]) for text in told) == 2
    assert sum("3 of 3 runs finished" in text for text in told) == 1
    assert statuses(mine) == ["FINISHED"] * 3
    assert SweepFolder(mine).settings()["status"] == "FINISHED"


@pytest.mark.skipif(not is_installed("ray"), reason="pip install 'expkit[ray]'")
def test_workers_are_tasks_of_ray(tmp_path: Path) -> None:
    words = ["-m", "hydra/launcher=ray", "hydra.launcher.workers=2", "run.seed=range(3)", *BARE, "tracking=none"]
    done = run("train", *words, "hydra.sweep.dir=mine", cwd=tmp_path)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "3 of 3 runs finished"


@pytest.mark.skipif(is_installed("ray"), reason="ray is installed")
def test_ray_is_reported_with_its_extra(tmp_path: Path) -> None:
    done = call("train", "-m", "hydra/launcher=ray", "run.seed=1,2", cwd=tmp_path)
    assert (done.code, done.errors) == (
        2,
        ["error: hydra/launcher: 'ray' needs ray, which is not installed: pip install 'expkit[ray]'"],
    )
