"""docs/own-data.md from its first line to its last: what it writes is written, what it runs is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from expkit.kinds.preprocess.base import Preprocess
from expkit.registry import kinds
from support.command_line import call

PAGE = Path(__file__).parents[1] / "docs" / "own-data.md"
SHORTER = ("train: {steps: 1000}", "train: {steps: 60}")
"""Training of the page, and what it is here: another test holds its accuracy."""


def blocks() -> Iterator[tuple[str, str]]:
    """Yield language and text of every fenced block."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def commands(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the words of every command of a block, with the lines that it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield shlex.split(command), printed.splitlines()


def without_numbers(line: str) -> str:
    return " ".join(re.sub(r"[-+]?\d[\d.]*", "0", line).split())


def here(word: str) -> str:
    """Return a word of a command with the newest run of the name in place of the page's."""
    found = re.fullmatch(r"runs/[\d-]+/[\d-]+_(\w+)", word)
    return str(max(Path("runs").glob(f"*/*_{found[1]}"))) if found else word


@pytest.fixture
def _store_is_forgotten() -> Iterator[None]:
    """Undo what the page tells MLflow: the environment of the process would lead later tests to its store."""
    import mlflow

    yield
    mlflow.set_tracking_uri(None)


@pytest.mark.usefixtures("_store_is_forgotten")
def test_every_block_of_the_page_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ran: dict[str, int] = {}
    for language, text in blocks():
        if language == "python":
            exec(compile(text, str(PAGE), "exec"), {})
        elif language == "yaml":
            read_or_write(text)
        elif text.startswith("$ "):
            for words, printed in commands(text):
                assert words[0] == "expkit"
                run(words[1:], printed, tmp_path)
                language = "console"
        ran[language] = ran.get(language, 0) + 1
    assert ran["python"] == 5
    assert ran["console"] >= 7
    assert ran["yaml"] >= 5


def read_or_write(text: str) -> None:
    """Write a file whose name is in a comment; else check that its steps of preprocessing exist with such fields."""
    if named := re.search(r"^# (conf/\S+\.yaml)$", text, re.MULTILINE):
        path = Path(named[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(*SHORTER))
        return
    steps = [step for field in yaml.safe_load(text)["preprocess"].values() for step in field]
    for step in steps:
        kind = kinds("preprocess")[step["kind"]]
        assert issubclass(kind, Preprocess)
        assert step.keys() <= kind.model_fields.keys()


def run(words: list[str], printed: list[str], folder: Path) -> None:
    """Run a command; what the page shows is printed, apart from numbers, and from what ``...`` stands for."""
    done = call(*map(here, words), cwd=folder)
    wrong = bool(printed) and printed[0].startswith("error: ")
    assert done.code == (2 if wrong else 0), done.err
    lines = (done.err if wrong else done.out).splitlines()
    if wrong:
        assert lines == printed
        return
    shown = {without_numbers(line) for line in lines}
    classes = r"\b(setosa|versicolor|virginica)\b"
    shown |= {re.sub(classes, "CLASS", line) for line in shown}
    for line in printed:
        expected = without_numbers(line)
        if line != "..." and not line.startswith("next:"):
            assert expected in shown or re.sub(classes, "CLASS", expected) in shown, line
