"""The Optuna sweeper, with runs that are only recorded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("optuna", reason="expkit[optuna] is not installed")

from expkit.errors import ConfigError, Pruned
from expkit.sweeps import optuna_study as study
from expkit.sweeps import optuna_sweeper as search
from expkit.sweeps.board import Board
from expkit.sweeps.given_overrides import GivenOverrides, parse_overrides
from expkit.sweeps.jobs import SweepJob, hash_of
from expkit.sweeps.objective import Objective
from expkit.sweeps.optuna_storage import open_storage
from expkit.sweeps.optuna_sweeper import Optuna
from expkit.sweeps.pruners import Hyperband, Median
from expkit.sweeps.samplers import CmaEs, GridSampler, Nsga2, RandomSampler, Tpe
from expkit.sweeps.space import space_of
from expkit.sweeps.sweep_folder import Child, SweepFolder
from expkit.sweeps.sweeper import PruneCheck

NOTHING = GivenOverrides(())
CLOCK = SimpleNamespace(steps=100, log_every_steps=10, evaluate_every_steps=20)


@dataclass(frozen=True)
class Written(SweepJob):
    """A job whose digest is a hash of its overrides alone."""

    @property
    def digest(self) -> str:
        return hash_of(sorted(self.overrides))


@dataclass
class Runs:
    """Stands in for a worker: ``outcome`` gives status and objective of a run from its overrides."""

    path: Path
    outcome: Callable[[dict[str, str]], tuple[str, float]]
    objectives: Sequence[Objective] = (Objective("valid/loss", "min"),)
    repeats: int = 1
    refuse: Callable[[dict[str, str]], bool] = lambda values: False
    made: list[str] = field(default_factory=list)
    """Labels of the runs that were executed."""
    counted: list[str] = field(default_factory=list)
    """Statuses of the runs of earlier commands."""
    errors: Sequence[str] = ()
    skipped: int = 0
    remark: str | None = None

    def __post_init__(self) -> None:
        self.path.mkdir(exist_ok=True)
        names = [[item.metric, item.mode] for item in self.objectives]
        self.folder.update(key="k" * 64, objective="valid/loss", objectives=names)

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(self.path)

    def replicates(self, points: Sequence[Sequence[str]]) -> list[list[SweepJob]]:
        if any(self.refuse(_values(words)) for words in points):
            raise ConfigError.at("network", "does not fit")
        config: Any = SimpleNamespace(run=SimpleNamespace(name="run"), train=CLOCK)
        seeds = [[f"seed={seed}"] for seed in range(self.repeats)] if self.repeats > 1 else [[]]
        return [
            [
                Written(
                    overrides=(*words, *seed), config=config, label=", ".join((*words, *seed)), point="", metrics=()
                )
                for seed in seeds
            ]
            for words in points
        ]

    def board(self, sweeper: Optuna, given: GivenOverrides) -> Board:
        return Board(
            folder=self.folder,
            sweeper=sweeper,
            given=given,
            points=self.replicates(sweeper.checks(given)),
            replicates=self.replicates,
            objectives=self.objectives,
        )

    def execute(self, child: Child) -> None:
        self.made.append(child.label)
        status, value = self.outcome(_values(child.job.overrides))
        child.folder.update(status=status)
        child.folder.log_metrics(100, {"valid/loss": value, "valid/accuracy": -2 * value})

    def work(self, board: Board) -> None:
        """Execute runs until none is left; an error ends it as a kill does, with the claim not given back."""
        while (child := board.take()) is not None:
            try:
                self.execute(child)
            except BaseException:
                board._claims.pop(child.name)._held.close()
                raise
            board.give_back(child)


def _values(words: Sequence[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def finished(values: dict[str, str]) -> tuple[str, float]:
    return "FINISHED", float(values["x"]) ** 2


def search_(runs: Runs, *words: str, **fields: Any) -> Runs:
    sweeper = Optuna(**{"sampler": RandomSampler(), "n_trials": 5, **fields})
    board = runs.board(sweeper, parse_overrides(words or ["x=interval(-1,1)"]))
    sweeper.begin(board)
    board.retry()
    runs.counted = [child.state().status for child in board.known().children]
    runs.work(board)
    known = board.known()
    runs.errors, runs.skipped, runs.remark = known.rejected, known.skipped, sweeper.remark(board)
    return runs


def states(runs: Runs) -> list[str]:
    import optuna

    storage = open_storage(f"sqlite:///{runs.path}/study.db")
    return [trial.state.name for trial in optuna.load_study(study_name="k" * 12, storage=storage).trials]


def test_points_are_run_one_by_one_and_their_results_stored(tmp_path: Path) -> None:
    runs = search_(Runs(tmp_path, finished))
    assert len(runs.made) == 5
    assert states(runs) == ["COMPLETE"] * 5
    settings = runs.folder.settings()
    assert settings["study"]["told"] == 5
    assert settings["study"]["name"] == "k" * 12
    assert Optuna(n_trials=5).is_complete(runs.folder, NOTHING, [])
    assert not Optuna(n_trials=6).is_complete(runs.folder, NOTHING, [])


def test_several_workers_share_the_points_and_each_run_is_executed_once(tmp_path: Path) -> None:
    made: list[str] = []
    sweeper, given = Optuna(sampler=Tpe(n_startup_trials=2), n_trials=9), parse_overrides(["x=interval(-1,1)"])
    workers = [Runs(tmp_path, finished) for _ in range(3)]
    boards = [runs.board(sweeper, given) for runs in workers]
    sweeper.begin(boards[0])
    waiting = [board.take() for board in boards]  # each has one before any has ended
    assert len({child.name for child in waiting if child is not None}) == 3
    for place in (2, 0, 1, 1, 0, 2, 0, 1, 2):  # the order in which they end
        child = waiting[place]
        assert child is not None
        workers[place].execute(child)
        made.append(child.name)
        boards[place].give_back(child)
        waiting[place] = boards[place].take()
    assert waiting == [None] * 3
    assert len(made) == len(set(made)) == 9
    assert states(workers[0]) == ["COMPLETE"] * 9


def test_a_search_resumed_with_more_points_repeats_none(tmp_path: Path) -> None:
    whole = search_(Runs(tmp_path / "whole", finished), n_trials=7)
    first = search_(Runs(tmp_path / "parts", finished), n_trials=3)
    more = search_(Runs(tmp_path / "parts", finished), n_trials=7)
    assert first.made + more.made == whole.made
    assert more.counted == ["FINISHED"] * 3
    assert search_(Runs(tmp_path / "parts", finished), n_trials=7).made == []


@pytest.mark.parametrize("stop_at", [0, 2, 4])
def test_a_killed_search_resumes_with_the_same_points(tmp_path: Path, stop_at: int) -> None:
    """The process ends in the middle of a run: its trial is open, the status in its folder is RUNNING."""

    class Killed(BaseException):
        pass

    def killed(values: dict[str, str]) -> tuple[str, float]:
        if len(runs.made) > stop_at:
            raise Killed
        return finished(values)

    whole = search_(Runs(tmp_path / "whole", finished), sampler=Tpe(n_startup_trials=2))
    runs = Runs(tmp_path / "parts", killed)
    with pytest.raises(Killed):
        search_(runs, sampler=Tpe(n_startup_trials=2))
    again = search_(Runs(tmp_path / "parts", finished), sampler=Tpe(n_startup_trials=2))
    assert runs.made[:-1] + again.made == whole.made
    assert runs.made[-1] == again.made[0]
    assert states(again) == ["COMPLETE"] * 5
    assert len(again.folder.settings()["runs"]) == 5


def test_the_result_of_a_run_that_ended_before_it_was_stored_is_stored_by_the_next_command(tmp_path: Path) -> None:
    runs = Runs(tmp_path, finished)
    tell = study.Study.tell
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.Study, "tell", lambda *given: sys.exit(9))
        with pytest.raises(SystemExit):
            search_(runs)
    assert study.Study.tell is tell
    again = search_(Runs(tmp_path, finished))
    assert len(runs.made) == 1
    assert len(again.made) == 4
    assert states(again) == ["COMPLETE"] * 5


def test_a_failed_run_is_a_result_and_is_not_run_again(tmp_path: Path) -> None:
    def outcome(values: dict[str, str]) -> tuple[str, float]:
        return ("FAILED", 0.0) if float(values["x"]) > 0 else finished(values)

    runs = search_(Runs(tmp_path, outcome), n_trials=8)
    assert set(states(runs)) == {"COMPLETE", "FAIL"}
    again = search_(Runs(tmp_path, outcome), n_trials=8)
    assert again.made == []
    assert again.counted.count("FAILED") == states(again).count("FAIL")


def test_a_run_that_was_given_up_is_resumed_by_the_next_command(tmp_path: Path) -> None:
    sweeper, runs = Optuna(sampler=RandomSampler(), n_trials=2), Runs(tmp_path, finished)
    board = runs.board(sweeper, parse_overrides(["x=interval(-1,1)"]))
    sweeper.begin(board)
    child = board.take()
    assert child is not None
    board._claims.pop(child.name)._held.close()
    board.give_up(child, "its process ended")
    runs.work(board)
    assert child.state().status == "KILLED"
    assert states(runs) == ["RUNNING", "COMPLETE"]
    assert not sweeper.is_complete(runs.folder, NOTHING, [])
    again = search_(Runs(tmp_path, finished), n_trials=2)
    assert again.made == [child.label]
    assert states(again) == ["COMPLETE"] * 2


def test_a_pruned_run_is_stored_as_pruned(tmp_path: Path) -> None:
    assert states(search_(Runs(tmp_path, lambda values: ("PRUNED", 0.1)), n_trials=2)) == ["PRUNED"] * 2


def test_a_repeated_point_is_not_run_again(tmp_path: Path) -> None:
    runs = search_(Runs(tmp_path, finished), "x=1,2", n_trials=9)
    assert sorted(runs.made) == ["x=1", "x=2"]
    assert states(runs) == ["COMPLETE"] * 9


def test_points_of_invalid_configurations_are_counted_and_do_not_end_the_search(tmp_path: Path) -> None:
    def refuse(values: dict[str, str]) -> bool:
        return values == {"x": "2", "y": "2"}  # whose ends are right one by one

    runs = search_(Runs(tmp_path, finished, refuse=refuse), "x=1,2", "y=1,2", sampler=GridSampler(), n_trials=9)
    assert runs.made == ["x=1, y=1", "x=1, y=2", "x=2, y=1"]
    assert runs.errors == ["x=2 y=2: network: does not fit"]
    assert states(runs) == ["COMPLETE"] * 3 + ["FAIL"]
    again = search_(Runs(tmp_path, finished, refuse=refuse), "x=1,2", "y=1,2", sampler=GridSampler(), n_trials=9)
    assert (again.made, again.errors) == ([], ["x=2 y=2: network: does not fit"])


def test_no_point_is_suggested_after_the_timeout(tmp_path: Path) -> None:
    def outcome(values: dict[str, str]) -> tuple[str, float]:
        if len(runs.made) == 2:
            runs.folder.update(deadline=1.0)
        return finished(values)

    runs = Runs(tmp_path, outcome)
    search_(runs, timeout=3600)
    assert len(runs.made) == 2
    assert not Optuna(n_trials=5).is_complete(runs.folder, NOTHING, [])
    assert runs.remark == "timeout of 3600 s reached with 3 points left; the same command continues"
    again = search_(Runs(tmp_path, finished))
    assert (len(again.made), again.remark) == (3, None)


def test_all_of_several_objectives_are_stored(tmp_path: Path) -> None:
    import optuna

    both = (Objective("valid/loss", "min"), Objective("valid/accuracy", "max"))
    search_(Runs(tmp_path, finished, both), sampler=Nsga2(population_size=2))
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    trials = optuna.load_study(study_name="k" * 12, storage=storage).trials
    assert [trial.values for trial in trials] == [
        [trial.params["x"] ** 2, -2 * trial.params["x"] ** 2] for trial in trials
    ]


def test_a_storage_that_is_given_holds_a_study_of_every_folder(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/all.db"
    one = search_(Runs(tmp_path / "one", finished), n_trials=2, storage=storage)
    two = search_(Runs(tmp_path / "two", finished), n_trials=2, storage=storage)
    assert one.made == two.made
    names = [runs.folder.settings()["study"]["name"] for runs in (one, two)]
    assert len(set(names)) == 2
    search_(Runs(tmp_path / "two", finished), n_trials=3, storage=storage)
    assert two.folder.settings()["study"]["name"] == names[1]
    assert not (tmp_path / "one" / "study.db").exists()


def test_a_moved_sweep_continues_and_a_copied_one_does_not_share_its_study(tmp_path: Path) -> None:
    shared = {"storage": f"sqlite:///{tmp_path}/all.db"}
    for name, fields in (("own", {}), ("shared", shared)):
        began = search_(Runs(tmp_path / name, finished), n_trials=2, **fields)
        moved = (tmp_path / name).rename(tmp_path / f"{name}_moved")
        again = search_(Runs(moved, finished), n_trials=3, **fields)
        assert (len(began.made), len(again.made)) == (2, 1)
    shutil.copytree(tmp_path / "shared_moved", tmp_path / "copy")
    with pytest.raises(ConfigError, match=rf"is the study of {tmp_path}/shared_moved; .* a copy of a sweep needs"):
        search_(Runs(tmp_path / "copy", finished), n_trials=4, **shared)
    shutil.copytree(tmp_path / "own_moved", tmp_path / "own_copy")
    assert len(search_(Runs(tmp_path / "own_copy", finished), n_trials=4).made) == 1


def test_a_named_study_is_that_of_one_search_and_keeps_what_is_another_s(tmp_path: Path) -> None:
    import optuna

    fields = {"storage": f"sqlite:///{tmp_path}/all.db", "study_name": "mine"}
    runs = search_(Runs(tmp_path / "one", finished), n_trials=2, **fields)
    runs.folder.update(key="other")
    with pytest.raises(ConfigError, match="'mine' in this storage is the study of a search with another space"):
        _begin(runs, **fields)
    theirs = optuna.create_study(storage=open_storage(fields["storage"]), study_name="theirs")
    theirs.ask()
    with pytest.raises(ConfigError, match="'theirs' in this storage is the study of another program"):
        _begin(runs, storage=fields["storage"], study_name="theirs")
    assert [trial.state.name for trial in theirs.trials] == ["RUNNING"]


def _begin(runs: Runs, **fields: Any) -> None:
    sweeper = Optuna(sampler=RandomSampler(), n_trials=5, **fields)
    sweeper.begin(runs.board(sweeper, parse_overrides(["x=interval(-1,1)"])))


def test_a_run_is_pruned_by_the_study_of_its_sweep(tmp_path: Path) -> None:
    seen: list[bool] = []

    class PrunedRuns(Runs):
        def execute(self, child: Child) -> None:
            check = sweeper.prune_check(self.folder, child.folder.path.name)
            assert check is not None
            check(20, {"valid/loss": 1.0})
            seen.append(True)
            super().execute(child)

    sweeper = Optuna(n_trials=2, pruner=Hyperband())
    runs = PrunedRuns(tmp_path, finished)
    runs.work(runs.board(sweeper, parse_overrides(["x=interval(-1,1)"])))
    assert len(seen) == 2
    stored = runs.folder.settings()["study"]
    assert (stored["first_step"], stored["last_step"]) == (20, 100)
    assert Optuna().prune_check(runs.folder, "0_run") is None


def test_the_key_of_a_search_is_that_of_its_space_and_its_sampler() -> None:
    def key(*words: str, **fields: Any) -> str:
        return Optuna(**fields).key(parse_overrides(words), [])

    one = key("x=interval(0,1)", "y=1,2", sampler=RandomSampler())
    assert key("y=1,2", "x=interval(0,1)", sampler=RandomSampler(), n_trials=99, timeout=5.0, n_jobs=4) == one
    assert key("x=interval(0,2)", "y=1,2", sampler=RandomSampler()) != one
    assert key("x=interval(0,1)", "y=1,2", sampler=RandomSampler(seed=1)) != one
    assert key("x=interval(0,1)", "y=1,2", sampler=Tpe()) != one
    assert key("x=interval(0,1)", "y=1,2", sampler=RandomSampler(), objective="test/loss") != one


def test_the_key_of_a_search_is_the_one_of_sweeps_on_disk() -> None:
    overrides = parse_overrides(["x=tag(log,interval(0.1,1))", "y=1,2", "n=range(1,9,2)"])
    key = Optuna(sampler=RandomSampler()).key(overrides, [])
    assert key == "d2821668eddde11a42dee8b301d95ea6eb7b7c5441913ce8d59829f9cbd1dae2"


def test_a_grid_has_no_more_points_than_combinations() -> None:
    overrides = parse_overrides(["x=1,2", "y=range(3)"])
    assert [Optuna(sampler=GridSampler(), n_trials=n).total(overrides, []) for n in (4, 20)] == [4, 6]
    assert Optuna(n_trials=20).total(overrides, []) == 20


def test_missing_packages_are_reported_with_their_extra() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "is_installed", lambda package: False)
        with pytest.raises(ConfigError) as caught:
            Optuna(sampler=CmaEs()).checks(parse_overrides(["x=interval(0,1)", "y=interval(0,1)"]))
    assert str(caught.value) == (
        "hydra/sweeper: 'optuna' needs optuna and cmaes, not installed: pip install 'expkit[optuna]'; "
        "without it hydra/sweeper=grid runs every combination"
    )


def test_samplers_and_pruners_report_objectives_that_they_do_not_support() -> None:
    jobs = cast(list[SweepJob], [SimpleNamespace(config=SimpleNamespace(train=CLOCK))])
    both = (Objective("valid/loss", "min"), Objective("valid/accuracy", "max"))
    for sweeper, objectives, said in (
        (
            Optuna(sampler=CmaEs(), pruner=Hyperband()),
            both,
            "hydra/sweeper/sampler: 'cmaes' takes one objective, got 2; use nsgaii, tpe, random, qmc "
            "or grid\nhydra/sweeper/pruner: 'hyperband' takes one objective, got 2; use median, asha or none",
        ),
        (
            Optuna(pruner=Hyperband()),
            [Objective("test/loss", "min")],
            "hydra/sweeper/pruner: 'hyperband' needs an objective during training, but test/loss is known only when a "
            "run has ended; give data.split.valid and an objective valid/..., or write hydra/sweeper/pruner=none",
        ),
        (
            Optuna(pruner=Median(n_warmup_steps=100)),
            both[:1],
            "hydra/sweeper/pruner: 'median' prunes nothing before step 100: runs end at step 100",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            sweeper.prepare(objectives, jobs)
        assert str(caught.value) == said


def test_a_repeated_point_is_told_its_mean(tmp_path: Path) -> None:
    import optuna

    def outcome(values: dict[str, str]) -> tuple[str, float]:
        return "FINISHED", float(values["x"]) + int(values["seed"])

    runs = search_(Runs(tmp_path, outcome, repeats=3), n_trials=4)
    assert len(runs.made) == 12
    trials = optuna.load_study(study_name="k" * 12, storage=open_storage(f"sqlite:///{tmp_path}/study.db")).trials
    assert [trial.value for trial in trials] == pytest.approx([trial.params["x"] + 1 for trial in trials])
    assert search_(Runs(tmp_path, outcome, repeats=3), n_trials=4).made == []


@pytest.mark.parametrize("stop_at", range(1, 6))
def test_a_killed_search_with_repeats_resumes_with_the_missing_repeats(tmp_path: Path, stop_at: int) -> None:
    class Killed(BaseException):
        pass

    def killed(values: dict[str, str]) -> tuple[str, float]:
        if len(runs.made) > stop_at:
            raise Killed
        return finished(values)

    whole = search_(Runs(tmp_path / "whole", finished, repeats=2), n_trials=3)
    runs = Runs(tmp_path / "parts", killed, repeats=2)
    with pytest.raises(Killed):
        search_(runs, n_trials=3)
    again = search_(Runs(tmp_path / "parts", finished, repeats=2), n_trials=3)
    assert runs.made[:-1] + again.made == whole.made
    assert states(again) == ["COMPLETE"] * 3


@pytest.mark.parametrize(("status", "told"), [("PRUNED", "PRUNED"), ("FAILED", "FAIL")])
def test_a_point_is_over_with_its_first_repeat_that_is_pruned_or_fails(tmp_path: Path, status: str, told: str) -> None:
    def outcome(values: dict[str, str]) -> tuple[str, float]:
        return status if values["seed"] == "1" else "FINISHED", 0.5

    runs = search_(Runs(tmp_path, outcome, repeats=4), n_trials=2, pruner=Median())
    assert [label.rpartition("=")[2] for label in runs.made] == ["0", "1", "0", "1"]
    assert (states(runs), runs.skipped) == ([told] * 2, 4)
    again = search_(Runs(tmp_path, outcome, repeats=4), n_trials=2, pruner=Median())
    assert (again.made, again.counted, again.skipped) == ([], ["FINISHED", status] * 2, 4)


def test_repeats_of_a_point_are_pruned_together_by_their_mean(tmp_path: Path) -> None:
    class Training(Runs):
        def execute(self, child: Child) -> None:
            check = sweeper.prune_check(self.folder, child.name)
            assert check is not None
            values = _values(child.job.overrides)
            status = "FINISHED"
            for step in (20, 40):
                loss = float(values["x"]) + 0.4 * int(values["seed"])
                child.folder.log_metrics(step, {"valid/loss": loss})
                try:
                    check(step, {"valid/loss": loss})
                except Pruned as pruned:
                    said.append(f"{child.label}: {pruned}")
                    status = "PRUNED"
                    break
            child.folder.update(status=status)

    said: list[str] = []
    sweeper = Optuna(sampler=GridSampler(), n_trials=5, pruner=Median(n_startup_trials=2))
    runs = Training(tmp_path, finished, repeats=2)
    board = runs.board(sweeper, parse_overrides(["x=1,2,1.1,1.9"]))
    sweeper.begin(board)
    runs.work(board)
    # The means of the first two are 1.2 and 2.2: 1.1 passes alone and with its second; 1.9 at once does not.
    assert said == ["x=1.9, seed=0: median: valid/loss 1.9 at step 20"]
    assert states(runs) == ["COMPLETE"] * 3 + ["PRUNED"]
    assert board.known().skipped == 1


def test_a_repeat_beside_a_pruned_one_is_pruned_at_its_next_evaluation(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    pruner = Median(n_startup_trials=1).create(0, 100)
    recorded: dict[tuple[str, int], float] = {}
    search = study.Study(
        storage,
        "s",
        [Objective("valid/loss", "min")],
        space_of(parse_overrides(["x=1,2"])),
        RandomSampler(),
    )

    def check_of(run: str) -> PruneCheck:
        check = study.prune_check(storage, "s", pruner, "valid/loss", run, lambda run, step: recorded.get((run, step)))
        assert check is not None
        return check

    def reach(run: str, step: int, loss: float) -> None:
        recorded[run, step] = loss
        checks[run](step, {"valid/loss": loss})

    first = search.ask()
    assert first is not None
    search.set_runs(first, ["a"])
    checks = {"a": check_of("a")}
    for step, loss in ((10, 1.0), (20, 0.8)):
        reach("a", step, loss)
    search.tell(first, "COMPLETE", [1.0])
    second = search.ask()
    assert second is not None
    search.set_runs(second, ["b", "c"])
    checks = {run: check_of(run) for run in ("b", "c")}
    reach("b", 10, 0.5)
    reach("c", 10, 1.4)  # alone it would be pruned; the mean is 0.95
    recorded["c", 20] = 4.0
    with pytest.raises(Pruned, match=r"valid/loss 2.25 at step 20 \(mean of 2 runs\)"):
        reach("b", 20, 0.5)
    with pytest.raises(Pruned):
        reach("c", 30, 0.1)
    assert check_of("b") is not None
    search.tell(second, "PRUNED")
    assert study.prune_check(storage, "s", pruner, "valid/loss", "b", lambda run, step: None) is None
