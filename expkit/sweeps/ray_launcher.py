"""A launcher of Hydra that executes workers of a sweep as tasks of Ray: ``hydra/launcher=ray``."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from expkit.errors import RunError, error_message

__all__ = ["RayLauncher"]

_CONNECT_SECONDS = 10.0


class RayLauncher(Launcher):  # type: ignore[misc]
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
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            where = "on this machine" if self._address is None else f"at {self._address}"
            raise RunError.at(
                "hydra.launcher.address", f"Ray cannot be reached {where} ({error_message(error)})"
            ) from None
        try:
            remote = ray.remote(**self._options)(_executed)
            ray.get([remote.remote(self._task) for _ in job_overrides])
        finally:
            if begun:
                ray.shutdown()
        return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]


def _check_answers(address: str | None) -> None:
    """Check that a cluster's address takes connections, for which Ray itself would wait for minutes.

    Raises:
        RunError: it does not.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RunError.at(
            "hydra.launcher.address", f"Ray cannot be reached at {address} ({error_message(error)})"
        ) from None


def _executed(task: TaskFunction) -> None:
    task(OmegaConf.create())
