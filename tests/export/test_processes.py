"""Processes of converters and runtimes: they end with the process that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import expkit
from expkit.export.targets.processes import ChildFailed, run_child

CHILD = """
import sys, time
with open(sys.argv[1], "wb", buffering=0) as pipe:
    pipe.write(b"begun")
    time.sleep(600)
    pipe.write(b" and ended by itself")
"""
PARENT = """
import sys
from expkit.export.targets.processes import run_child
run_child(sys.argv[1:], 3600)
"""


def test_a_converter_ends_when_expkit_is_killed(tmp_path: Path) -> None:
    pipe, child = tmp_path / "pipe", tmp_path / "child.py"
    os.mkfifo(pipe)
    child.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": str(Path(expkit.__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(child), str(pipe)], env=environment)
    try:
        with pipe.open("rb", buffering=0) as end:
            begun = end.read(5)
            parent.kill()
            rest = end.read()  # Until no process has the other end.
    finally:
        parent.kill()
        parent.wait()
    assert (begun, rest) == (b"begun", b"")


def test_a_program_gets_its_arguments_and_its_failure_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys; print(__name__, sys.argv[1:]); sys.exit(3)")
    with pytest.raises(ChildFailed, match="failed") as caught:
        run_child([str(program), "a", "-b"], 600)
    assert caught.value.log.strip() == "__main__ ['a', '-b']"
