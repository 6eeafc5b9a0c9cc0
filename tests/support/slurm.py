"""SLURM of Debian's packages with one node, this machine, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

__all__ = ["needs_slurm", "slurm"]

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
_SETTINGS = """\
ClusterName=one
SlurmctldHost={host}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}
SlurmdSpoolDir={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName=localhost CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""

needs_slurm = pytest.mark.skipif(
    any(shutil.which(name, path=_PATH) is None for name in _PROGRAMS), reason="apt install slurm-wlm munge"
)


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """Run SLURM inside the block; its commands find it by ``SLURM_CONF``.

    Args:
        folder: an empty folder with a short path, for the socket in it.
    """
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        ports = [first.getsockname()[1], second.getsockname()[1]]
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    folder.chmod(0o755)
    user, cores = pwd.getpwuid(os.getuid()).pw_name, os.cpu_count()
    settings = folder / "slurm.conf"
    settings.write_text(_SETTINGS.format(folder=folder, host="localhost", user=user, ports=ports, cores=cores))
    munge = [f"--socket={folder}/munge.socket"]
    munge += [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    commands = [
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D", "-f", str(settings)],
        ["slurmd", "-D", "-f", str(settings), "-N", "localhost"],
    ]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(settings)
    environment = {**os.environ, "PATH": _PATH}
    try:
        with ExitStack() as ended:
            for number, command in enumerate(commands):
                with (folder / f"{command[0]}.out").open("wb") as out:
                    process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
                ended.callback(process.wait)
                ended.callback(process.terminate)
                if number == 0:
                    _wait(lambda: (folder / "munge.socket").exists(), process)
            _wait(lambda: "idle" in _output("sinfo", "--noheader", "--format=%T"), process)
            yield
    finally:
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _wait(is_ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while not is_ready():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
