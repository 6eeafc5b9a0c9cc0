"""The launcher of Ray's tasks: the reasons why a cluster cannot be reached, and a cluster with a token."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from expkit.errors import RunError
from expkit.provenance import is_installed
from expkit.sweeps.ray_launcher import RayLauncher
from support.command_line import REPOSITORY, run

needs_ray = pytest.mark.skipif(not is_installed("ray"), reason="pip install 'expkit[ray]'")
CLUSTER = "ray.scripts.scripts"


def test_a_cluster_of_ray_that_does_not_answer_is_reported_at_once() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "127.0.0.1:99999"):
        with pytest.raises(RunError) as caught:
            RayLauncher(address).launch([[]], 0)
        assert str(caught.value).startswith(f"hydra.launcher.address: Ray cannot be reached at {address} (")


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        (
            "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: Authentication token is missing or "
            "incorrect. Ensure that the token is available",
            r"\(InvalidAuthToken: Authentication token is missing or incorrect\); a cluster with tokens, .* needs "
            r"RAY_AUTH_MODE=token here, and its token \(ray get-auth-token on its head\) in RAY_AUTH_TOKEN, ",
        ),
        (
            "[x] Check failed: RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: /nope\nframes",
            r"\(RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: /nope\); a cluster with tokens",
        ),
        ("ray.exceptions.RpcError: Timed out while waiting.\n", r"\(Timed out while waiting\)$"),
        ("", r"\(no sign of a Ray cluster\)$"),
    ],
    ids=["token", "token file", "other server", "silent"],
)
def test_the_reason_of_a_refusal_is_that_of_ray(printed: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = subprocess.CompletedProcess([], 1, "", printed)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: refusal)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(RunError, match=told):
        RayLauncher(address=f"127.0.0.1:{server.getsockname()[1]}").launch([[]], 0)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running cluster of one node, which wants a token."""
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0123456789abcdef0123456789abcdef")
    for name, value in {"HOME": str(home), "PYTHONPATH": str(REPOSITORY)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    start = ["start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2"]
    start += ["--include-dashboard=false", "--disable-usage-stats", "--block"]
    process = subprocess.Popen([sys.executable, "-m", CLUSTER, *start], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Ray runtime started" in line:
            break
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.communicate()


@needs_ray
def test_a_running_cluster_with_a_token_executes_a_sweep(cluster: str, tmp_path: Path) -> None:
    words = ["run.seed=0,1", "train.steps=10", "train.log_every_steps=10", "train.save_every_steps=10"]
    words += ["export=none", "tracking=none", f"hydra.launcher.address={cluster}", "hydra.launcher.workers=2"]
    done = run("train", "-m", "hydra/launcher=ray", *words, cwd=tmp_path, HOME=str(Path.home()))
    assert (done.code, done.out.splitlines()[-1:]) == (0, ["2 of 2 runs finished"]), done.err
