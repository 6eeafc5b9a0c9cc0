"""A study: suggestions, results, resuming, pruning."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="expkit[optuna] is not installed")

from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from expkit.errors import ConfigError, Pruned
from expkit.sweeps.given_overrides import parse_overrides
from expkit.sweeps.objective import Mode, Objective
from expkit.sweeps.optuna_storage import open_storage
from expkit.sweeps.optuna_study import Study, Trial, prune_check
from expkit.sweeps.pruners import Asha, Hyperband, Median, NoPruner, Pruner
from expkit.sweeps.samplers import CmaEs, GridSampler, Nsga2, Qmc, RandomSampler, Tpe
from expkit.sweeps.space import Value, space_of
from support.postgresql import needs_postgresql, server

WORDS = ["x=interval(-1,1)", "y=tag(log,interval(0.01,1))", "c=a,b", "n=range(1,10,2)", "f=range(0.1,0.5,0.1)"]
SAMPLERS = {
    "random": RandomSampler(),
    "grid": GridSampler(),
    "tpe": Tpe(n_startup_trials=3),
    "cmaes": CmaEs(popsize=4),
    "nsgaii": Nsga2(population_size=4),
    "qmc": Qmc(),
}


def unrecorded(run: str, step: int) -> None:
    """Return that a run has recorded nothing."""


def study_of(
    storage: BaseStorage,
    sampler: str = "random",
    words: Sequence[str] = WORDS,
    modes: Sequence[Mode] = ("min",),
    seed: int = 0,
) -> Study:
    objectives = [Objective(f"valid/{index}", mode) for index, mode in enumerate(modes)]
    kind = SAMPLERS[sampler].model_copy(update={"seed": seed})
    return Study(storage, "one", objectives, space_of(parse_overrides(words)), kind)


def cost(values: Mapping[str, Any]) -> float:
    return float(values["x"] ** 2 + abs(values["n"] - 5) + (values["c"] == "a") + values["f"] + values["y"])


def go_on(study: Study, until: int, *, second: bool = False) -> list[dict[str, Value]]:
    """Ask and tell until there are so many points; return all."""
    while len(study.trials()) < until and (trial := study.ask()) is not None:
        study.tell(trial, "COMPLETE", [cost(trial.values), *([-trial.values["x"]] if second else [])])
    return [dict(trial.values) for trial in study.trials()]


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "nsgaii", "qmc"])
def test_a_resumed_study_suggests_the_points_of_an_uninterrupted_one(sampler: str) -> None:
    modes: list[Mode] = ["min", "min"] if sampler == "nsgaii" else ["min"]
    second = sampler == "nsgaii"
    whole = go_on(study_of(InMemoryStorage(), sampler, modes=modes), 14, second=second)
    storage = InMemoryStorage()
    for until in (2, 9, 14):
        stopped = go_on(study_of(storage, sampler, modes=modes), until, second=second)
    assert stopped == whole
    assert len({str(point) for point in whole}) > 10
    other = go_on(study_of(InMemoryStorage(), sampler, modes=modes, seed=1), 3, second=second)
    assert other != whole[:3]


def test_a_sampler_learns_from_results() -> None:
    words = ["x=interval(-1,1)", "y=interval(-1,1)"]
    for sampler in ("tpe", "cmaes"):
        study = study_of(InMemoryStorage(), sampler, words)
        while len(study.trials()) < 40:
            trial = study.ask()
            assert trial is not None
            study.tell(trial, "COMPLETE", [float(trial.values["x"] ** 2 + trial.values["y"] ** 2)])
        far = [math.hypot(trial.values["x"], trial.values["y"]) for trial in study.trials()]
        assert sum(far[-10:]) < 0.7 * sum(far[:10])


def test_quasi_random_points_fill_every_part_of_the_space_alike() -> None:
    words = ["x=interval(-1,1)", "y=tag(log,interval(0.01,1))", "n=range(0,8)", "c=a,b,c,d", "i=int(interval(1,8))"]
    values = [point.values for point in study_points("qmc", words, 64)]
    for part in (
        [int(4 * (point["x"] + 1)) for point in values],
        [int(4 * (math.log10(point["y"]) + 2)) for point in values],
        [point["n"] for point in values],
        [point["i"] - 1 for point in values],
    ):
        assert sorted(part) == sorted([*range(8)] * 8)
    assert sorted(point["c"] for point in values) == sorted("abcd" * 16)
    assert len({(point["n"], point["c"]) for point in values}) == 32  # every pair, which random points miss


def study_points(sampler: str, words: Sequence[str], count: int) -> list[Any]:
    """Return the first points that a study suggests, without a result."""
    study = study_of(InMemoryStorage(), sampler, words)
    return [study.ask() for _ in range(count)]


def test_the_order_of_the_command_line_changes_no_point() -> None:
    assert go_on(study_of(InMemoryStorage()), 3) == go_on(study_of(InMemoryStorage(), words=WORDS[::-1]), 3)


def test_a_grid_asks_for_every_point_once_and_ends(tmp_path: Path) -> None:
    words = ["a=x,y", "f=range(0.1,0.4,0.1)", "n=range(2)"]
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    seen: list[dict[str, Value]] = []
    for _ in range(2):  # the second goes on in the middle
        study = study_of(storage, "grid", words)
        while len(study.trials()) < 7 + 100 * bool(seen) and (trial := study.ask()) is not None:
            study.tell(trial, "COMPLETE", [0.0])
        seen = [dict(trial.values) for trial in study.trials()]
    assert seen == list(space_of(parse_overrides(words)).grid())
    assert {point["f"] for point in seen} == {0.1, 0.2, 0.3}


def test_trials_without_a_result_are_found_again_with_their_runs(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    study = study_of(storage)
    asked = [study.ask() for _ in range(3)]
    assert all(asked)
    first, second, third = (trial for trial in asked if trial is not None)
    study.set_runs(first, ["0_run"])
    study.tell(first, "COMPLETE", [1.0])
    study.set_runs(second, ["1_run"])
    again = study_of(open_storage.__wrapped__(f"sqlite:///{tmp_path}/study.db"))
    assert again.trials() == [
        Trial(number=0, values=first.values, state="COMPLETE", runs=("0_run",)),
        Trial(number=1, values=second.values, state="RUNNING", runs=("1_run",)),
        Trial(number=2, values=third.values, state="RUNNING", runs=()),
    ]
    assert again.ended == 1


def test_a_half_suggested_trial_is_marked_as_failed_and_does_not_count() -> None:
    storage = InMemoryStorage()
    study = study_of(storage)
    whole = study.ask()
    study._study.ask()  # as if killed before a value was chosen
    again = study_of(storage)
    again.drop_unfinished()
    assert again.trials() == [whole]
    assert [trial.state for trial in again._study.trials] == [TrialState.RUNNING, TrialState.FAIL]


def test_objectives_that_are_not_finite_are_failures() -> None:
    study = study_of(InMemoryStorage())
    for value in (math.nan, math.inf, 0.5):
        trial = study.ask()
        assert trial is not None
        study.tell(trial, "COMPLETE", [value])
    assert [trial.state for trial in study.trials()] == ["FAIL", "FAIL", "COMPLETE"]


# Pruning


def started(storage: BaseStorage, pruner: BasePruner, study: Study) -> tuple[Trial, Callable[[int, float], None]]:
    trial = study.ask()
    assert trial is not None
    study.set_runs(trial, [f"{trial.number}_run"])
    check = prune_check(storage, "one", pruner, "valid/loss", f"{trial.number}_run", unrecorded)
    assert check is not None
    return trial, lambda step, value: check(step, {"train/loss": 9.0, "valid/loss": value})


def test_a_run_that_is_worse_than_the_median_is_pruned(tmp_path: Path) -> None:
    storage, pruner = (
        open_storage(f"sqlite:///{tmp_path}/study.db"),
        Median(n_startup_trials=2).create(40, 100),
    )
    study = study_of(storage)
    for value in (0.1, 0.2):
        trial, check = started(storage, pruner, study)
        for step in (20, 40):
            check(step, value)
        study.tell(trial, "COMPLETE", [value])
    trial, check = started(storage, pruner, study)
    check(20, 0.5)
    with pytest.raises(Pruned) as caught:
        check(40, 0.4)
    assert str(caught.value) == "median: valid/loss 0.4 at step 40"
    study.tell(trial, "PRUNED")
    assert [trial.state for trial in study.trials()] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert study._study.trials[2].intermediate_values == {20: 0.5, 40: 0.4}


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a database in a new server."""
    with server() as port:
        yield f"postgresql+psycopg://user@127.0.0.1:{port}/postgres"


