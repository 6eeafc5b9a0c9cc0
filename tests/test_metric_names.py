"""Names of losses and metrics: those of expkit itself and those that MLflow does not accept are refused at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit.errors import ConfigError
from expkit.metric_names import EMA, LOSS, RATES, allowed_loss_name, allowed_metric_name, loss_names
from expkit.preflight import check
from expkit.recorded import metric_names
from support.command_line import call
from support.experiments import config_of
from support.trainings import small, train

METRIC = {"kind": "accuracy"}
CROSS_ENTROPY = {"kind": "sparse_softmax_cross_entropy"}
OWN = (
    "because expkit records other values under it; not allowed are loss, learning_rate, steps_per_second, ema, "
    "loss/..., learning_rate/... and .../ema; choose another name"
)
PARTS = "no part between / may be empty, . or .."
ALLOWED = "allowed: letters, digits, / _ . : - and space"


def refused(folder: Path, losses: tuple[str, ...] = ("main",), metrics: tuple[str, ...] = ()) -> list[str]:
    named = {"losses": dict.fromkeys(losses, CROSS_ENTROPY), "metrics": dict.fromkeys(metrics, METRIC)}
    with pytest.raises(ConfigError) as caught:
        config_of(folder, train=named)
    return [str(problem) for problem in caught.value.problems]


def test_every_name_that_expkit_records_itself_is_refused_in_one_message(tmp_path: Path) -> None:
    own = (LOSS, *RATES, "ema", "accuracy/ema", "loss/main", "learning_rate/g")
    expected = [f"train.metrics.{name}: '{name}' is not allowed, {OWN}" for name in own]
    assert refused(tmp_path, metrics=own) == expected


@pytest.mark.parametrize("name", ["ema", "main/ema"])
def test_a_loss_whose_name_would_be_that_of_an_ema_is_refused(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path, losses=(name, "other")) == [
        f"train.losses.{name}: '{name}' is not allowed, because loss/ema is recorded of the EMA network; not allowed "
        "are ema and .../ema; choose another name"
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("acc@1, top %", f"'@' is not allowed in 'acc@1, top %'; {ALLOWED}"),
        ("f1(macro)", f"'(' is not allowed in 'f1(macro)'; {ALLOWED}"),
        ("a\\b", f"'\\\\' is not allowed in 'a\\b'; {ALLOWED}"),
        ("a//b", f"'a//b' is not a name for MLflow: {PARTS}"),
        ("/a", f"'/a' is not a name for MLflow: {PARTS}"),
        ("a/", f"'a/' is not a name for MLflow: {PARTS}"),
        ("..", f"'..' is not a name for MLflow: {PARTS}"),
        ("a/./b", f"'a/./b' is not a name for MLflow: {PARTS}"),
        ("", f"'' is not a name for MLflow: {PARTS}"),
        ("x" * 201, "a name has at most 200 characters, this one has 201"),
    ],
)
def test_a_name_that_mlflow_does_not_accept_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    assert refused(tmp_path, losses=(name, "other"), metrics=(name,)) == [
        f"train.losses.{name}: {problem}",
        f"train.metrics.{name}: {problem}",
    ]


@pytest.mark.parametrize("verb", ["check", "train"])
def test_it_is_said_on_the_command_line_before_anything_is_written(empty_folder: Path, verb: str) -> None:
    locked = call("names", "--lock", cwd=empty_folder).code
    before = sorted(empty_folder.rglob("*"))
    done = call(verb, "+train.metrics.loss={kind: accuracy}", cwd=empty_folder)
    assert (locked, done.code) == (0, 2)
    assert done.errors == [f"error: train.metrics.loss: 'loss' is not allowed, {OWN}"]
    assert sorted(empty_folder.rglob("*")) == before


def test_a_run_records_exactly_the_names_that_are_known_before_it(tmp_path: Path) -> None:
    named = {
        "losses": dict.fromkeys(("one", "two/three"), CROSS_ENTROPY),
        "metrics": dict.fromkeys(("top 1", "emas", "loss_2", "acc: sum/a.b"), METRIC),
    }
    config = small(tmp_path, **named)
    recorded = {name for _, values in train(config, tmp_path / "checkpoints").records for name in values}
    known = {name for name in metric_names(config, bool(check(config).ema_names)) if not name.startswith("test/")}
    assert recorded == known | {f"train/{name}" for name in RATES}


names = st.lists(st.sampled_from([LOSS, EMA, *RATES, "a", "b", "/", ".", "..", "@", "é", "x" * 99]), max_size=4).map(
    "".join
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(losses=st.sets(names, min_size=2, max_size=4), metrics=st.sets(names, max_size=5))
def test_names_that_are_accepted_are_recorded_apart_and_accepted_by_mlflow(losses: set[str], metrics: set[str]) -> None:
    from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name, _validate_param_name

    losses = {name for name in losses if accepted(allowed_loss_name, name)}
    metrics = {name for name in metrics if accepted(allowed_metric_name, name)}
    recorded = [
        f"train/{name}{end}"
        for name in chain([LOSS], loss_names(sorted(losses)).values(), metrics)
        for end in ("", f"/{EMA}")
    ]
    assert len({*recorded, *(f"train/{name}" for name in RATES)}) == len(recorded) + len(RATES)
    for name in recorded:
        _validate_metric_name(name)
    for name in (f"train.losses.{name}.label_smoothing" for name in losses):
        _validate_param_name(name)
        assert len(name) <= MAX_ENTITY_KEY_LENGTH


def accepted(check_name: Callable[[str], str], name: str) -> bool:
    try:
        return check_name(name) == name
    except ValueError:
        return False
