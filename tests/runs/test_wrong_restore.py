"""A restore that does not fit is told by ``train`` before anything is written, as ``restore-plan`` tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expkit.errors import CheckpointError
from expkit.runs.train import train

FILE = """# @package _global_
restore:
  from: {source}
  rename:
    - {{prefix: layer9, to: layer1}}
"""


def told(empty_folder: Path, source: str) -> list[str]:
    experiment = empty_folder / "conf/experiment"
    experiment.mkdir(parents=True)
    (experiment / "mine.yaml").write_text(FILE.format(source=source))
    with pytest.raises(CheckpointError) as caught:
        train(["experiment=mine", "tracking=none"], quiet=True)
    assert sorted(path.name for path in empty_folder.iterdir()) in (["conf"], ["conf", "old.npz"]), "no run is left"
    return [str(problem) for problem in caught.value.problems]


def test_a_restore_that_lacks_variables_names_file_and_line_and_leaves_no_run(empty_folder: Path) -> None:
    np.savez(empty_folder / "old.npz", other=np.zeros(3, np.float32))
    found = told(empty_folder, "old.npz")
    assert any(line.startswith("conf/experiment/mine.yaml:") for line in found), found
    assert any("variable 'layer1/kernel' gets no value" in line for line in found)


def test_a_restore_from_a_file_that_is_not_there_leaves_no_run(empty_folder: Path) -> None:
    (line,) = told(empty_folder, "gone.npz")
    assert line.startswith("conf/experiment/mine.yaml:3: restore.from: ")
