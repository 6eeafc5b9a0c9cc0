"""Tab completion, by the shells' own protocol."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from expkit.cli.verbs import VERBS
from expkit.config.load import load
from support.command_line import ENVIRONMENT, call, run

VERB_WORDS = list(VERBS)


@pytest.fixture(autouse=True)
def _no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMP_LINE", "COMP_POINT", "COMP_CWORD"):
        monkeypatch.delenv(name, raising=False)


def offered(line: str, cwd: Path, monkeypatch: pytest.MonkeyPatch, shell: str = "bash") -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    done = call("-sc", f"query={shell}", cwd=cwd)
    assert (done.code, done.err) == (0, "")
    return done.out.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("expkit ", VERB_WORDS),
        ("expkit tr", ["train"]),
        ("expkit f", ["find-learning-rate", "freeze"]),
        ("expkit x", []),
        ("/usr/local/bin/expkit tr", ["train"]),
        ("expkit train netw", ["network.", "network="]),
        ("expkit train network=si", ["network=siamese"]),
        ("expkit train optimizer=adam", ["optimizer=adam", "optimizer=adamw"]),
        ("expkit train network.layers.layer1.un", ["network.layers.layer1.units="]),
        ("expkit train optimizer=sgd train.st", ["train.steps=", "train.steps_per_execution="]),
        ("expkit train -m netw", ["network.", "network="]),
        ("expkit names opt", ["optimizer.", "optimizer="]),
        ("expkit check network=si", ["network=siamese"]),
        ("expkit restore-plan network=si", ["network=siamese"]),
        ("expkit verify-resume --at 50 network=si", ["network=siamese"]),
        ("expkit names --json --graph file.svg network=si", ["network=siamese"]),
        ("expkit evaluate opt", []),
        ("expkit train nosuch", []),
        ("expkit train -", []),
        ("expkit train --c", []),
        ("expkit train nosuch=1 opt", []),
        ("expkit train data. opt", ["optimizer.", "optimizer="]),
        ("expkit train hyd", ["hydra.", "hydra/"]),
        ("expkit train hydra.mo", []),
        ("expkit train hydra.mode=", []),
        ("expkit train hydra.runtime.", []),
        ("expkit train hydra.sweep.", ["hydra.sweep.dir="]),
        ("expkit train hydra.job_logging.formatters.simple.format=", []),
        ("expkit train hydra.job_logging.handlers.file.filename=", []),
        ("expkit train +net", []),
        ("expkit train +network=si", []),
        ("expkit train +hyd", []),
        ("expkit train ~", ["~experiment", "~run"]),
        ("expkit train restore.ex", ["restore.exclude="]),
        ("expkit train network.ru", ["network.rules="]),
        ("expkit train ema.enabled=", ["ema.enabled=true"]),
        ("expkit train data=ta", ["data=table"]),
        ("expkit train data=tfrecord ", ["data.source.features=", "data.source.files="]),
        ("expkit check optimizer=sgd data=tfrecord data.source.files=a.tfrecord ", ["data.source.features="]),
        ("expkit train data=table data.source.del", ["data.source.delimiter="]),
    ],
)
def test_what_is_offered(line: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(line, tmp_path, monkeypatch) == words


def test_a_line_whose_values_are_given_is_offered_all_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "expkit train data=npz data.source.path=digits.npz "
    assert {"data=", "network=", "train."} < set(offered(line, tmp_path, monkeypatch))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_answered(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "network=" in offered("expkit train netw", tmp_path, monkeypatch, shell)


def test_a_folder_of_ones_own_is_offered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "network").mkdir(parents=True)
    (tmp_path / "conf" / "network" / "signs.yaml").write_text("inputs: {}\n")
    assert offered("expkit train network=si", tmp_path, monkeypatch) == ["network=siamese", "network=signs"]


def test_a_folder_of_config_dir_is_offered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more" / "network").mkdir(parents=True)
    (tmp_path / "more" / "network" / "signs.yaml").write_text("inputs: {}\n")
    for given in ("--config-dir more", "--config-dir=more"):
        assert offered(f"expkit names {given} network=sig", tmp_path, monkeypatch) == ["network=signs"]
    assert offered("expkit names --config-dir nosuch network=sig", tmp_path, monkeypatch) == []


def test_values_that_are_offered_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = ("hydra.", "hydra.job.", "hydra.sweep.", "ema.", "restore.", "train.", "network.layers.layer1.")
    offers = {word for start in starts for word in offered(f"expkit train {start}", tmp_path, monkeypatch)}
    keys = {word for word in offers if word.endswith("=")}
    values = {value for key in keys for value in offered(f"expkit train {key}", tmp_path, monkeypatch)} - keys
    assert len(values) > 20
    load(sorted(values))


@pytest.mark.parametrize(
    ("shell", "registration"),
    [
        ("bash", "complete -o nospace -o default -F hydra_bash_completion expkit\n"),
        ("zsh", "complete -o nospace -o default -F hydra_bash_completion expkit\n"),
        ("fish", "complete -c expkit -x -a '(hydra_fish_completion)'\n"),
    ],
)
def test_a_script_is_printed_for_every_shell(shell: str, registration: str, tmp_path: Path) -> None:
    done = call("-sc", f"install={shell}", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert registration in done.out
    assert "COMP_LINE" in done.out


def test_the_script_for_bash_completes_in_bash(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed here")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "expkit"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m expkit "$@"\n')
    program.chmod(0o755)
    script = run("-sc", "install=bash", cwd=tmp_path).out
    (tmp_path / "session").write_text(
        f'{script}\nCOMP_LINE="expkit train network=si" COMP_POINT=23 COMP_CWORD=3\n'
        "COMP_WORDS=(expkit train network = si)\nhydra_bash_completion\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "session"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "siamese" in done.stdout, done.stderr


def test_a_query_without_a_line_says_who_asks(tmp_path: Path) -> None:
    done = call("-sc", "query=bash", cwd=tmp_path)
    assert (done.code, done.errors) == (
        2,
        ['error: -sc query: answers a shell, which sets COMP_LINE; set it up with eval "$(expkit -sc install=bash)"'],
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Expecting one subcommand from ['install', 'uninstall', 'query'] to be set"),
        (["install=tcsh"], "No completion plugin for 'tcsh' found"),
    ],
)
def test_a_wrong_question_is_answered_in_words(words: list[str], said: str, tmp_path: Path) -> None:
    done = call("-sc", *words, cwd=tmp_path)
    assert done.code == 2
    (line,) = done.errors
    assert line.startswith("error: command line: ")
    assert said in line
