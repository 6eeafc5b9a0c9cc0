"""The user's own files of the configuration: what an experiment may set, and files that lack something."""

from __future__ import annotations

from pathlib import Path

import pytest

from expkit.config.load import compose_plain, load
from expkit.config.search import builtin_conf
from support.command_line import call

pytestmark = pytest.mark.usefixtures("empty_folder")

QUICK = ["train.steps=1", "tracking=none", "export=none"]


def write(folder: Path, name: str, content: str) -> None:
    path = folder / "conf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_an_experiment_may_set_a_key_of_every_section_and_of_hydra(empty_folder: Path) -> None:
    (empty_folder / "mine.py").write_text("x = 1\n")
    content = {
        "plugins": ["mine.py"],
        "run": {"seed": 7},
        "network": {"layers": {"layer1": {"units": 9}}},
        "data": {"split": {"seed": 3}},
        "optimizer": {"learning_rate": 0.5},
        "train": {"steps": 11},
        "ema": {"decay": 0.75},
        "restore": {"keep_initial": ["x"]},
        "export": {"weights": "raw"},
        "tracking": {"experiment": "theirs"},
    }
    hydra = {"job": {"name": "theirs"}, "run": {"dir": "there"}, "launcher": {"n_jobs": 3}, "sweeper": {"n_trials": 4}}
    text = "\n".join(f"{key}: {value}" for key, value in content.items())
    text = text.replace("'", '"')
    launcher = "defaults:\n  - override /hydra/launcher: cores\n  - override /hydra/sweeper: optuna\n"
    write(
        empty_folder,
        "experiment/mine.yaml",
        f"# @package _global_\n{launcher}{text}\nhydra: {hydra}\n".replace("'", '"'),
    )
    composed = compose_plain(["experiment=mine"])
    for section, values in content.items():
        if isinstance(values, dict):
            ((key, value),) = values.items()
            while isinstance(value, dict):
                ((inner, value),) = value.items()
                key = f"{key}.{inner}"
            assert composed[section] != value
            node = composed[section]
            for part in key.split("."):
                node = node[part]
            assert node == value, f"{section}.{key}"
    assert list(composed.plugins) == ["mine.py"]
    settings = composed.hydra
    assert (settings.job.name, settings.run.dir, settings.launcher.n_jobs) == ("theirs", "there", 3)
    assert (settings.sweeper.kind, settings.sweeper.n_trials) == ("optuna", 4)
    assert load(["experiment=mine"]).plugins == ("mine.py",)
    assert compose_plain(["experiment=mine", "hydra.job.name=given"]).hydra.job.name == "given"


def test_hydra_settings_of_the_built_in_file_hold_for_a_short_one(empty_folder: Path) -> None:
    groups = "".join(
        f"  - {group}\n"
        for group in (
            *("run: default", "data: digits", "optimizer: sgd", "train: classification", "ema: none", "restore: none"),
            *("export: none", "tracking: none", "network: digits_mlp"),
        )
    )
    write(empty_folder, "config.yaml", f"defaults:\n{groups}  - _self_\ntrain: {{steps: 3}}\n")
    composed = compose_plain([])
    assert (composed.train.steps, composed.optimizer.kind) == (3, "sgd")
    assert composed.hydra.runtime.choices["hydra/job_logging"] == "expkit"
    assert (composed.hydra.sweeper.kind, composed.hydra.job.name) == ("grid", "expkit")
    done = call("train", cwd=empty_folder)
    assert (done.code, done.err) == (0, "")
    assert [path.parent.parent.name for path in empty_folder.glob("runs/*/*/run.json")] != []


