"""The best runs of a sweep, written as experiments."""

from __future__ import annotations

from pathlib import Path

import pytest

from expkit.config.load import load, plain
from expkit.config.schema import Config
from expkit.preflight import load_checked
from expkit.sweeps.best import write_best
from expkit.sweeps.given_overrides import parse_overrides
from expkit.sweeps.jobs import check_jobs
from expkit.sweeps.sweep_folder import Child, SweepFolder


def child(folder: SweepFolder, *words: str) -> Child:
    given = parse_overrides([word.replace("optimizer.learning_rate=", "optimizer.learning_rate=0,") for word in words])
    (job,) = check_jobs([words], given)
    return folder.child(job)


def rate(config: Config) -> float:
    return float(plain(config)["optimizer"]["learning_rate"])


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer.learning_rate=0.0123456789"],
        ["experiment=siamese", "optimizer=sgd"],
        ["run.seed=7", "run.name=mine", "ema=none"],
        ["~network.layers.layer1", "network.layers.logits.activation=tanh", "optimizer=sgd_exponential"],
    ],
    ids=lambda words: words[0],
)
def test_the_experiment_computes_what_the_run_computed(words: list[str], empty_folder: Path) -> None:
    folder = SweepFolder(empty_folder)
    best = child(folder, *words)
    (file,) = write_best(folder, [best], ["valid/accuracy 0.9000: learning_rate=0.012346"], [])
    assert file == empty_folder / "conf" / "experiment" / "best.yaml"
    again = load(["experiment=best"], [str(empty_folder / "conf")])
    assert {**plain(again), "tracking": None} == {**plain(best.job.config), "tracking": None}


def test_the_experiment_says_what_it_is_and_takes_overrides(empty_folder: Path) -> None:
    folder = SweepFolder(empty_folder / "a sweep")
    folder.path.mkdir()
    best = child(
        folder, "optimizer.learning_rate=0.0123456789", "tracking.uri=http://me:secret@host", "run.folder=other"
    )
    (file,) = write_best(folder, [best], ["valid/accuracy 0.9000: learning_rate=0.012346"], [])
    lines = file.read_text().splitlines()
    assert lines[:3] == [
        "# @package _global_",
        "# valid/accuracy 0.9000: learning_rate=0.012346",
        f"# Command:  expkit train --config-dir '{folder.path}/conf' experiment=best",
    ]
    assert "secret" not in file.read_text()
    config = load_checked(["experiment=best", "train.steps=7"], [str(folder.path / "conf")]).config
    assert (config.train.steps, rate(config)) == (7, 0.0123456789)
    assert (config.run.folder, config.tracking.uri) == ("runs", None)


def test_several_best_runs_are_several_experiments_and_old_ones_go(empty_folder: Path) -> None:
    folder = SweepFolder(empty_folder)
    runs = [child(folder, f"optimizer.learning_rate={value}") for value in (0.3, 0.2, 0.1)]
    names = [file.name for file in write_best(folder, runs, ["first", "second", "third"], [])]
    assert names == ["best_0.yaml", "best_1.yaml", "best_2.yaml"]
    rates = [rate(load([f"experiment=best_{place}"], ["conf"])) for place in range(3)]
    assert rates == [0.3, 0.2, 0.1]
    assert "# second\n" in (empty_folder / "conf/experiment/best_1.yaml").read_text()
    write_best(folder, runs[:1], ["first"], [])
    assert [file.name for file in (empty_folder / "conf/experiment").iterdir()] == ["best.yaml"]
