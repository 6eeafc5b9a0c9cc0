"""The Optuna sweeper, with runs that are only recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("optuna")

from expkit.errors import ConfigError, Problem
from expkit.sweeps import optuna_study as study
from expkit.sweeps import optuna_sweeper as search
from expkit.sweeps.given_overrides import parse_overrides
from expkit.sweeps.jobs import SweepJob, hash_of
from expkit.sweeps.objective import Objective
from expkit.sweeps.optuna_study import open_storage
from expkit.sweeps.optuna_sweeper import Optuna
from expkit.sweeps.sweep_folder import DONE, Child, RunState, SweepFolder

CLOCK = SimpleNamespace(steps=100, log_every_steps=10, evaluate_every_steps=20)


@dataclass(frozen=True)
class Written(SweepJob):
    """A job whose digest is a hash of its overrides alone."""

    @property
    def digest(self) -> str:
        return hash_of(sorted(self.overrides))


@dataclass
class Runs:
    """Stands in for a sweep runner: ``outcome`` gives status and objective of a run from its overrides."""

    path: Path
    outcome: Callable[[dict[str, str]], tuple[str, float]]
    objectives: Sequence[Objective] = (Objective("valid/loss", "min"),)
    refuse: Callable[[dict[str, str]], bool] = lambda values: False
    batches: list[list[str]] = field(default_factory=list)
    """Labels of the runs that were executed."""
    counted: list[str] = field(default_factory=list)
    errors: list[str | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path.mkdir(exist_ok=True)
        self.folder.update(key="k" * 64, objective="valid/loss")

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(self.path)

    def jobs(self, words: Sequence[Sequence[str]]) -> list[SweepJob]:
        if any(self.refuse(_values(job)) for job in words):
            raise ConfigError(Problem("network", "does not fit"))
        config: Any = SimpleNamespace(run=SimpleNamespace(name="run"), train=CLOCK)
        return [Written(overrides=tuple(job), config=config, label=", ".join(job), metrics=()) for job in words]

    def children(self, jobs: Sequence[SweepJob]) -> list[Child]:
        return self.folder.children(list(jobs))

    def run(self, children: Sequence[Child]) -> list[RunState]:
        fresh = [child for child in children if child.state().status not in DONE]
        self.batches.append([child.label for child in fresh])
        for child in fresh:
            status, value = self.outcome(_values(child.job.overrides))
            child.folder.path.mkdir(exist_ok=True)
            child.folder.update(status=status)
            child.folder.log_metrics(100, {"valid/loss": value, "valid/accuracy": -2 * value})
        return [child.state() for child in children]

    def count(self, jobs: Sequence[SweepJob]) -> None:
        self.counted += [child.state().status for child in self.children(jobs)]

    def count_rejected(self, words: Sequence[str], error: ConfigError | None) -> None:
        self.errors.append(None if error is None else f"{' '.join(words)}: {error}")

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def made(self) -> list[str]:
        return [label for batch in self.batches for label in batch]


def _values(words: Sequence[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def finished(values: dict[str, str]) -> tuple[str, float]:
    return "FINISHED", float(values["x"]) ** 2


def search_(runs: Runs, *words: str, **fields: Any) -> Runs:
    sweeper, overrides = (
        Optuna(**{"sampler": "random", "n_trials": 5, **fields}),
        parse_overrides(words or ["x=interval(-1,1)"]),
    )
    sweeper.sweep(runs, overrides, runs.jobs(sweeper.checks(overrides)))
    return runs


def states(runs: Runs) -> list[str]:
    import optuna

    storage = open_storage(f"sqlite:///{runs.path}/study.db")
    return [trial.state.name for trial in optuna.load_study(study_name="k" * 12, storage=storage).trials]


def test_points_are_run_one_by_one_and_their_results_stored(tmp_path: Path) -> None:
    runs = search_(Runs(tmp_path, finished))
    assert [len(batch) for batch in runs.batches] == [1] * 5
    assert states(runs) == ["COMPLETE"] * 5
    settings = runs.folder.settings()
    assert settings["study"]["told"] == 5
    assert settings["study"]["name"] == "k" * 12
    assert Optuna(n_trials=5).is_complete(runs.folder, 5)
    assert not Optuna(n_trials=6).is_complete(runs.folder, 6)


def test_points_of_a_batch_are_run_together_and_the_last_batch_is_the_rest(tmp_path: Path) -> None:
    assert [len(batch) for batch in search_(Runs(tmp_path, finished), batch_size=2).batches] == [2, 2, 1]


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

    whole = search_(Runs(tmp_path / "whole", finished), sampler="tpe", startup_trials=2)
    runs = Runs(tmp_path / "parts", killed)
    with pytest.raises(Killed):
        search_(runs, sampler="tpe", startup_trials=2)
    again = search_(Runs(tmp_path / "parts", finished), sampler="tpe", startup_trials=2)
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


def test_a_run_whose_process_died_is_resumed_by_the_next_command(tmp_path: Path) -> None:
    died = search_(Runs(tmp_path, lambda values: ("KILLED", 0.0)), n_trials=2)
    assert states(died) == ["RUNNING"] * 2
    assert not Optuna(n_trials=2).is_complete(died.folder, 2)
    again = search_(Runs(tmp_path, finished), n_trials=2)
    assert again.made == died.made
    assert states(again) == ["COMPLETE"] * 2


def test_a_pruned_run_is_stored_as_pruned(tmp_path: Path) -> None:
    assert states(search_(Runs(tmp_path, lambda values: ("PRUNED", 0.1)), n_trials=2)) == ["PRUNED"] * 2


def test_a_repeated_point_is_not_run_again(tmp_path: Path) -> None:
    runs = search_(Runs(tmp_path, finished), "x=1,2", n_trials=9, batch_size=3)
    assert sorted(runs.made) == ["x=1", "x=2"]
    assert states(runs) == ["COMPLETE"] * 9


def test_points_of_invalid_configurations_are_counted_and_do_not_end_the_search(tmp_path: Path) -> None:
    def refuse(values: dict[str, str]) -> bool:
        return values == {"x": "2", "y": "2"}  # whose ends are right one by one

    runs = search_(Runs(tmp_path, finished, refuse=refuse), "x=1,2", "y=1,2", sampler="grid", n_trials=9)
    assert runs.made == ["x=1, y=1", "x=1, y=2", "x=2, y=1"]
    assert runs.errors == ["x=2 y=2: network: does not fit"]
    assert states(runs) == ["COMPLETE"] * 3 + ["FAIL"]
    again = search_(Runs(tmp_path, finished, refuse=refuse), "x=1,2", "y=1,2", sampler="grid", n_trials=9)
    assert (again.made, again.errors) == ([], [None])


def test_no_point_is_suggested_after_the_timeout(tmp_path: Path) -> None:
    clock = iter(range(0, 1000, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.time, "monotonic", lambda: float(next(clock)))
        runs = search_(Runs(tmp_path, finished), timeout=25)
    assert len(runs.made) == 2
    assert not Optuna(n_trials=5).is_complete(runs.folder, 5)
    assert runs.notes == ["timeout of 25 s reached with 3 points left; the same command continues"]
    again = search_(Runs(tmp_path, finished))
    assert (len(again.made), again.notes) == (3, [])


def test_all_of_several_objectives_are_stored(tmp_path: Path) -> None:
    import optuna

    both = (Objective("valid/loss", "min"), Objective("valid/accuracy", "max"))
    search_(Runs(tmp_path, finished, both), sampler="nsgaii", population_size=2)
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


def test_a_run_is_pruned_by_the_study_of_its_sweep(tmp_path: Path) -> None:
    seen: list[bool] = []

    class PrunedRuns(Runs):
        def run(self, children: Sequence[Child]) -> list[RunState]:
            for child in children:
                check = sweeper.prune_check(self.folder, child.folder.path.name)
                assert check is not None
                check(20, {"valid/loss": 1.0})
                seen.append(True)
            return super().run(children)

    sweeper = Optuna(n_trials=2, pruner="hyperband")
    runs = PrunedRuns(tmp_path, finished)
    overrides = parse_overrides(["x=interval(-1,1)"])
    sweeper.sweep(runs, overrides, runs.jobs(sweeper.checks(overrides)))
    assert len(seen) == 2
    pruning = {"pruner": "hyperband", "startup_trials": 5, "first_step": 20, "last_step": 100}
    assert runs.folder.settings()["study"]["pruning"] == pruning
    assert Optuna().prune_check(runs.folder, "0_run") is None


def test_the_key_of_a_search_is_that_of_its_space_and_its_sampler() -> None:
    def key(*words: str, **fields: Any) -> str:
        return Optuna(**fields).key(parse_overrides(words), [])

    one = key("x=interval(0,1)", "y=1,2", sampler="random")
    assert key("y=1,2", "x=interval(0,1)", sampler="random", n_trials=99, timeout=5.0, batch_size=4) == one
    assert key("x=interval(0,2)", "y=1,2", sampler="random") != one
    assert key("x=interval(0,1)", "y=1,2", sampler="random", seed=1) != one
    assert key("x=interval(0,1)", "y=1,2", sampler="tpe") != one
    assert key("x=interval(0,1)", "y=1,2", sampler="random", objective="test/loss") != one


def test_the_key_of_a_search_is_the_one_of_sweeps_on_disk() -> None:
    overrides = parse_overrides(["x=tag(log,interval(0.1,1))", "y=1,2", "n=range(1,9,2)"])
    key = Optuna(sampler="random").key(overrides, [])
    assert key == "07c3b93e751bace263f2446e38be62a9278514e7312fdb798c180de513d194b2"


def test_a_grid_has_no_more_points_than_combinations() -> None:
    overrides = parse_overrides(["x=1,2", "y=range(3)"])
    assert [Optuna(sampler="grid", n_trials=n).total(overrides, []) for n in (4, 20)] == [4, 6]
    assert Optuna(n_trials=20).total(overrides, []) == 20


def test_missing_packages_are_reported_with_their_extra() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "is_installed", lambda package: False)
        with pytest.raises(ConfigError) as caught:
            Optuna(sampler="cmaes").checks(parse_overrides(["x=interval(0,1)", "y=interval(0,1)"]))
    assert str(caught.value) == (
        "hydra/sweeper: 'optuna' needs optuna and cmaes, not installed: pip install 'expkit[optuna]'; "
        "without it hydra/sweeper=grid runs every combination"
    )


def test_samplers_and_pruners_report_objectives_that_they_do_not_support() -> None:
    jobs = cast(list[SweepJob], [SimpleNamespace(config=SimpleNamespace(train=CLOCK))])
    both = (Objective("valid/loss", "min"), Objective("valid/accuracy", "max"))
    for sweeper, objectives, said in (
        (
            Optuna(sampler="cmaes", pruner="median"),
            both,
            "hydra.sweeper.sampler: 'cmaes' takes one objective, got 2; use nsgaii, tpe, random "
            "or grid\nhydra.sweeper.pruner: 'median' takes one objective, got 2; write "
            "hydra.sweeper.pruner=none",
        ),
        (
            Optuna(pruner="hyperband"),
            [Objective("test/loss", "min")],
            "hydra.sweeper.pruner: 'hyperband' needs an objective during training, but test/loss is known only when a "
            "run has ended; give data.split.valid and an objective valid/..., or write hydra.sweeper.pruner=none",
        ),
        (
            Optuna(pruner="median", prune_after_steps=100),
            both[:1],
            "hydra.sweeper.prune_after_steps: prunes nothing: runs end at step 100",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            sweeper.prepare(objectives, jobs)
        assert str(caught.value) == said