@pytest.mark.parametrize(
    ("content", "lacking"),
    [
        ("train: {steps: 5}\n", "run, network, data, optimizer, ema, restore, export, tracking"),
        ("defaults: [run: default, {data: digits}]\n", "network, optimizer, train, ema, restore, export, tracking"),
        ("", "run, network, data, optimizer, train, ema, restore, export, tracking"),
    ],
)
@pytest.mark.parametrize("verb", ["names", "train"])
def test_a_config_file_that_chooses_too_little_is_reported(
    content: str, lacking: str, verb: str, empty_folder: Path
) -> None:
    write(empty_folder, "config.yaml", content)
    done = call(verb, cwd=empty_folder)
    assert (done.code, done.errors) == (
        2,
        [
            f"error: conf/config.yaml: its defaults list has no file for {lacking}; add them as "
            f"{builtin_conf()}/config.yaml has them, or delete this file and put what you change into "
            "conf/experiment/NAME.yaml"
        ],
    )
    assert [path.name for path in empty_folder.iterdir()] == ["conf"]


@pytest.mark.parametrize("content", ["defaults: [override /network: digits_mlp]\n", "", "# @package experiment\n"])
def test_an_experiment_without_its_package_is_reported(content: str, empty_folder: Path) -> None:
    write(empty_folder, "experiment/mine.yaml", f"{content}train: {{steps: 3}}\n")
    for words in ([], ["-m"]):
        done = call("train", *words, "experiment=mine", cwd=empty_folder)
        assert (done.code, [line.partition("experiment: ")[2] for line in done.errors]) == (
            2,
            [
                "the keys of conf/experiment/mine.yaml stand under 'experiment'; make '# @package _global_' the first "
                "line of the file"
            ],
        )


def test_a_value_left_out_hides_no_other_mistake(empty_folder: Path) -> None:
    write(
        empty_folder, "data/mine.yaml", "source: {kind: npz, path: '???'}\nsplit: {train: 0.5, valid: 0.2, test: 0.3}\n"
    )
    words = ["data=mine", "+network.layers.logits.input=layr1", "train.losses.main.output=logit"]
    done = call("train", *words, cwd=empty_folder)
    assert done.code == 2
    assert [line.partition("error: ")[2].partition("; ")[0] for line in done.errors] == [
        "conf/data/mine.yaml:1: data.source.path: missing: give it with data.source.path=VALUE",
        "network.layers.logits.input: no layer or input 'layr1'",
    ]
    done = call("train", *words[:1], *words[2:], "ema.decay=3", cwd=empty_folder)
    assert [line.partition("error: ")[2].partition("; ")[0] for line in done.errors] == [
        "conf/data/mine.yaml:1: data.source.path: missing: give it with data.source.path=VALUE",
        "ema.decay: must be less than 1 (allowed: > 0 and < 1), got 3",
    ]


def test_settings_of_hydra_may_be_named(empty_folder: Path) -> None:
    config = load(["optimizer=sgd", "run.name=with_${hydra:runtime.choices.optimizer}"])
    assert config.run.name == "with_sgd"
    words = ["run.name=with_${hydra:runtime.choices.optimizer}", *QUICK]
    assert call("train", *words, cwd=empty_folder).errors == []
    assert call("train", "-m", "optimizer=sgd,adam", *words, cwd=empty_folder).errors == []
    runs = sorted(path.parent.name for path in empty_folder.glob("runs/multirun/*/*/*/run.json"))
    assert runs == ["0_with_sgd", "1_with_adam"]


def test_a_config_dir_leaves_the_users_search_path(empty_folder: Path) -> None:
    write(
        empty_folder,
        "config.yaml",
        (builtin_conf() / "config.yaml")
        .read_text()
        .replace("hydra:\n", f"hydra:\n  searchpath: ['file://{empty_folder}/far']\n"),
    )
    for folder in ("far", "near"):
        write(empty_folder, f"../{folder}/optimizer/{folder}.yaml", f"kind: sgd\nlearning_rate: 0.{len(folder)}\n")
    for name, rate in (("far", 0.3), ("near", 0.4)):
        optimizer = load([f"optimizer={name}"], [str(empty_folder / "near")]).optimizer
        assert optimizer.learning_rate.value == rate
    done = call("train", "-m", "--config-dir", "near", "optimizer=far,near", *QUICK, cwd=empty_folder)
    assert (done.code, done.err) == (0, "")
