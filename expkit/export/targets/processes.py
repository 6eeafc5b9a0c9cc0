"""Processes beside this one, in which converters and runtimes may crash or hang without harm."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from expkit.errors import ExpkitError, ExportError
from expkit.export.outside import check_named_files
from expkit.export.packages import cannot_load, is_loading_failure
from expkit.export.targets import child, runtimes

__all__ = ["ChildFailed", "Runtime", "run_child"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, or of the user's part of it, that is full."""
_LAST = 1 << 16
"""Bytes of a child's messages that are looked at."""


class ChildFailed(Exception):
    """Raised when a child failed; the text says how, and ``log`` is the end of its messages."""

    def __init__(self, text: str, log: str, *, in_time: bool = True) -> None:
        super().__init__(text)
        self.log, self.in_time = log, in_time


def run_child(arguments: Sequence[str], timeout: float) -> None:
    """Run a program in Python, to its end or that of this process.

    Raises:
        ChildFailed: it ended with an error or by a signal, or did not end in time.
        OSError: it could not write, because the disk is full.
    """
    with TemporaryDirectory(prefix="expkit-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as into:
            process = subprocess.Popen(
                _command(arguments), stdin=subprocess.DEVNULL, stdout=into, stderr=into, env=_env()
            )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            text = f"did not end within {timeout:g} seconds and was stopped"
            raise ChildFailed(text, _tail(log), in_time=False) from None
        finally:
            process.kill()
            process.wait()
        if code != 0:
            if full := next((error for error in _FULL if os.strerror(error) in _tail(log)), None):
                raise OSError(full, os.strerror(full))
            raise ChildFailed(_ending(code), _tail(log))


def _command(arguments: Sequence[str]) -> list[str]:
    # A file in the working folder must not stand in for a module.
    return [sys.executable, "-P", str(Path(child.__file__)), str(os.getpid()), *arguments]


def _env() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}


def _ending(code: int) -> str:
    if code >= 0:
        return "failed"
    name = signal.Signals(-code).name
    memory = ", as where memory runs out" if name == "SIGKILL" else ""
    return f"crashed ({name}{memory})"


def _tail(log: Path) -> str:
    content = log.read_bytes()
    return content[-_LAST:].decode(errors="replace")


class Runtime:
    """An exported file in its runtime, in a process without expkit.

    Raises:
        ExportError: by every method, when the runtime refuses the file or the inputs, crashes or hangs.
    """

    def __init__(
        self,
        kind: str,
        path: Path,
        *,
        signature: str = "",
        timeout: float = 1800.0,
        at: str = "",
        explain: Callable[[str], str] = lambda log: "",
    ) -> None:
        """Start the process, which loads the libraries of the runtime.

        Args:
            kind: name of the target.
            path: the file or folder.
            signature: tells which part of the file to run.
            timeout: seconds to wait for an answer.
            at: path of the problems of errors; the file's name by default.
            explain: takes the messages of a runtime that refused the file; returns what is known of the reason.
        """
        self._path, self._timeout, self._kind, self._explain = path, timeout, kind, explain
        self._at = at or path.name
        self._folder = TemporaryDirectory(prefix="expkit-")
        self._log = Path(self._folder.name) / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                _command([str(Path(runtimes.__file__)), kind, str(path), signature]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_env(),
            )

    def __enter__(self) -> Runtime:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def open(self) -> None:
        """Open the file, which may be written after the process has started, and what it names in its folder."""
        check_named_files(self._kind, self._path)
        self._request({"open": True})

    def explained(self) -> str:
        """Return what is known of the reason of wrong numbers, from the messages of the runtime."""
        return self._explain(_tail(self._log))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def describe(self) -> dict[str, Any]:
        """Return dtype and shape by name of ``inputs`` and ``outputs``."""
        return self._request({"describe": True})

    def run(self, inputs: Mapping[str, Any], *, repeat: int = 0) -> tuple[dict[str, np.ndarray], float | None]:
        """Return the outputs of a batch, and the median seconds of further runs where ``repeat`` asks for any."""
        folder = Path(self._folder.name)
        given, taken = folder / "inputs.npz", folder / "outputs.npz"
        runtimes.save(given, runtimes.pack(inputs))
        seconds = self._request({"inputs": str(given), "outputs": str(taken), "repeat": repeat})["seconds"]
        return runtimes.unpack(str(taken)), seconds

    def _request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(content).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # Its end is told below.
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line, until = b"", time.monotonic() + self._timeout
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise self._error(f"did not answer within {self._timeout:g} seconds")
            part = os.read(self._process.stdout.fileno(), 1 << 16)
            if not part:
                ending = _ending(self._process.wait())
                raise self._error(f"{ending}: {last_line(_tail(self._log))}")
            line += part
        answer: dict[str, Any] = json.loads(line)
        if is_loading_failure(answer.get("error", "")):
            raise ExportError.at(self._at, cannot_load(self._kind, answer["error"]))
        if "error" in answer:
            raise self._error(f"cannot compute it: {' '.join(answer['error'].split())}")
        return answer

    def _error(self, text: str) -> ExpkitError:
        known = self.explained()
        return ExportError.at(self._at, f"the runtime of {self._kind} {text}{f'; {known}' if known else ''}")


def last_line(log: str) -> str:
    """Return the last line of messages that says something."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"
