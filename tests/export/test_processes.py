"""Processes of converters and runtimes: they end with the process that started them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import expkit
from expkit.export.targets.processes import ChildFailed, run_child

CHILD = """
import fcntl, sys, time
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("begun", file=file, flush=True)
    time.sleep(100)
    print("ended by itself", file=file, flush=True)
"""
PARENT = """
import sys
from expkit.export.targets.processes import run_child
run_child(sys.argv[1:], 3600)
"""


def test_a_converter_ends_when_expkit_is_killed(tmp_path: Path) -> None:
    held, program = tmp_path / "held", tmp_path / "program.py"
    held.touch()
    program.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": str(Path(expkit.__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(program), str(held)], env=environment)
    try:
        while not held.read_text():
            assert parent.poll() is None, "the program did not begin"
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    with held.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # Until the program has ended.
        assert file.read() == "begun\n"


def test_a_program_gets_its_arguments_and_its_failure_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys; print(__name__, sys.argv[1:]); sys.exit(3)")
    with pytest.raises(ChildFailed, match="failed") as caught:
        run_child([str(program), "a", "-b"], 600)
    assert caught.value.log.strip() == "__main__ ['a', '-b']"
