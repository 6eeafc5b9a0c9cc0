"""Execution of a sweep: runs given to the launcher, processes that die."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from expkit.errors import RunError
from expkit.preflight import load_checked
from expkit.run_folder import locked
from expkit.sweeps.jobs import SweepJob
from expkit.sweeps.objective import Objective
from expkit.sweeps.progress import LineDisplay, LiveDisplay, Progress, progress_table, tally
from expkit.sweeps.runner import SweepRunner
from expkit.sweeps.sweep_folder import Child, RunState, SweepFolder, find_sweep

LOSS = Objective("valid/loss", "min")


def job_of(word: str) -> SweepJob:
    config = load_checked([word, "run.seed=0"]).config
    return SweepJob(overrides=(word,), config=config, label=word, point=word, metrics=())


def job(seed: int) -> SweepJob:
    words = (f"run.seed={seed}",)
    config = load_checked(words).config
    return SweepJob(
        overrides=words, config=config, label=f"seed={seed}", point=f"seed={seed}", metrics=(), replicated=()
    )


def leave(child: Child, status: str, **values: float) -> None:
    """Write the files of a run's process."""
    child.folder.path.mkdir(parents=True, exist_ok=True)
    child.folder.update(status=status, error="too hot" if status == "FAILED" else None)
    if values:
        child.folder.log_metrics(10, {name.replace("_", "/"): value for name, value in values.items()})


class Launcher:
    """Stands in for a launcher: every launch calls a function, and is recorded."""

    def __init__(self, act: Callable[[Child, int], None], waits_for_all: bool = True) -> None:
        self.act = act
        self.waits_for_all = waits_for_all
        self.in_this_process = False
        self.launched: list[list[str]] = []

    def launch(self, children: Sequence[Child], sweep: SweepFolder, task: Any) -> None:
        self.launched.append([child.label for child in children])
        for child in children:
            self.act(child, len(children))


class Made:
    """A sweep in a folder, with its output and the runs that died."""

    def __init__(self, path: Path, launcher: Launcher, total: int) -> None:
        self.out = io.StringIO()
        self.died: list[tuple[str, str]] = []
        self.folder = SweepFolder(path)
        path.mkdir(exist_ok=True)
        console = Console(file=self.out, width=200)
        self.progress = Progress(total, [LOSS], lambda: LineDisplay(console))
        self.sweep = SweepRunner(
            self.folder,
            launcher,  # type: ignore[arg-type]
            lambda config: None,
            self.progress,
            lambda points: [],
            self._died,
        )

    def run(self, *seeds: int) -> list[RunState]:
        return self.sweep.run(self.sweep.children([job(seed) for seed in seeds]))

    def _died(self, child: Child, why: str) -> None:
        self.died.append((child.label, why))
        child.folder.update(status="KILLED", error=why)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def _make(launcher: Launcher, total: int = 3) -> Made:
        made.append(Made(tmp_path / "sweep", launcher, total))
        return made[-1]

    yield _make
    for each in made:
        each.progress.close()


def test_runs_are_reported_as_they_end_and_the_best_is_known(
    make: Callable[..., Made], capsys: pytest.CaptureFixture[str]
) -> None:
    ends = {"seed=0": ("FINISHED", 0.5), "seed=1": ("FAILED", 0.1), "seed=2": ("FINISHED", 0.25)}
    launcher = Launcher(lambda child, _: leave(child, ends[child.label][0], valid_loss=ends[child.label][1]))
    made = make(launcher)
    assert [state.status for state in made.run(0, 1, 2)] == ["FINISHED", "FAILED", "FINISHED"]
    assert launcher.launched == [["seed=0", "seed=1", "seed=2"]]
    assert [line.partition(" (")[0] for line in made.out.getvalue().splitlines()] == ["seed=0", "seed=1", "seed=2"]
    assert made.out.getvalue().splitlines()[2] == "seed=2 (3 of 3): finished, valid/loss 0.2500"
    assert capsys.readouterr().err == "error: seed=1: too hot\n"
    assert [(child.label, state.values["valid/loss"]) for child, state in made.progress.best] == [("seed=2", 0.25)]
    assert tally(made.progress.counts, 3) == "2 of 3 runs finished, 1 failed"
    assert made.progress.seconds_left == 0


def test_in_this_process_runs_are_launched_one_at_a_time(make: Callable[..., Made]) -> None:
    launcher = Launcher(lambda child, _: leave(child, "FINISHED"))
    launcher.in_this_process = True
    make(launcher).run(0, 1)
    assert launcher.launched == [["seed=0"], ["seed=1"]]


def test_finished_and_pruned_runs_are_not_launched_again(make: Callable[..., Made]) -> None:
    ends = iter(["FINISHED", "PRUNED", "FAILED"])
    first = make(Launcher(lambda child, _: leave(child, next(ends))))
    first.run(0, 1, 2)
    again = Launcher(lambda child, _: leave(child, "FINISHED"))
    second = make(again)
    assert [state.status for state in second.run(2, 1, 0)] == ["FINISHED", "PRUNED", "FINISHED"]
    assert again.launched == [["seed=2"]]
    assert [line.partition(":")[0] for line in second.out.getvalue().splitlines()] == ["seed=2 (3 of 3)"]


