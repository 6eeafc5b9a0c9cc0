"""A run that is killed again and again, half of the times while it saves, ends as the unbroken one.

``EXPKIT_KILLS=200 pytest tests/test_kills.py`` kills it more often.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from expkit.run_folder import RunFolder
from support.command_line import ENVIRONMENT
from support.experiments import assert_same, checkpoint_values

SEED = 20
KILLS = int(os.environ.get("EXPKIT_KILLS", "100"))


def metrics(run: str) -> list[dict[str, float]]:
    """Return a run's metrics; how fast it was is not a promise."""
    lines = RunFolder(Path(run)).metrics()
    return [{key: value for key, value in line.items() if key != "train/steps_per_second"} for line in lines]


def test_a_run_killed_at_many_moments_ends_as_the_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "support.forked_runs", str(tmp_path), str(SEED), str(KILLS)]
    path = os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(Path(__file__).parent)])
    environment = {**ENVIRONMENT, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    print(outcome)  # with the seed, to kill at the same moments again
    assert outcome["inside a save"] >= KILLS / 10
    assert outcome["reached"] >= KILLS, "the run went on between the kills"
    last = f"checkpoints/step-{outcome['steps']:08d}/model"
    assert_same(checkpoint_values(f"{outcome['run']}/{last}"), checkpoint_values(f"{outcome['unbroken']}/{last}"))
    assert metrics(outcome["run"]) == metrics(outcome["unbroken"])
    assert (tmp_path / "output.err").read_text() == "", "no checkpoint was ever damaged"
