"""Execution of a sweep: runs given to the launcher, processes that die."""

from __future__ import annotations

import io
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from expkit.errors import RunError
from expkit.preflight import load_checked
from expkit.sweeps.board import Board
from expkit.sweeps.claims import MAX_DEATHS
from expkit.sweeps.given_overrides import GivenOverrides
from expkit.sweeps.jobs import SweepJob
from expkit.sweeps.objective import Objective
from expkit.sweeps.progress import LineDisplay, LiveDisplay, Progress, progress_table, tally
from expkit.sweeps.runner import SweepRunner
from expkit.sweeps.sweep_folder import Child, SweepFolder, find_sweep
from expkit.sweeps.sweeper import Grid

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
    """Stands in for a launcher: every run calls a function, in this process or as if in others."""

    def __init__(self, act: Callable[[Child], None], in_this_process: bool = True) -> None:
        self.act = act
        self.in_this_process = in_this_process
        self.waits_for_all = True
        self.launched: list[str] = []
        self.workers: list[int] = []

    def launch(self, child: Child, sweep: SweepFolder, task: Any) -> None:
        self.launched.append(child.label)
        self.act(child)

    def launch_workers(self, count: int, job: SweepJob, sweep: SweepFolder, task: Callable[[], None]) -> None:
        self.workers.append(count)
        task()


class Made:
    """A sweep in a folder, with its output and the runs that died."""

    def __init__(self, path: Path, launcher: Launcher, seeds: Sequence[int]) -> None:
        self.out = io.StringIO()
        self.died: list[tuple[str, str]] = []
        path.mkdir(exist_ok=True)
        self.folder = SweepFolder(path)
        console = Console(file=self.out, width=200)
        self.progress = Progress(len(seeds), [LOSS], lambda: LineDisplay(console))
        self.launcher = launcher
        self.seeds = seeds
        self.board = self._board()
        self.sweep = SweepRunner(
            board=self.board,
            launcher=launcher,
            task=lambda config: None,
            worker=self._worker,
            overrides=[],
            progress=self.progress,
            on_death=self._died,
        )

    def _board(self) -> Board:
        jobs = [[job(seed)] for seed in self.seeds]
        given = GivenOverrides(())
        return Board(
            folder=self.folder,
            sweeper=Grid(),
            given=given,
            points=jobs,
            replicates=lambda points: [],
            objectives=[LOSS],
        )

    def _worker(self, only: str | None) -> Callable[[], None]:
        def work() -> None:
            board = self._board()
            board.only = only
            while (child := board.take()) is not None:
                try:
                    self.launcher.launch(child, self.folder, None)
                except BaseException:
                    die(board, child)
                    raise
                board.give_back(child)

        return work

    def run(self, slots: int = 1) -> list[str]:
        self.sweep.run(slots)
        return [child.state().status for child in self.board.known().children]

    def _died(self, child: Child, why: str) -> None:
        self.died.append((child.label, why))
        child.folder.update(status="KILLED", error=why)


def die(board: Board, child: Child, process: int = 2**30) -> None:
    """Leave a claim as a process does that dies: unlocked, in its name; by default one that there is not."""
    claim = board._claims.pop(child.name)
    claim._stop.set()
    claim._held.close()
    path = child.folder.path / ".claim"
    path.write_text(json.dumps({**json.loads(path.read_text()), "process": process}))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def _make(launcher: Launcher, *seeds: int) -> Made:
        made.append(Made(tmp_path / "sweep", launcher, seeds))
        return made[-1]

    yield _make
    for each in made:
        each.progress.close()


def test_runs_are_reported_as_they_end_and_the_best_is_known(
    make: Callable[..., Made], capsys: pytest.CaptureFixture[str]
) -> None:
    ends = {"seed=0": ("FINISHED", 0.5), "seed=1": ("FAILED", 0.1), "seed=2": ("FINISHED", 0.25)}
    made = make(Launcher(lambda child: leave(child, ends[child.label][0], valid_loss=ends[child.label][1])), 0, 1, 2)
    assert made.run() == ["FINISHED", "FAILED", "FINISHED"]
    assert made.launcher.launched == ["seed=0", "seed=1", "seed=2"]
    assert [line.partition(" (")[0] for line in made.out.getvalue().splitlines()] == ["seed=0", "seed=1", "seed=2"]
    assert made.out.getvalue().splitlines()[2] == "seed=2 (3 of 3): finished, valid/loss 0.2500"
    assert capsys.readouterr().err == "error: seed=1: too hot\n"
    assert [(child.label, state.values["valid/loss"]) for child, state in made.progress.best] == [("seed=2", 0.25)]
    assert tally(made.progress.counts, 3) == "2 of 3 runs finished, 1 failed"
    assert made.progress.seconds_left == 0


def test_finished_and_pruned_runs_are_not_launched_again(make: Callable[..., Made]) -> None:
    ends = iter(["FINISHED", "PRUNED", "FAILED"])
    make(Launcher(lambda child: leave(child, next(ends))), 0, 1, 2).run()
    second = make(Launcher(lambda child: leave(child, "FINISHED")), 2, 1, 0)
    assert second.run() == ["FINISHED", "PRUNED", "FINISHED"]
    assert second.launcher.launched == ["seed=2"]
    assert [line.partition(":")[0] for line in second.out.getvalue().splitlines()] == ["seed=2 (3 of 3)"]