def test_the_run_that_dies_is_found_and_the_others_end(make: Callable[..., Made]) -> None:
    def act(child: Child, together: int) -> None:
        leave(child, "RUNNING")
        if child.label == "seed=1":
            raise RuntimeError("a worker died")
        if together == 1:
            leave(child, "FINISHED")

    launcher = Launcher(act)
    made = make(launcher)
    assert [state.status for state in made.run(0, 1, 2)] == ["FINISHED", "KILLED", "FINISHED"]
    assert launcher.launched == [["seed=0", "seed=1", "seed=2"], ["seed=0"], ["seed=1"], ["seed=2"]]
    assert made.died == [("seed=1", "its process ended (RuntimeError: a worker died)")]
    assert (made.folder.path / "launcher.log").read_text().count("RuntimeError: a worker died") == 2


def test_a_run_that_an_earlier_process_is_executing_is_waited_for(make: Callable[..., Made]) -> None:
    launcher = Launcher(lambda child, _: leave(child, "FINISHED"))
    made = make(launcher)
    (child,) = made.sweep.children([job(0)])
    leave(child, "RUNNING")
    held, told = threading.Event(), threading.Event()

    def other() -> None:
        with locked(child.folder.path):
            held.set()
            told.wait()
            leave(child, "FINISHED")

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    note = made.progress.note
    made.progress.note = lambda text: (note(text), told.set())  # type: ignore[method-assign,return-value]
    assert [state.status for state in made.run(0, 1)] == ["FINISHED", "FINISHED"]
    thread.join()
    assert launcher.launched == [["seed=1"]]
    assert made.out.getvalue().splitlines()[0] == (
        "waiting for processes of an earlier command of this sweep, which execute seed=0"
    )


def test_a_launcher_that_starts_nothing_ends_the_sweep(make: Callable[..., Made]) -> None:
    def act(child: Child, together: int) -> None:
        raise OSError("no queue")

    made = make(Launcher(act))
    with pytest.raises(RunError) as caught:
        made.run(0, 1)
    assert str(caught.value) == (
        "hydra/launcher: ended before 2 of 2 runs started (OSError: no queue); "
        f"see {made.folder.path}/launcher.log; when the running ones have ended, "
        "the same command runs the missing ones"
    )


def test_a_queue_that_fails_leaves_its_runs_alone(make: Callable[..., Made]) -> None:
    def act(child: Child, together: int) -> None:
        leave(child, "RUNNING")
        raise OSError("timed out")

    made = make(Launcher(act, waits_for_all=False))
    with pytest.raises(RunError, match="ended before 1 of 2 runs started"):
        made.run(0, 1)
    assert made.died == []


def test_running_runs_are_killed_with_the_sweep(make: Callable[..., Made]) -> None:
    def act(child: Child, together: int) -> None:
        leave(child, "RUNNING")
        raise KeyboardInterrupt

    made = make(Launcher(act))
    with pytest.raises(KeyboardInterrupt):
        made.run(0, 1)
    assert made.died == [("seed=0", "the sweep was stopped")]


def test_the_table_shows_what_runs_what_ended_and_the_best(make: Callable[..., Made]) -> None:
    made = make(Launcher(lambda child, _: leave(child, "FINISHED", valid_loss=0.5)), total=4)
    made.run(0)
    (running, failed) = made.sweep.children([job(1), job(2)])
    leave(running, "RUNNING", valid_loss=0.75)
    leave(failed, "FAILED")
    made.progress.add([running, failed], done=True)
    out = io.StringIO()
    Console(file=out, width=120).print(progress_table(made.progress))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert lines[:2] == ["run steps valid/loss", "seed=1 10 of 2,000 0.7500"]
    assert lines[2].startswith("2 of 4 done 1 running 1 failed best 0.5000 (seed=0) 0:00:0")
    assert lines[2].endswith(" left")


def test_a_terminal_has_one_table_and_a_line_for_every_end(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    progress = Progress(1, [LOSS], lambda: LiveDisplay(console))
    folder = SweepFolder(tmp_path)
    child = folder.child(job(0))
    progress.add([child], done=False)
    leave(child, "FINISHED", valid_loss=0.5)
    progress.close()
    assert "seed=0: finished, valid/loss 0.5000" in out.getvalue()
    assert "1 of 1 done" in out.getvalue()


# The folder


def test_a_sweep_is_found_again_by_its_key_the_newest_first(tmp_path: Path) -> None:
    for name, key in (("10-00-00_a", "x"), ("11-00-00_a", "x"), ("12-00-00_a", "y")):
        path = tmp_path / "multirun" / "2026-01-01" / name
        path.mkdir(parents=True)
        SweepFolder(path).update(key=key)
    found = find_sweep(tmp_path, "x")
    assert found is not None
    assert found.path.name == "11-00-00_a"
    assert find_sweep(tmp_path, "z") is None


def test_runs_are_identified_by_their_digest_not_by_their_order(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    first = folder.children([job(0), job(1)])
    again = folder.children([job(1), job(2), job(0)])
    assert [child.folder.path.name for child in first] == ["0_digits_mlp", "1_digits_mlp"]
    assert [child.number for child in again] == [1, 2, 0]
    runs = json.loads(folder.file.read_text())["runs"]
    assert {name: run["label"] for name, run in runs.items()} == {
        "0_digits_mlp": "seed=0",
        "1_digits_mlp": "seed=1",
        "2_digits_mlp": "seed=2",
    }


@pytest.mark.parametrize("word", ["export.weights=raw", "train.steps=5", "optimizer.learning_rate=0.5"])
def test_changed_numbers_or_exports_make_another_run(word: str) -> None:
    other = job_of(word)
    assert other.digest != job(0).digest


@pytest.mark.parametrize("word", ["run.folder=elsewhere", "tracking=none"])
def test_folders_and_tracking_make_no_other_run(word: str) -> None:
    assert job_of(word).digest == job(0).digest
