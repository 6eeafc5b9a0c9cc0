"""A launcher of Hydra that executes workers of a sweep as tasks of Ray: ``hydra/launcher=ray``."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from expkit.errors import RunError, error_message

__all__ = ["RayLauncher"]

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_REASON = re.compile(r"(?:Error: (?:RPC error: )?|(?=RAY_AUTH_TOKEN_PATH is set))(.+?)(?:\. Ensure that.*)?$")
"""The reason in what Ray prints: the message of an exception, or of an abort."""
_TOKEN = (
    "a cluster with tokens, as `ray start` makes where ~/.ray/auth_token exists, needs RAY_AUTH_MODE=token here, and "
    "its token (ray get-auth-token on its head) in RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token"
)


class RayLauncher(Launcher):  # type: ignore[misc]  # Hydra declares no types
    """Executes a task as often as it gets jobs, each as a task of Ray, on this machine or a cluster that runs."""

    def __init__(
        self, address: str | None = None, workers: int | None = None, num_cpus: float = 1, max_retries: int = 10
    ) -> None:
        """Take the settings of ``conf/hydra/launcher/ray.yaml``."""
        del workers  # read by the sweep, which makes so many jobs
        self._address = address
        self._options: Mapping[str, Any] = {"num_cpus": num_cpus, "max_retries": max_retries}
        self._task: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the task."""
        self._task = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Execute the task once for each job; return when all have ended.

        Raises:
            RunError: Ray cannot be reached.
        """
        _check_answers(self._address)
        import ray

        begun = not ray.is_initialized()
        try:
            if begun:
                ray.init(address=self._address, include_dashboard=False, log_to_driver=False)
        except (OSError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
            raise _unreachable(self._address, error_message(error)) from None
        try:
            remote = ray.remote(**self._options)(_executed)
            ray.get([remote.remote(self._task) for _ in job_overrides])
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RaySystemError as error:
            if "No module named" not in str(error):
                raise
            missing = str(error).partition("No module named ")[2].split()[0]
            raise RunError.at(
                "hydra/launcher", f"the workers of Ray have no {missing}: install expkit where `ray start` is called"
            ) from None
        finally:
            if begun:
                ray.shutdown()
        return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]


def _check_answers(address: str | None) -> None:
    """Check that a cluster's address answers, for which Ray itself would wait for minutes, and print each attempt.

    On this machine the user's token is used, as Ray does for ``auto``; other machines get it only if the user says so.

    Raises:
        RunError: it does not.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if address is None or not host or not port.isdecimal():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS) as connection:
            is_here = connection.getsockname()[0] == connection.getpeername()[0]
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error_message(error)) from None
    if is_here and (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if address.startswith("ray://"):
        return
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        found = subprocess.run(check, capture_output=True, text=True, errors="replace", timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise _unreachable(address, f"no answer in {_ANSWER_SECONDS:.0f} s") from None
    if found.returncode:
        said = [text for line in found.stderr.splitlines() for text in _REASON.findall(line)]
        raise _unreachable(address, said[-1] if said else "no sign of a Ray cluster")


def _unreachable(address: str | None, reason: str) -> RunError:
    where = "on this machine" if address is None else f"at {address}"
    way = f"; {_TOKEN}" if "token" in reason.lower() or address == "auto" else ""
    return RunError.at("hydra.launcher.address", f"Ray cannot be reached {where} ({reason.rstrip('.')}){way}")


def _executed(task: TaskFunction) -> None:
    task(OmegaConf.create())
