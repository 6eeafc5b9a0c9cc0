"""Hydra's own settings: Python that they name is not run, and what expkit does not follow is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from hydra.conf import HydraConf

from expkit.config.load import compose_plain
from expkit.errors import ConfigError
from support.command_line import call

FOLDER = "evil_folder"
MARK = "ran"
NAMED = "builtins.open"


def leaves(schema: type, at: str) -> Iterator[tuple[str, Any]]:
    """Yield the keys of Hydra's structured configuration with their types."""
    types = get_type_hints(schema)
    for item in fields(schema):
        inside = types[item.name]
        if is_dataclass(inside):
            yield from leaves(inside, f"{at}.{item.name}")
        else:
            yield f"{at}.{item.name}", inside


def holds_anything(annotation: Any) -> bool:
    """Return True for types whose values may be mappings with ``_target_`` in them."""
    return annotation is Any or any(map(holds_anything, get_args(annotation)))


OPEN = [key for key, annotation in leaves(HydraConf, "hydra") if holds_anything(annotation)]
TEXTS = [key for key, annotation in leaves(HydraConf, "hydra") if not holds_anything(annotation)]


def test_these_keys_of_hydra_can_name_python() -> None:
    assert OPEN == [
        "hydra.defaults",  # taken away by Hydra
        "hydra.hydra_logging",
        "hydra.job_logging",
        "hydra.sweeper",
        "hydra.launcher",
        "hydra.callbacks",
        "hydra.runtime.choices",  # overwritten by Hydra
        "hydra.verbose",
    ]
    # Of the others, three name places from which Python is read; the rest are numbers, paths and texts.
    assert {"hydra.searchpath", "hydra.job.env_set", "hydra.job.env_copy"} < set(TEXTS)


FORMS: dict[str, Any] = {
    "target": {"_target_": NAMED, "file": MARK, "mode": "w"},
    "nested target": {"a": {"b": {"_target_": NAMED, "file": MARK, "mode": "w"}}},
    "target in a list": {"a": [{"_target_": NAMED, "file": MARK, "mode": "w"}]},
    "target by an interpolation": {"_target_": "${oc.decode:'builtins.open'}", "file": MARK, "mode": "w"},
    "factory of a handler": {"version": 1, "root": {}, "handlers": {"h": {"()": NAMED, "file": MARK, "mode": "w"}}},
    "class of a handler": {"version": 1, "root": {}, "handlers": {"h": {"class": "evil.Handler"}}},
    "class of a formatter": {"version": 1, "root": {}, "formatters": {"f": {"class": "evil.Formatter"}}},
    "factory of a filter": {"version": 1, "root": {}, "filters": {"f": {"()": "evil.filter"}}},
    "external object": {"version": 1, "root": {}, "handlers": {"h": {"class": "logging.StreamHandler", "stream": "ext://evil.x"}}},
}  # fmt: skip


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module that leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evil", f"{FOLDER}/__init__"):
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / MARK)!r}, 'w')\n")
    return tmp_path


def experiment(folder: Path, content: dict[str, Any]) -> None:
    path = folder / "conf" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# @package _global_\n" + yaml.safe_dump(content))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", OPEN)
def test_python_in_a_setting_of_hydra_is_refused_and_not_run(key: str, form: str, evil: Path) -> None:
    inner = key.split(".")[1:]
    content: Any = {"mine": FORMS[form]} if key == "hydra.callbacks" else FORMS[form]
    for name in reversed(["hydra", *inner]):
        content = {name: content}
    experiment(evil, content)
    with pytest.raises(ConfigError) as caught:
        compose_plain(["experiment=mine"])
    if key not in ("hydra.defaults", "hydra.launcher", "hydra.verbose"):  # Hydra itself refuses the types.
        assert any(problem.path.startswith(key) for problem in caught.value.problems)
        assert "is Python, which a configuration does not run by itself" in str(caught.value)
        assert "to allow it add its module to plugins: [" in str(caught.value)
    assert not (evil / MARK).exists()


