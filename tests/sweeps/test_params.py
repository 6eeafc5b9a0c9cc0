"""The overrides in a sweep's file: their place beneath the command line, and their mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expkit.config.load import compose_plain
from expkit.errors import ConfigError
from expkit.sweeps.params import with_params
from expkit.sweeps.sweeper_selection import sweeper_of
from support.command_line import call


def test_the_command_line_replaces_entries_by_key_and_nested_keys_are_dotted() -> None:
    params = {"a.b": "1,2", "c": {"d": "range(3)"}, "+e": True, "f": None, "g": 0.5, "network": "x,y"}
    assert with_params(params, ["e=1", "network=z", "h=3"]) == [
        *("a.b=1,2", "c.d=range(3)", "f=null", "g=0.5"),
        *("e=1", "network=z", "h=3"),
    ]
    assert with_params(None, ["a=1"]) == ["a=1"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"a": [1, 2]}, "is a list; to vary the key write 'choice(1, 2)', to give it one list '[1, 2]'"),
        ({"a": "choice(1"}, "cannot be parsed ("),
        ({"hydra.sweeper.n_trials": 3}, "is a setting of Hydra, which cannot vary; write it under hydra: in the file"),
        ({"hydra/launcher": "cores"}, "is a setting of Hydra, which cannot vary; write it under hydra: in the file"),
        ({"~a": "1"}, "deletes a key, so it varies nothing; give it on the command line"),
    ],
)
def test_an_entry_that_is_no_override_is_reported(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_params(params, [])
    (problem,) = caught.value.problems
    assert problem.path == f"hydra.sweeper.params.{next(iter(params))}"
    assert problem.message.startswith(message)


def test_a_sweep_file_chooses_sweeper_sampler_pruner_and_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in ("sweep", "experiment"):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "mine.yaml").write_text(
            "# @package _global_\n"
            "defaults:\n  - override /hydra/sweeper: optuna\n  - override /hydra/sweeper/sampler: cmaes\n"
            "  - override /hydra/sweeper/pruner: asha\n  - override /hydra/launcher: cores\n"
            "hydra:\n  launcher: {n_jobs: 3}\n  sweeper:\n    n_trials: 7\n    study_name: mine\n"
            "    direction: minimize\n"
            "    sampler: {popsize: 6}\n    params: {run.seed: 'range(9)'}\n"
        )
    monkeypatch.chdir(tmp_path)
    for words in (["+sweep=mine"], ["experiment=mine"]):
        settings = compose_plain(words).hydra
        sweeper: Any = sweeper_of(settings)
        assert (sweeper.kind, sweeper.sampler.kind, sweeper.sampler.popsize) == ("optuna", "cmaes", 6)
        assert (sweeper.pruner.kind, sweeper.n_trials, sweeper.study_name) == ("asha", 7, "mine")
        assert (sweeper.direction, sweeper.params) == ("minimize", {"run.seed": "range(9)"})
        assert settings.launcher.n_jobs == 3
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.sampler: is chosen by its file: hydra/sweeper/sampler=tpe"):
        sweeper_of(compose_plain(["+sweep=mine", "hydra.sweeper.sampler=tpe"]).hydra)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+sweep=rates"], "sweep: 'rates' is a sweep; add -m: expkit train -m +sweep=rates"),
        (["-m", "+sweep=a,b"], "sweep: a command runs the sweep of one file; give one name: +sweep=NAME"),
        (["-m", "+sweep=rate"], "sweep: no file 'rate' in this group; did you mean 'rates'? allowed: rates"),
        (
            ["-m", "+sweep=rates", "optimizer.learning_rate=0.1,-1"],
            "optimizer.learning_rate: must be greater than or equal to 0, got -1 (job 1 of 4: "
            "network.layers.layer1.units=32 +sweep=rates optimizer.learning_rate=-1)",
        ),
    ],
)
def test_a_sweep_file_is_reported_where_it_does_not_fit(words: list[str], message: str, tmp_path: Path) -> None:
    done = call("train", *words, cwd=tmp_path)
    assert (done.code, done.out, done.errors[:1]) == (2, "", [f"error: {message}"])
    assert list(tmp_path.iterdir()) == []


def test_check_finds_the_mistakes_of_every_point_of_a_sweep_file(tmp_path: Path) -> None:
    done = call("check", "+sweep=rates", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "rates sweep over learning_rate, units: 4 runs, of which 4 are checked"
    wrong = call("check", "+sweep=rates", "hydra.sweeper.objective=valid/los", cwd=tmp_path)
    assert wrong.code == 2
    assert wrong.errors[0].startswith(
        "error: hydra.sweeper.objective: no metric 'valid/los'; did you mean 'valid/loss'?"
    )
