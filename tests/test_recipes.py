"""The networks of docs/recipes.md: each trains, resumes in the middle bit for bit, and freezes with proof."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from expkit.config.load import load
from support.experiments import assert_same, checkpoint_values, run
from support.trainings import train

DOCS = Path(__file__).parent.parent / "docs"
sys.path += [str(DOCS), str(DOCS / "recipes")]

from generate import RECIPES  # noqa: E402
from make_data import DATA  # noqa: E402

STEPS = 20
SPLIT = "{train: 0.7, valid: 0.1, test: 0.2}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, make in DATA.items():
        np.savez(folder / f"{name}.npz", **make(200))
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_resumes_and_freezes(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPKIT_DATA", str(data))
    clock = [f"train.steps={STEPS}", f"train.save_every_steps={STEPS // 2}", f"train.evaluate_every_steps={STEPS}"]
    whole = [f"data.split={SPLIT}"] if name == "ctc" else []  # its data are fewer here
    small = [*whole, "train.batch_size=8", "tracking=none", "tracking.plots=false", f"run.folder={tmp_path}"]
    config = load([f"experiment={name}", *clock, *small], [str(DOCS / "recipes")])
    done = run(config, tmp_path / "run")
    assert done.frozen is not None  # only written with proof
    half = tmp_path / "half" / "step-00000010"
    shutil.copytree(tmp_path / "run" / "checkpoints" / half.name, half)
    resumed = train(config, half.parent)
    assert resumed.store.latest() is not None
    assert_same(resumed.values, checkpoint_values(done.checkpoint))


@pytest.mark.parametrize(
    ("weight", "least", "most"), [("", 0.83, 0.90), ("train.losses.consistency.weight=0", 0.73, 0.81)]
)
def test_a_mean_teacher_beats_the_labels_alone(weight: str, least: float, most: float, tmp_path: Path) -> None:
    words = ["experiment=mean_teacher", weight, "tracking=none", "export=none", f"run.folder={tmp_path}"]
    done = run(load([word for word in words if word]), tmp_path / "run")
    assert least <= done.test["test/accuracy/ema"] <= most