def test_the_run_that_dies_is_found_and_the_others_end(make: Callable[..., Made]) -> None:
    def act(child: Child) -> None:
        leave(child, "RUNNING")
        if child.label == "seed=1":
            raise RuntimeError("a worker died")
        leave(child, "FINISHED")

    made = make(Launcher(act, in_this_process=False), 0, 1, 2)
    assert made.run(2) == ["FINISHED", "KILLED", "FINISHED"]
    assert made.launcher.launched == ["seed=0", "seed=1", "seed=1", "seed=2"]
    assert made.launcher.workers == [2, 1, 2]
    assert made.died == [("seed=1", "its process ended (RuntimeError: a worker died)")]
    assert (made.folder.path / "launcher.log").read_text().count("RuntimeError: a worker died") == 2


def test_a_run_that_kills_every_worker_is_given_up_after_three(make: Callable[..., Made]) -> None:
    made = make(Launcher(lambda child: None), 0, 1)
    for _ in range(MAX_DEATHS):
        child = made.board.take()
        assert child is not None
        assert child.label == "seed=0"
        leave(child, "RUNNING")
        die(made.board, child)
    other = made.board.take()
    assert other is not None
    assert other.label == "seed=1"
    (first, _) = made.board.known().children
    assert (first.state().status, first.state().error) == ("KILLED", "its process died 3 times")
    made.board.retry()
    assert made._board().take() is not None


def test_a_run_that_another_worker_executes_is_waited_for(make: Callable[..., Made]) -> None:
    made = make(Launcher(lambda child: leave(child, "FINISHED")), 0, 1)
    board = made._board()
    child = board.take()
    assert child is not None
    leave(child, "RUNNING")
    told = threading.Event()

    def other() -> None:
        told.wait()
        leave(child, "FINISHED")
        board.give_back(child)

    thread = threading.Thread(target=other)
    thread.start()
    note = made.progress.note
    made.progress.note = lambda text: (note(text), told.set())
    assert made.run() == ["FINISHED", "FINISHED"]
    thread.join()
    assert made.launcher.launched == ["seed=1"]
    assert "waiting for other workers, which execute seed=0" in made.out.getvalue().splitlines()


def test_a_launcher_that_starts_nothing_ends_the_sweep(make: Callable[..., Made]) -> None:
    def act(child: Child) -> None:
        raise OSError("no queue")

    made = make(Launcher(act), 0, 1)
    with pytest.raises(RunError) as caught:
        made.run()
    assert str(caught.value) == (
        "hydra/launcher: ended before seed=0 started (OSError: no queue); "
        f"see {made.folder.path}/launcher.log; the same command runs the missing ones"
    )
    made = make(Launcher(act, in_this_process=False), 0, 1)
    with pytest.raises(RunError, match=r"no worker could be executed \(OSError: no queue\)"):
        made.run(2)


def test_running_runs_are_killed_with_the_sweep(make: Callable[..., Made]) -> None:
    def act(child: Child) -> None:
        leave(child, "RUNNING")
        raise KeyboardInterrupt

    made = make(Launcher(act, in_this_process=False), 0, 1)
    with pytest.raises(KeyboardInterrupt):
        made.run(2)
    assert made.died == [("seed=0", "the sweep was stopped")]


def test_a_stopped_sweep_gives_no_run(make: Callable[..., Made]) -> None:
    made = make(Launcher(lambda child: None), 0)
    made.folder.stop_file.write_text("")
    assert made.board.take() is None
    assert not made.folder.stops_now
    made.folder.stop_file.write_text("now\n")
    assert made.folder.stops_now


def test_workers_that_a_stop_has_interrupted_end_the_sweep_as_an_interruption(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(Launcher(lambda child: None), 0)
    (made.folder.path / "launcher.log").touch()
    command = ["sh", "-c", "read line; exit 143"]
    monkeypatch.setattr(made.sweep, "_start", lambda: subprocess.Popen(command, stdin=subprocess.PIPE))
    with pytest.raises(RunError, match="a worker failed"):
        made.run(2)
    made.folder.stop_file.write_text("now\n")
    with pytest.raises(SystemExit, match="143"):
        made.run(2)


def test_a_worker_that_a_library_ends_is_replaced_like_one_that_was_killed(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(Launcher(lambda child: None), 0)
    codes = ["7", "1", "0"]
    started: list[int] = []

    def start() -> subprocess.Popen[bytes]:
        command = ["sh", "-c", f"read line; exit {codes[len(started)]}"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        started.append(process.pid)
        if len(started) == 2:  # the second leaves its run behind
            child = made.board.take()
            assert child is not None
            die(made.board, child, process.pid)
        return process

    monkeypatch.setattr(made.sweep, "_start", start)
    made.sweep._local(1)
    assert len(started) == 3


def test_settings_that_several_processes_write_are_all_kept(tmp_path: Path) -> None:
    folders = [SweepFolder(tmp_path) for _ in range(8)]
    threads = [threading.Thread(target=folder.update, kwargs={f"k{at}": at}) for at, folder in enumerate(folders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders[0].settings() == {f"k{at}": at for at in range(8)}


def test_the_table_shows_what_runs_what_ended_and_the_best(make: Callable[..., Made]) -> None:
    made = make(Launcher(lambda child: leave(child, "FINISHED", valid_loss=0.5)), 0)
    made.run()
    made.progress.skipped = -3
    (running, failed) = made.folder.children([job(1), job(2)])
    leave(running, "RUNNING", valid_loss=0.75)
    running.folder.update(steps=2000)
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
