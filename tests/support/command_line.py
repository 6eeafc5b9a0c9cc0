"""The command line in tests: called in this process, or started as a process of its own where that is the point."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from absl import logging as absl_logging

from expkit.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

# Hydra closes the logging handlers that it replaces, and TensorFlow's would close the stream that pytest captures.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

SHORT = [
    "train.steps=60",
    "train.log_every_steps=20",
    "train.evaluate_every_steps=20",
    "train.save_every_steps=20",
]
"""The default experiment, cut short: three points of metrics, three checkpoints."""

BARE = [*SHORT, "export=none", "tracking.plots=false"]
"""The same without what takes a run longest to end: for tests of what runs are to each other."""

PLAIN = ["train.jit_compile=false", "train.parallelism=intra_op"]
"""One way to run steps, given: a long run then measures none before it begins."""


@dataclass(frozen=True)
class Done:
    """What a call of the program left."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of standard error."""
        assert "Traceback" not in self.err
        return self.err.splitlines()


def call(*words: str | Path, cwd: Path) -> Done:
    """Run the program's ``main`` in this process, in a folder."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with pytest.raises(SystemExit) as stopped:
                main([str(word) for word in words])
    finally:
        sys.argv = before
        _leave_logs()
    return Done(_code(stopped.value.code), out.getvalue(), err.getvalue())


def _leave_logs() -> None:
    """Close the logs of runs, as the end of the process would: what other tests log is not theirs."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()


def start(*words: str | Path, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the program as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "expkit", *map(str, words)],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listen,
    )


def _listen() -> None:
    """Answer Ctrl-C also where the tests themselves were started in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(*words: str | Path, cwd: Path, **environment: str) -> Done:
    """Run the program as a process of its own."""
    process = start(*words, cwd=cwd, **environment)
    out, err = process.communicate()  # a run that never ends is ended with the tests
    return Done(process.returncode, out, err)


def _code(code: object) -> int:
    return code if isinstance(code, int) else int(code is not None)