@pytest.mark.parametrize("words", [[], ["-m"], ["-m", "run.seed=1,2"], ["--help"], ["--cfg", "job"], ["--info", "all"]])
@pytest.mark.parametrize("setting", ["callbacks", "job_logging", "hydra_logging", "launcher"])
def test_no_way_to_call_train_runs_python_of_a_configuration(setting: str, words: list[str], evil: Path) -> None:
    called = {"_target_": "evil.Mine"}
    logged = {"version": 1, "root": {"handlers": ["h"]}, "handlers": {"h": {"()": "evil.Mine"}}}
    content = logged if setting.endswith("logging") else {"mine": called} if setting == "callbacks" else called
    experiment(evil, {"hydra": {setting: content}})
    done = call("train", *words, "experiment=mine", "train.steps=1", "tracking=none", cwd=evil)
    assert (done.code, done.out) == (2, "")
    assert [line.partition(": '")[2].partition(",")[0] for line in done.errors] == ["evil.Mine' is Python"]
    assert sorted(path.name for path in evil.iterdir()) == ["conf", "evil.py", FOLDER]


def test_a_plugin_s_module_may_be_named(evil: Path) -> None:
    (evil / "kind.py").write_text("from hydra.experimental.callback import Callback\nclass Mine(Callback): pass\n")
    experiment(evil, {"plugins": ["kind"], "hydra": {"callbacks": {"mine": {"_target_": "kind.Mine"}}}})
    assert compose_plain(["experiment=mine"]).hydra.callbacks.mine._target_ == "kind.Mine"
    with pytest.raises(ConfigError, match=r"'evil\.Mine' is Python"):
        compose_plain(["experiment=mine", "hydra.callbacks.mine._target_=evil.Mine"])


@pytest.mark.parametrize("name", ["basic", "cores", "joblib", "slurm", "slurm_local", "submitit_local"])
def test_the_launchers_that_expkit_knows_are_allowed(name: str, empty_folder: Path) -> None:
    assert compose_plain([f"hydra/launcher={name}"]).hydra.launcher._target_.endswith("Launcher")


def test_logging_of_hydra_itself_is_allowed(empty_folder: Path) -> None:
    compose_plain(["hydra/job_logging=default", "hydra/hydra_logging=default"])


@pytest.mark.parametrize("where", ["file", "command line"])
def test_a_package_is_not_imported_for_its_files(where: str, evil: Path) -> None:
    words = []
    if where == "file":
        (evil / "conf").mkdir()
        (evil / "conf" / "config.yaml").write_text(f"hydra: {{searchpath: ['pkg://{FOLDER}']}}\n")
    else:
        words = [f"hydra.searchpath=['pkg://{FOLDER}']"]
    with pytest.raises(ConfigError) as caught:
        compose_plain(words)
    assert str(caught.value) == (
        f"hydra.searchpath: 'pkg://{FOLDER}' is a Python package, which reading would import; write file://FOLDER with "
        "the folder of its files"
    )
    assert not (evil / MARK).exists()


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD", "PATH"])
def test_the_environment_names_no_code(name: str, empty_folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_plain([f"+hydra.job.env_set.{name}=x"])
    assert str(caught.value) == (
        f"hydra.job.env_set.{name}: may name code that a process loads; set it in the shell, before the command"
    )
    assert compose_plain(["+hydra.job.env_set.OMP_NUM_THREADS='1'"]).hydra.job.env_set.OMP_NUM_THREADS == "1"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("mode: MULTIRUN", "hydra.mode: a sweep is requested with -m; leave this out"),
        (
            "job: {chdir: true}",
            "hydra.job.chdir: true would look for data, runs and checkpoints inside each run's folder; leave this out, "
            "and write the folder of a run as ${hydra:run.dir}",
        ),
        (
            "sweep: {subdir: mine}",
            "hydra.sweep.subdir: runs of a sweep are in folders called NUMBER_NAME; leave this out, and give "
            "run.name=NAME",
        ),
        ("verbose: {a: 1}", "hydra.verbose: needs true, false, the name of a logger or a list, got {'a': 1}"),
    ],
)
@pytest.mark.parametrize("words", [[], ["-m"]], ids=["one run", "sweep"])
def test_settings_that_expkit_does_not_follow_are_refused(
    settings: str, said: str, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "conf" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\nhydra:\n  {settings}\n")
    done = call("train", *words, "experiment=mine", "optimizer.learning_rate=0.1", "train.steps=1", cwd=tmp_path)
    assert (done.code, [line.partition("hydra.")[2] for line in done.errors]) == (2, [said.partition("hydra.")[2]])
    assert [item.name for item in tmp_path.iterdir()] == ["conf"]
