"""A verb composes, validates and elaborates the network once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from conftest import Finished
from expkit.config.schema import Config
from expkit.network.variables import VariableTable
from support.command_line import call

ONE_OF_EACH = {"composition": 1, "validation": 1, "elaboration": 1}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often a configuration is composed, validated, and its network elaborated."""
    found: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            found[name] += 1
            return function(*arguments, **named)

        return call

    composed = counted("composition", ConfigLoaderImpl.load_configuration)
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", composed)
    monkeypatch.setattr(Config, "model_validate_json", counted("validation", Config.model_validate_json))
    elaborated = counted("elaboration", VariableTable.__init__)  # A table for each network.
    monkeypatch.setattr(VariableTable, "__init__", elaborated)
    return found


def test_train_makes_everything_once(counts: Counter[str], tmp_path: Path) -> None:
    done = call("train", "train.steps=2", "tracking=none", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert dict(counts) == ONE_OF_EACH
    assert list(tmp_path.glob("runs/*/*/frozen.pb")) != []


def test_a_resumed_run_reads_its_configuration_once(counts: Counter[str], tmp_path: Path) -> None:
    words = ["train.steps=2", "tracking=none", "export=none"]
    assert call("train", *words, cwd=tmp_path).code == 0
    (folder,) = tmp_path.glob("runs/*/*")
    counts.clear()
    resumed = call("train", *words, "train.steps=4", f"run.resume={folder}", cwd=tmp_path)
    assert (resumed.code, resumed.err) == (0, "")
    assert dict(counts) == {"composition": 1, "validation": 1 + 1, "elaboration": 1}


def test_a_sweep_makes_everything_once_for_each_run(counts: Counter[str], tmp_path: Path) -> None:
    words = ["-m", "run.seed=1,2", "train.steps=2", "tracking=none", "export=none"]
    done = call("train", *words, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    # once before any run starts, and once where it runs, which may be another process
    assert (counts["validation"], counts["elaboration"]) == (2 + 2, 2 + 2)


@pytest.mark.parametrize("verb", ["names", "check", "restore-plan"])
def test_verbs_on_a_configuration_make_everything_once(
    verb: str, counts: Counter[str], digits_run: Finished, tmp_path: Path
) -> None:
    if verb == "check":
        assert call("names", "--lock", cwd=tmp_path).code == 0
        counts.clear()
    words = [f"restore.from={digits_run.folder}"] if verb == "restore-plan" else []
    assert call(verb, *words, cwd=tmp_path).code == 0
    assert dict(counts) == ONE_OF_EACH


@pytest.mark.parametrize("verb", ["evaluate", "freeze"])
def test_verbs_on_a_run_read_its_configuration_once(
    verb: str, counts: Counter[str], digits_run: Finished, tmp_path: Path
) -> None:
    words = ["--output", tmp_path / "frozen.pb"] if verb == "freeze" else []
    assert call(verb, digits_run.folder, *words, cwd=digits_run.cwd).code == 0
    assert dict(counts) == {"validation": 1, "elaboration": 1}