@pytest.mark.parametrize("kind", ["journal", pytest.param("postgresql", marks=needs_postgresql)])
def test_asha_decides_by_the_runs_that_have_come_as_far_in_whatever_process_they_are(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"journal:///{tmp_path}/study.log" if kind == "journal" else request.getfixturevalue(kind)
    storages = []
    for _ in range(3):  # three processes, each of which opens the storage for itself
        open_storage.cache_clear()
        storages.append(open_storage(url))
    study = study_of(storages[0])
    pruner = Asha(reduction_factor=3).create(10, 90)
    draw = random.Random(3)
    reached: dict[int, list[float]] = {10: [], 30: [], 90: []}
    running: list[tuple[float, Iterator[int], Callable[[int, Mapping[str, float]], None]]] = []
    begun, results = 0, []
    while begun < 12 or running:
        while len(running) < 3 and begun < 12:
            trial = study.ask()
            assert trial is not None
            study.set_runs(trial, [f"{begun}_run"])
            check = prune_check(storages[begun % 3], "one", pruner, "valid/loss", f"{begun}_run", unrecorded)
            assert check is not None
            running.append((draw.random(), iter(range(10, 91, 10)), check))
            begun += 1
        place = draw.randrange(len(running))  # run times differ
        value, steps, check = running[place]
        if (step := next(steps, None)) is None:
            results.append((value, 90))
            del running[place]
            continue
        kept = True
        if step in reached:
            reached[step].append(value)
            kept = value <= sorted(reached[step])[max(len(reached[step]) // 3, 1) - 1]
        try:
            check(step, {"valid/loss": value})
        except Pruned:
            assert not kept
            results.append((value, step))
            del running[place]
        else:
            assert kept
    assert min(results)[1] == 90  # the best is complete
    assert sum(step < 90 for _, step in results) >= 6


def test_a_run_is_compared_at_each_rung_once_also_when_it_is_resumed() -> None:
    storage, pruner = InMemoryStorage(), Asha(reduction_factor=2).create(10, 40)
    study = study_of(storage)
    _, slow = started(storage, pruner, study)
    slow(10, 0.5)
    for value in (0.4, 0.3, 0.2):
        _, fast = started(storage, pruner, study)
        fast(10, value)
    slow(15, 0.5)  # behind all others at the first rung, which it had passed before they came
    resumed = prune_check(storage, "one", pruner, "valid/loss", "0_run", unrecorded)
    assert resumed is not None
    resumed(17, {"valid/loss": 0.5})
    fast(20, 0.2)
    with pytest.raises(Pruned, match=r"asha: valid/loss 0\.5 at step 20"):
        resumed(20, {"valid/loss": 0.5})


def test_hyperband_ends_the_worst_of_many_runs() -> None:
    storage, pruner = InMemoryStorage(), Hyperband().create(10, 90)
    study = study_of(storage)
    for place in range(12):
        trial, check = started(storage, pruner, study)
        try:
            for step in range(10, 91, 10):
                check(step, float(place))  # every run is worse than those before
            study.tell(trial, "COMPLETE", [float(place)])
        except Pruned:
            study.tell(trial, "PRUNED")
    states = [trial.state for trial in study.trials()]
    assert states[0] == "COMPLETE"
    assert states.count("PRUNED") >= 4


def test_a_run_without_an_open_trial_is_not_pruned() -> None:
    storage = InMemoryStorage()
    study_of(storage)
    assert (
        prune_check(
            storage,
            "one",
            Median().create(0, 1),
            "valid/loss",
            "0_run",
            unrecorded,
        )
        is None
    )


def test_metrics_of_steps_without_an_evaluation_are_not_reported() -> None:
    storage, pruner = InMemoryStorage(), Median(n_startup_trials=0).create(0, 1)
    study = study_of(storage)
    trial = study.ask()
    assert trial is not None
    study.set_runs(trial, ["0_run"])
    check = prune_check(storage, "one", pruner, "valid/loss", "0_run", unrecorded)
    assert check is not None
    check(1, {"train/loss": 1.0})
    assert study._study.trials[0].intermediate_values == {}


@pytest.mark.parametrize(
    ("pruner", "name"),
    [(NoPruner(), "Nop"), (Median(), "Median"), (Asha(), "SuccessiveHalving"), (Hyperband(), "Hyperband")],
)
def test_every_pruner_can_be_created(pruner: Pruner, name: str) -> None:
    assert type(pruner.create(pruner.first_step(1), 10)).__name__ == f"{name}Pruner"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (
            "sqlite:////nosuch/study.db",
            "sqlite:////nosuch/study.db cannot be opened ((sqlite3.OperationalError) unable",
        ),
        ("nonsense", "nonsense cannot be opened (Could not parse SQLAlchemy URL from given URL string); correct it"),
        ("postgresql://me:secret@nohost/db", "postgresql://***@nohost/db cannot be opened ("),
    ],
)
def test_a_storage_that_cannot_be_opened_is_reported_without_its_password(url: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage(url)
    assert str(caught.value).startswith(f"hydra.sweeper.storage: {why}")
    assert str(caught.value).endswith("or omit it: the study is then stored in the sweep's folder")


@pytest.mark.parametrize("content", ["garbage\n", '{"a": 1}\n', "[1]\n", "\x00garbage"])
def test_a_file_that_is_no_journal_is_reported_before_it_is_written(content: str, tmp_path: Path) -> None:
    file = tmp_path / "study.log"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        open_storage(f"journal:///{file}")
    assert str(caught.value).startswith(
        f"hydra.sweeper.storage: journal:///{file} cannot be opened (the file is no journal of Optuna); correct it"
    )
    assert file.read_text() == content
