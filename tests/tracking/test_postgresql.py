"""The address of a PostgreSQL store in the documents, with a real server of Debian's package."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from expkit.provenance import is_installed

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tracking.md"

pytestmark = [
    pytest.mark.skipif(not PROGRAMS, reason="apt install postgresql"),
    pytest.mark.skipif(not is_installed("psycopg"), reason="pip install 'psycopg[binary]'"),
]


def as_server(*command: str | Path) -> list[str]:
    """Return a command that PostgreSQL does not refuse because root gives it."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return [*user, *map(str, command)]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server that trusts everyone on this machine."""
    folder = Path(tempfile.mkdtemp(prefix="expkit-postgresql-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    programs, data = PROGRAMS[-1], folder / "data"
    subprocess.run(as_server(programs / "initdb", "-D", data, "-A", "trust", "-U", "user"), check=True, cwd="/")
    words = ("-D", data, "-k", folder, "-p", str(number), "-c", "listen_addresses=127.0.0.1")
    server = subprocess.Popen(as_server(programs / "postgres", *words), cwd="/")
    try:
        ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(number)]
        while subprocess.run(ready, check=False).returncode != 0:
            assert server.poll() is None
            time.sleep(0.1)
        yield number
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def test_the_address_in_the_documents_opens_a_store(port: int) -> None:
    (uri,) = re.findall(r"--backend-store-uri (postgresql[^`]+)`", DOCUMENT.read_text(encoding="utf-8"))
    assert uri == "postgresql+psycopg://user@dbhost/mlflow"
    client = MlflowClient(uri.replace("dbhost/mlflow", f"127.0.0.1:{port}/postgres"))
    run = client.create_run(client.create_experiment("digits"))
    client.log_metric(run.info.run_id, "loss", 0.5)
    assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
