"""Replicates: seeds and folds that a sweep runs without comparing them."""

from __future__ import annotations

from functools import partial

import pytest

from expkit.errors import ConfigError
from expkit.sweeps.given_overrides import parse_overrides
from expkit.sweeps.jobs import SweepJob, check_jobs
from expkit.sweeps.replicates import Replication, replication_of
from expkit.sweeps.sweeper import Grid

pytestmark = pytest.mark.usefixtures("empty_folder")

RATES = "optimizer.learning_rate=0.1,0.01"


def replicated(*words: str, repeats: int = 1, over: tuple[str, ...] = ()) -> tuple[Replication, list[list[SweepJob]]]:
    replication = replication_of(parse_overrides(words), repeats, over)
    check = partial(check_jobs, given=replication.points)
    return replication, replication.jobs(Grid().checks(replication.points), check)


def labels(jobs: list[list[SweepJob]]) -> list[list[str]]:
    return [[job.label for job in point] for point in jobs]


def test_repeats_of_a_point_have_consecutive_seeds_and_one_configuration() -> None:
    _, jobs = replicated(RATES, "run.seed=7", repeats=3)
    assert labels(jobs) == [[f"learning_rate={rate}, seed={seed}" for seed in (7, 8, 9)] for rate in (0.1, 0.01)]
    assert [[job.config.run.seed for job in point] for point in jobs] == [[7, 8, 9]] * 2
    assert [job.overrides for job in jobs[0]] == [
        ("optimizer.learning_rate=0.1", "run.seed=7", f"run.seed={seed}") for seed in (7, 8, 9)
    ]
    assert [{job.point for job in point} for point in jobs] == [{"learning_rate=0.1"}, {"learning_rate=0.01"}]
    assert len({job.digest for point in jobs for job in point}) == 6
    assert [len({job.configuration for job in point}) for point in jobs] == [1, 1]
    assert jobs[0][0].configuration != jobs[1][0].configuration


def test_repeats_beside_another_seed_are_told_apart() -> None:
    _, jobs = replicated("data.split.seed=3,4", repeats=2)
    assert labels(jobs) == [[f"split.seed={split}, run.seed={seed}" for split in (3, 4) for seed in (0, 1)]]


def test_the_first_repeat_is_the_run_without_repeats_so_that_repeats_can_be_added() -> None:
    _, once = replicated(RATES)
    _, twice = replicated(RATES, repeats=2)
    assert [point[0].digest for point in once] == [point[0].digest for point in twice]
    assert Grid().key(parse_overrides([RATES]), [job for point in once for job in point]) == Grid().key(
        parse_overrides([RATES]), [point[0] for point in twice]
    )


def test_seeds_that_vary_are_replicates_wherever_they_stand() -> None:
    replication, jobs = replicated("run.seed=range(2)", RATES, "data.split.seed=5,6")
    assert replication.count == 4
    assert [list(replication.points.varied.values()), len(jobs)] == [["optimizer.learning_rate"], 2]
    assert labels(jobs)[0] == [
        f"learning_rate=0.1, run.seed={run}, split.seed={split}" for run in (0, 1) for split in (5, 6)
    ]
    assert len({job.configuration for job in jobs[1]}) == 1
    assert [job.replicate for job in jobs[0]] == [job.replicate for job in jobs[1]]
    assert len({job.replicate for job in jobs[0]}) == 4


def test_a_sweep_of_seeds_alone_is_one_configuration() -> None:
    _, jobs = replicated("run.seed=1,2,3")
    assert labels(jobs) == [["seed=1", "seed=2", "seed=3"]]
    assert {job.point for job in jobs[0]} == {"digits_mlp"}


def test_other_keys_and_groups_are_replicates_on_request() -> None:
    _, jobs = replicated("train.batch_size=16,32", RATES, over=("train.batch_size",))
    assert [len({job.configuration for job in point}) for point in jobs] == [1, 1]
    replication, jobs = replicated("ema=none,default", RATES, repeats=2, over=("ema",))
    assert replication.count == 4
    assert [len({job.configuration for job in point}) for point in jobs] == [1, 1]


def test_fields_that_follow_a_seed_are_no_difference_of_configurations() -> None:
    replication, jobs = replicated(RATES, "data.split.seed=${run.seed}", "run.name=n${run.seed}", repeats=2)
    following = replication.following(jobs)
    assert following.keys == ("run.seed", "data.split.seed", "run.name")
    check = partial(check_jobs, given=replication.points)
    again = following.jobs(
        [["optimizer.learning_rate=0.1", *(str(item.input_line) for item in replication.points.items[1:])]], check
    )
    assert len({job.configuration for job in again[0]}) == 1


@pytest.mark.parametrize(
    ("words", "repeats", "over", "said"),
    [
        (
            ["run.seed=1,2", RATES],
            5,
            (),
            "hydra.sweeper.repeats: 5 repeats take 5 seeds from run.seed on, but run.seed varies in this sweep; omit "
            "repeats, or give run.seed one value",
        ),
        (
            ["run={seed:1},{seed:2}"],
            2,
            (),
            "hydra.sweeper.repeats: 2 repeats take 2 seeds from run.seed on, but run.seed varies in this sweep; omit "
            "repeats, or give run.seed one value",
        ),
        (
            [RATES],
            2,
            ("optimizer.lerning_rate",),
            "hydra.sweeper.repeat_over: 'optimizer.lerning_rate' does not vary in this sweep; did you mean "
            "'optimizer.learning_rate'? write KEY=A,B or omit it; these vary: optimizer.learning_rate",
        ),
        (
            ["run.seed=int(interval(0,9))"],
            1,
            (),
            "run.seed: is a replicate, of which every value is run, and an interval has infinitely many; write "
            "range(START,STOP) or A,B, or for seeds hydra.sweeper.repeats=5",
        ),
        (["run.seed=range(0,0)", RATES], 1, (), "run.seed: has no values, so the sweep is empty; give it some"),
        (
            ["run.seed=2147483646"],
            3,
            (),
            "run.seed: must be less than 2147483648 (allowed: >= 0 and < 2147483648), got 2147483648 (job 1 of 2: "
            "run.seed=2147483646 run.seed=2147483648)",
        ),
    ],
)
def test_replicates_that_cannot_be_are_refused(
    words: list[str], repeats: int, over: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        replicated(*words, repeats=repeats, over=over)
    assert str(caught.value) == said
