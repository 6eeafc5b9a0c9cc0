"""The program: its verbs, its help, its exit codes, and what it does not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import expkit
from expkit.cli.verbs import VERBS
from support.command_line import ENVIRONMENT, call, run

MODULES = """
import sys
from expkit.cli.main import main

try:
    main(sys.argv[1:])
except SystemExit as stopped:
    print("code", stopped.code)
print("heavy", *(name for name in ("tensorflow", "mlflow", "sklearn") if name in sys.modules))
"""


def test_help_lists_every_verb(tmp_path: Path) -> None:
    done = call("--help", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("usage: expkit [-h] [--version] VERB ...")
    assert [verb for verb in VERBS if f"\n  expkit {verb} " not in done.out] == []


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("names", ["usage: expkit names [-h]", "OVERRIDE", "--config-dir", "--json", "--graph FILE.svg", "--lock"]),
        ("check", ["usage: expkit check [-h]", "OVERRIDE", "--config-dir", "--lock FILE", "orphan"]),
        ("schema", ["usage: expkit schema [-h]", "--section {run,network,", "FILE", "yaml-language-server"]),
        ("evaluate", ["usage: expkit evaluate [-h]", "--checkpoint {latest,best}", "RUN"]),
        ("freeze", ["usage: expkit freeze [-h]", "--weights {raw,ema}", "--output FILE"]),
        ("predict", ["usage: expkit predict [-h]", "GRAPH", "INPUT", "--output FILE"]),
        ("info", ["usage: expkit info [-h]", "--json"]),
        ("ui", ["usage: expkit ui [-h]", "--port PORT", "--folder DIR"]),
    ],
)
def test_every_verb_has_help(verb: str, said: list[str], tmp_path: Path) -> None:
    done = call(verb, "--help", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert [words for words in said if words not in done.out] == []


def test_version(tmp_path: Path) -> None:
    done = call("--version", cwd=tmp_path)
    assert (done.code, done.out) == (0, f"expkit {expkit.__version__}\n")


@pytest.mark.parametrize("word", ["frobnicate", "nam", "Train"])
def test_an_unknown_verb_is_answered_with_the_known_ones(word: str, tmp_path: Path) -> None:
    done = call(word, cwd=tmp_path)
    assert done.code == 2
    known = ", ".join(f"'{verb}'" for verb in VERBS)
    assert done.errors[-1] == f"expkit: error: argument VERB: invalid choice: '{word}' (choose from {known})"


def test_no_verb_is_answered_with_the_list_of_verbs(tmp_path: Path) -> None:
    done = call(cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.errors[0] == "usage: expkit [-h] [--version] VERB ..."
    assert {line.split()[1] for line in done.errors if line.startswith("  expkit ")} == set(VERBS)


def test_a_word_too_many_is_named(tmp_path: Path) -> None:
    done = call("info", "a.pb", "b.pb", cwd=tmp_path)
    assert done.code == 2
    assert done.errors[0].startswith("usage: expkit info [-h]")
    assert done.errors[-1] == "expkit info: error: unrecognized arguments: b.pb"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["frobnicate"],
        ["names"],
        ["names", "--help"],
        ["names", "network.layers.layer1.unit=3"],
        ["train", "--help"],
        ["train", "--cfg", "job"],
        ["train", "--info", "searchpath"],
        ["train", "network.layers.layer1.unit=3"],
        ["train", "-m", "run.seed=1,2", "ema.decay=2"],
        ["train", "run.resume=nosuch"],
        ["-sc", "install=bash"],
        ["ui"],
        ["ui", "--help"],
        ["predict", "--help"],
        ["evaluate", "nosuch"],
        ["freeze", "--help"],
    ],
    ids=" ".join,
)
def test_what_needs_no_tensorflow_does_not_import_it(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *words],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "heavy", done.stderr
    assert "Traceback" not in done.stderr


def test_python_m_expkit_is_the_program(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, f"expkit {expkit.__version__}\n", "")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    program = f"'{sys.executable}' -m expkit train --cfg job | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", program], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[0] == "run:"
    assert "Traceback" not in done.stderr


def test_an_output_that_is_full_is_one_message(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the system has no device that is always full")
    given = (
        ["names"],
        ["schema"],
        ["--help"],
        ["--version"],
        ["info", "--help"],
        ["train", "--help"],
        ["train", "--info"],
    )
    for unbuffered, arguments in product(("", "1"), (*given, ["-sc", "install=bash"])):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "expkit", *arguments], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE,
                env={**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}, text=True, check=False,
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (2, "error: output: No space left on device\n"), arguments


def test_a_run_whose_output_is_full_is_one_message_and_failed(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the system has no device that is always full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "expkit", "train", "train.steps=1", "tracking=none"],
            cwd=tmp_path, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "error: output: No space left on device\n")
    (run,) = tmp_path.glob("runs/*/*/run.json")
    facts = json.loads(run.read_text())
    assert (facts["status"], facts["error"]) == ("FAILED", "output: [Errno 28] No space left on device")


def test_names_that_are_not_utf8_are_printed_with_escapes(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/m\xff.npz"
    np.savez(os.fsdecode(name), w=np.ones(2))
    done = subprocess.run(
        [sys.executable, "-m", "expkit", "checkpoint", "show", name],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"m\\udcff.npz (npz): 1 variable" in done.stdout
