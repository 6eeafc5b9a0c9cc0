from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from expkit.config.load import load
from expkit.network.elaborate import network_spec

print(*network_spec(load([]).network).variables)
print(*(name for name in ("tensorflow", "mlflow", "sklearn") if name in sys.modules))
"""


def test_names_of_variables_are_worked_out_without_tensorflow_and_mlflow(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["layer1/kernel layer1/bias logits/kernel logits/bias", ""]


PLANS = """
import sys
from expkit.cli.main import main

try:
    main(["restore-plan", "restore.from=model", "restore.keep_initial=[.*]"])
except SystemExit as stopped:
    print(stopped.code)
print(*(name for name in ("tensorflow", "mlflow", "sklearn") if name in sys.modules))
"""


def test_a_restore_is_planned_from_a_checkpoint_without_tensorflow(tmp_path: Path) -> None:
    for file in (Path(__file__).parent / "golden/checkpoint").glob("model.ckpt-7.*"):
        (tmp_path / file.name.replace("model.ckpt-7", "model")).write_bytes(file.read_bytes())
    done = subprocess.run([sys.executable, "-c", PLANS], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == ["0", ""]
