"""The public face: the names of ``import expkit``, what it imports, and experiments from Python."""

from __future__ import annotations

import ast
import json
import logging
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import expkit
from support.command_line import BARE, ENVIRONMENT, REPOSITORY, call

SHORT = [*BARE, "tracking=none"]


def test_the_names_are_sorted_and_there() -> None:
    assert expkit.__all__ == sorted(expkit.__all__)
    assert dir(expkit) == expkit.__all__
    for name in expkit.__all__:
        assert getattr(expkit, name) is not None
    with pytest.raises(AttributeError, match="module 'expkit' has no attribute 'trian'"):
        expkit.trian  # noqa: B018  # reading it is the test


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(expkit.__file__).read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    shown = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    lazy = {name: f"expkit.{module}" for name, module in expkit._MODULES.items()}
    assert shown == {"tf1": "expkit", **lazy}
    assert sorted({*shown, "__version__"}) == expkit.__all__


def test_every_error_is_offered() -> None:
    from expkit import errors

    assert {name for name in errors.__all__ if name.endswith("Error")} <= set(expkit.__all__)


def test_importing_expkit_imports_nothing_heavy() -> None:
    program = "import expkit, sys; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert not {"tensorflow", "mlflow", "hydra", "omegaconf", "pydantic", "numpy"} & set(ast.literal_eval(done.stdout))


def test_the_names_of_plugins_import_no_tensorflow() -> None:
    program = "import expkit, sys; [getattr(expkit, name) for name in expkit.__all__]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert not {"tensorflow", "mlflow"} & set(done.stdout.split())


