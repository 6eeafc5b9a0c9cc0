"""Overrides of a sweep: a job of a command line is the run without ``-m``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from expkit.config.load import hydra_resolvable, validate_composed
from expkit.errors import ConfigError
from expkit.preflight import load_checked
from expkit.sweeps.given_overrides import GivenOverrides, parse_overrides
from expkit.sweeps.jobs import SweepJob, check_jobs, check_same_place
from expkit.sweeps.launcher import Launcher
from expkit.sweeps.optuna_sweeper import Optuna
from expkit.sweeps.samplers import RandomSampler
from expkit.sweeps.space import space_of
from expkit.sweeps.sweeper import Grid

pytestmark = pytest.mark.usefixtures("empty_folder")

WORDS = (
    *("optimizer=sgd", "optimizer=momentum", "optimizer={learning_rate:0.3}", "optimizer.learning_rate=0.2"),
    *("optimizer={warmup_steps:5}", "+optimizer={beta_1:0.5}", "++optimizer.warmup_steps=7", "optimizer={kind:adam}"),
    *("run.seed=1", "run.seed=2", "run={seed:3}", "run.name='x y'", "run.name=a\\,b", "run.name=n${run.seed}"),
    *("ema=none", "ema.decay=0.5", "ema={decay:0.25,num_updates:true}", "~ema.num_updates", "ema.decay=1e-3"),
    *("train={steps:7}", "train.steps=9", "train.losses={main:{kind:mean_squared_error}}", "train.steps=${run.seed}"),
    *("+train.metrics.more={kind:accuracy}", "~train.metrics.accuracy", "train.best_metric=null"),
    *("experiment=digits_cnn", "experiment=siamese", "network=digits_cnn", "network.layers.layer1.units=16"),
    *("+network.layers.layer1.trainable=false", "network.layers.layer1={units:8,activation:'tanh'}", "~experiment"),
    *("data.split={train:0.5,valid:0.2,test:0.3}", "data.split.seed=4", "restore.keep_initial=['a|b',c]"),
    *("run.name=r_${hydra:runtime.choices.optimizer}", "hydra.verbose=true", "hydra/job_logging=default"),
    *('run.name="it\'s"', "ema.variables=['.*kernel']", "+nosuch=1", "train.stepz=3", "optimizer.beta_1=${ema.decay}"),
)
LISTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)


def outcome(compute: Callable[[], Any]) -> Any:
    """Return the result, or the paths and messages of what is wrong."""
    try:
        return compute()
    except ConfigError as error:
        return [(problem.path, problem.message) for problem in error.problems]


def as_choice(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}=choice({value})"


def job(words: list[str], sweeper: Grid | Optuna) -> SweepJob:
    found = parse_overrides(words)
    (only,) = check_jobs(sweeper.checks(found), found)
    return only


@settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(words=LISTS, varied=st.sets(st.integers(0, 5), min_size=1))
def test_a_sweep_of_one_job_is_the_run_of_the_same_words(words: list[str], varied: set[int]) -> None:
    single = outcome(lambda: load_checked(words).config)
    assert outcome(lambda: job(words, Grid()).config) == single
    wrapped = [
        as_choice(word)
        if index in varied and word[0] != "~" and "hydra" not in word and not word.endswith("=null")
        else word
        for index, word in enumerate(words)
    ]
    found = outcome(lambda: parse_overrides(wrapped))
    if not isinstance(found, GivenOverrides):
        assert {message for _, message in found} == {"is varied twice; give it one choice, range or interval"}
        return
    by_grid = outcome(lambda: job(wrapped, Grid()).config)
    assert by_grid == single
    if found.varied:
        assert outcome(lambda: job(wrapped, Optuna(sampler=RandomSampler())).config) == single
    if not isinstance(single, list):
        # The composition in the process of the run.
        launcher = Launcher(wrapped, ())
        child = launcher._loader.load_sweep_config(launcher._settings, list(job(wrapped, Grid()).overrides))
        with hydra_resolvable(child):
            assert validate_composed(OmegaConf.masked_copy(child, [key for key in child if key != "hydra"])) == single


def jobs_of(*words: str, sweeper: Grid | Optuna) -> list[SweepJob]:
    found = parse_overrides(words)
    return check_jobs(sweeper.checks(found), found)


@pytest.mark.parametrize("sweeper", [Grid(), Optuna()], ids=["grid", "optuna"])
def test_a_mapping_changes_the_group_that_another_override_chooses(sweeper: Grid | Optuna) -> None:
    jobs = jobs_of("optimizer=sgd", "optimizer={learning_rate:0.3}", "run.seed=1,2", sweeper=sweeper)
    optimizers = [job.config.optimizer for job in jobs]
    assert [(item.kind, item.learning_rate.value) for item in optimizers] == [("sgd", 0.3)] * 2
    assert [job.label for job in jobs] == ["seed=1", "seed=2"]


@pytest.mark.parametrize("sweeper", [Grid(), Optuna()], ids=["grid", "optuna"])
def test_two_mappings_of_one_key_both_hold(sweeper: Grid | Optuna) -> None:
    words = ["train={steps:7,batch_size:8}", "train={batch_size:9}", "run.seed=1,2"]
    trains = [job.config.train for job in jobs_of(*words, sweeper=sweeper)]
    assert [(train.steps, train.batch_size) for train in trains] == [(7, 9)] * 2


@pytest.mark.parametrize("sweeper", [Grid(), Optuna()], ids=["grid", "optuna"])
def test_the_last_of_two_overrides_wins_wherever_one_of_them_varies(sweeper: Grid | Optuna) -> None:
    after = jobs_of("train.steps=1", "train.steps=2,3", sweeper=sweeper)
    assert [job.config.train.steps for job in after] == [2, 3]
    before = jobs_of("train.steps=2,3", "train.steps=1", sweeper=sweeper)
    assert [job.config.train.steps for job in before] == [1, 1]


@pytest.mark.parametrize("sweeper", [Grid(), Optuna()], ids=["grid", "optuna"])
def test_a_group_and_a_mapping_for_it_vary_together(sweeper: Grid | Optuna) -> None:
    jobs = jobs_of("optimizer=sgd,momentum", "optimizer={learning_rate:0.3},{learning_rate:0.4}", sweeper=sweeper)
    assert [job.label for job in jobs][:2] == [
        "optimizer=sgd, optimizer (2)={learning_rate:0.3}",
        *(["optimizer=sgd, optimizer (2)={learning_rate:0.4}"] if isinstance(sweeper, Grid) else []),
        *([] if isinstance(sweeper, Grid) else ["optimizer=momentum, optimizer (2)={learning_rate:0.3}"]),
    ]
    assert len({job.digest for job in jobs}) == len(jobs)


@pytest.mark.parametrize("sweeper", [Grid(), Optuna()], ids=["grid", "optuna"])
def test_files_of_a_group_are_found_by_pattern_in_all_folders(sweeper: Grid | Optuna, empty_folder: Path) -> None:
    for folder in ("conf", "more", "found"):
        (empty_folder / folder / "optimizer").mkdir(parents=True)
        (empty_folder / folder / "optimizer" / f"sgd_{folder}.yaml").write_text("kind: sgd\nlearning_rate: 0.1\n")
    found = parse_overrides(["optimizer=glob(sgd*)", f"hydra.searchpath=['file://{empty_folder}/found']"], ["more"])
    jobs = check_jobs(sweeper.checks(found), found)
    names = ["sgd", "sgd_conf", "sgd_exponential", "sgd_found", "sgd_more"]
    assert [job.label for job in jobs] == [f"optimizer={name}" for name in names]


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["tracking.experiment=e1,e2"], ["tracking.experiment"]),
        (
            ["tracking=none,local"],
            ["tracking.enabled", "tracking.model", "tracking.plots", "tracking.system_metrics"],
        ),
        (["tracking.experiment=e1,e2", "run.seed=1,2"], ["tracking.experiment"]),
        (["tracking.experiment=e_${run.seed}", "run.seed=1,2"], ["tracking.experiment"]),
        (["run.folder=a,b"], ["run.folder"]),
        (["tracking.uri=null,http://localhost:1"], ["tracking.uri"]),
        (["tracking={experiment:e1},{experiment:e2}"], ["tracking.experiment"]),
        (["tracking.register=m1,m2"], ["tracking.register"]),
        (["tracking.plots=true,false", "run.seed=1,2"], ["tracking.plots"]),
    ],
    ids=lambda value: " ".join(value),
)
@pytest.mark.parametrize("sweeper", [Grid(), Optuna()], ids=["grid", "optuna"])
def test_fields_that_make_no_other_run_are_not_varied(
    words: list[str], fields: list[str], sweeper: Grid | Optuna
) -> None:
    jobs = jobs_of(*words, sweeper=sweeper)
    with pytest.raises(ConfigError) as caught:
        check_same_place(jobs)
    assert sorted(problem.path for problem in caught.value.problems) == fields
    assert "between runs of the sweep (" in str(caught.value)
    assert "; give it one value" in str(caught.value)


def test_fields_that_follow_the_run_may_differ() -> None:
    words = ["+tracking.register=m_${run.seed}", "run.seed=1,2", "export.weights=raw,auto"]
    check_same_place(jobs_of(*(word.lstrip("+") for word in words), sweeper=Grid()))


def test_texts_keep_their_type_in_a_choice() -> None:
    found = parse_overrides(["x=choice('10','null',\"it's\",a,${y},1e3,str(7))"])
    assert found.alternatives(0) == ["'10'", "'null'", "'it\\'s'", "a", "$\\{y\\}", "1000.0", "'7'"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("range(0.1,0.4,0.1)", ["0.1", "0.2", "0.3"]),
        ("range(1,0,-0.25)", ["1.0", "0.75", "0.5", "0.25"]),
        ("range(2,8,3)", ["2", "5"]),
        ("range(-0.2,0.3,0.1)", ["-0.2", "-0.1", "0.0", "0.1", "0.2"]),
        ("range(0.3)", ["0.0"]),
        ("sort(range(0.1,0.5,0.1),reverse=true)", ["0.4", "0.3", "0.2", "0.1"]),
    ],
)
def test_a_range_excludes_its_stop_in_every_sweeper(words: str, values: list[str]) -> None:
    found = parse_overrides([f"x={words}"])
    assert found.alternatives(0) == values
    assert sorted(map(str, space_of(found).dimensions["x"].grid())) == sorted(values)


def test_values_are_rounded_for_people_where_that_tells_them_apart() -> None:
    found = parse_overrides(["x=0.1234512,0.1234511,0.5", "y=0.12345678,0.2", "z=interval(0.1,0.2)"])
    values = ["0.1234512", "0.1234511", "0.5", "0.12345678", "0.11111111111"]
    assert [*map(found.shown, values)] == ["0.1234512", "0.1234511", "0.5", "0.12346", "0.11111"]
