"""A PostgreSQL server of Debian's package in a folder of its own, on this machine only."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from expkit.provenance import is_installed

__all__ = ["needs_postgresql", "server"]

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))

needs_postgresql = [
    pytest.mark.skipif(not PROGRAMS, reason="apt install postgresql"),
    pytest.mark.skipif(not is_installed("psycopg"), reason="pip install 'psycopg[binary]'"),
]


def as_server(*command: str | Path) -> list[str]:
    """Return a command that PostgreSQL does not refuse because root gives it."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return [*user, *map(str, command)]


@contextmanager
def server() -> Iterator[int]:
    """Yield the port of a server that trusts everyone on this machine, with the user ``user``."""
    folder = Path(tempfile.mkdtemp(prefix="expkit-postgresql-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    programs, data = PROGRAMS[-1], folder / "data"
    subprocess.run(as_server(programs / "initdb", "-D", data, "-A", "trust", "-U", "user", "-N"), check=True, cwd="/")
    words = ("-D", data, "-k", folder, "-p", str(number), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
    process = subprocess.Popen(as_server(programs / "postgres", *words), cwd="/")
    try:
        ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(number)]
        while subprocess.run(ready, check=False).returncode != 0:
            assert process.poll() is None
            time.sleep(0.1)
        yield number
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)