def test_the_documents_import_from_expkit_alone() -> None:
    texts = [path.read_text() for path in [REPOSITORY / "docs/plugins.md", REPOSITORY / "docs/python.md"]]
    texts += [path.read_text() for path in (REPOSITORY / "docs" / "examples").glob("*.py")]
    assert [found for text in texts for found in re.findall(r"(?:from|import) expkit\.[a-z_.]+", text)] == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> expkit.Run:
    """Return a short run that was trained from Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("python"))
        return expkit.train("digits_mlp", [*BARE, "tracking=none", "export=frozen"])


def test_train_leaves_the_run_that_the_command_line_leaves(run: expkit.Run, tmp_path: Path) -> None:
    done = call("train", "experiment=digits_mlp", *BARE, "tracking=none", "export=frozen", cwd=tmp_path)
    assert done.code == 0
    (other,) = tmp_path.glob("runs/*/*/")
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(path.name for path in other.iterdir())
    state, known = (json.loads((folder / "run.json").read_text()) for folder in (run.folder, other))
    assert (state["status"], state["digest"]) == (known["status"], known["digest"])
    assert run.experiment.folder.metrics()[-1] == expkit.Run.open(other).experiment.folder.metrics()[-1]
    lines = [(folder / "run.log").read_text().splitlines() for folder in (run.folder, other)]
    assert any(re.search(r"^\S+ \S+ INFO expkit\.experiment: step 60: test/loss ", line) for line in lines[0])
    assert len(lines[0]) == len(lines[1])


def test_a_run_has_metrics_and_predicts(run: expkit.Run) -> None:
    assert run.metrics["test/accuracy/ema"] == run.experiment.folder.metrics()[-1]["test/accuracy/ema"]
    assert expkit.Run.open(run.folder).metrics == run.metrics
    image = np.zeros((3, 64), np.float32)
    outputs = run.predict({"image": image})
    assert {name: array.shape for name, array in outputs.items()} == {"logits": (3, 10)}
    for graph in (run, run.folder, str(run.folder / "frozen.pb")):
        np.testing.assert_array_equal(expkit.predict(graph, {"image": image.tolist()})["logits"], outputs["logits"])
    with pytest.raises(expkit.ExportError, match="input image: missing; arrays given: "):
        run.predict({})


def test_a_run_is_evaluated_and_frozen_again(run: expkit.Run, tmp_path: Path) -> None:
    metrics = expkit.evaluate(run)
    assert metrics["test/loss/ema"] == run.metrics["test/loss/ema"]
    assert expkit.evaluate(str(run.folder), "latest") == metrics
    frozen = expkit.freeze(run, weights="raw", path=tmp_path / "raw.pb")
    assert (frozen.weights, frozen.step) == ("raw", 60)
    assert expkit.predict(frozen, {"image": np.zeros((1, 64), np.float32)})["logits"].shape == (1, 10)


def test_a_restore_is_planned(run: expkit.Run) -> None:
    plan = expkit.plan_restore("digits_mlp", [f"restore.from={run.folder}"])
    plan.check()
    assert plan.loaded == "4/4"
    with pytest.raises(expkit.CheckpointError, match=r"^restore\.from: nothing to restore"):
        expkit.plan_restore()


def test_a_configuration_is_loaded() -> None:
    config = expkit.load_config("siamese", ["train.steps=7"])
    assert isinstance(config, expkit.Config)
    assert config.train.steps == 7
    assert "tower/conv/kernel" in expkit.network_spec(config.network).variables


@pytest.mark.parametrize(
    "overrides",
    [["train.stepz=7"], ["ema.variables=none"], ["train.best_metric=valid/los"], ["restore.from=nosuch"], ["steps"]],
    ids=lambda words: words[0],
)
def test_errors_are_those_of_the_command_line(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*SHORT, *overrides]
    with pytest.raises(expkit.ExpkitError) as caught:
        expkit.train(None, words)
    assert capfd.readouterr() == ("", "")
    done = call("train", *words, cwd=tmp_path)
    assert done.errors == [f"error: {problem}" for problem in caught.value.problems]


def test_it_trains_outside_the_main_thread_and_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs: list[Any] = []
    handlers, level, limit = list(logging.root.handlers), logging.getLogger("expkit").level, sys.getrecursionlimit()
    signals = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: runs.append(expkit.train(None, [*SHORT, "train.steps=2"])))
    thread.start()
    thread.join()
    runs.append(expkit.train(None, [*SHORT, "train.steps=2"]))
    assert len({run.folder for run in runs}) == 2
    assert runs[0].metrics["test/loss"] == runs[1].metrics["test/loss"]
    assert capfd.readouterr() == ("", "")
    assert (logging.root.handlers, logging.getLogger("expkit").level) == (handlers, level)
    assert sys.getrecursionlimit() == limit
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == signals


def test_an_interrupted_run_is_killed_and_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def interrupted(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("expkit.runs.job.run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        expkit.train(None, SHORT)
    (folder,) = tmp_path.glob("runs/*/*/")
    assert json.loads((folder / "run.json").read_text())["status"] == "KILLED"


def test_the_example_of_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "docs" / "python.md").read_text()
    session = re.findall(r"```pycon\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    for block in session:
        for source, shown in _statements(block):
            printed = _printed(source, names)
            assert _comparable(printed) == _comparable(shown.rpartition("  ...\n")[2]), source


def _statements(block: str) -> list[tuple[str, str]]:
    """Return the statements of an interactive session, each with what it prints."""
    found: list[tuple[list[str], list[str]]] = []
    for line in block.splitlines():
        if line.startswith(">>> "):
            found.append(([line[4:]], []))
        elif line.startswith("... "):
            found[-1][0].append(line[4:])
        else:
            found[-1][1].append(line)
    return [("\n".join(source), "\n".join(shown)) for source, shown in found]


def _printed(source: str, names: dict[str, Any]) -> str:
    try:
        return "" if (value := eval(source, names)) is None else repr(value)
    except SyntaxError:
        exec(source, names)
        return ""
    except expkit.ExpkitError as error:
        return f"{type(error).__module__}.{type(error).__name__}: {error}"


def _comparable(text: str) -> str:
    """Return a text without its numbers, which differ between machines, nor the time in the name of a folder."""
    return re.sub(r"\d+", "0", text)
