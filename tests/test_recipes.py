"""The networks of docs/recipes.md: each trains, resumes in the middle bit for bit, and freezes with proof."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.config.load import load
from expkit.data.dataset import load_dataset
from expkit.export.freeze import read_frozen
from expkit.preflight import check
from expkit.training import autotune
from expkit.training.graphs import TrainGraph
from expkit.training.sessions import Executor
from support.experiments import assert_same, checkpoint_values, run

sys.path.append(str(Path(__file__).parents[1] / "docs"))
sys.path.append(str(Path(__file__).parents[1] / "docs" / "recipes"))

from generate import RECIPES
from make_data import DATA, lines

DOCS = Path(__file__).parents[1] / "docs"
STEPS = 20
FEW: dict[str, list[str]] = {
    "ctc": ["data.split={train: 0.7, valid: 0.1, test: 0.2}", "network.inputs.image.shape=[16, 8]"],
    "seq2seq": ["data.source.examples=200"],
    **{name: ["data.source.length=10000"] for name in ("ptb", "wavenet", "transformer")},
}
"""Overrides of recipes that make their data fewer or shorter, which 20 steps do not read."""
SMALLER: dict[str, dict[str, int]] = {"lines": {"most": 2}}
"""Sizes of the data, by name."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, make in DATA.items():
        np.savez(folder / f"{name}.npz", **make(200, **SMALLER.get(name, {})))
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[TrainGraph]:
    """The graphs that runs train with: building one again would take longer than all steps."""
    graphs: list[TrainGraph] = []
    train_graph = autotune.train_graph

    def kept(*given: Any) -> TrainGraph:
        graphs.append(train_graph(*given))
        return graphs[-1]

    monkeypatch.setattr(autotune, "train_graph", kept)
    return graphs


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_resumes_and_freezes(
    name: str, data: Path, built: list[TrainGraph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPKIT_DATA", str(data))
    clock = [f"train.steps={STEPS}", f"train.save_every_steps={STEPS // 2}", f"train.evaluate_every_steps={STEPS}"]
    small = ["train.batch_size=8", "tracking=none", "tracking.plots=false", f"run.folder={tmp_path}"]
    done = run(
        load([f"experiment={name}", *clock, *small, *FEW.get(name, [])], [str(DOCS / "recipes")]), tmp_path / "run"
    )
    assert done.frozen is not None  # only written with proof
    with Executor(built[0]) as resumed:  # a session that has seen nothing but the checkpoint
        resumed.restore(str(tmp_path / "run" / "checkpoints" / "step-00000010" / "model"))
        resumed.run(STEPS // 2)
        assert_same(resumed.values(resumed.names), checkpoint_values(done.checkpoint))


@pytest.mark.parametrize(
    ("weight", "least", "most"), [("", 0.83, 0.90), ("train.losses.consistency.weight=0", 0.73, 0.81)]
)
def test_a_mean_teacher_beats_the_labels_alone(weight: str, least: float, most: float, tmp_path: Path) -> None:
    words = ["experiment=mean_teacher", weight, "tracking=none", "export=none", f"run.folder={tmp_path}"]
    done = run(load([word for word in words if word]), tmp_path / "run")
    assert least <= done.test["test/accuracy/ema"] <= most


def test_ctc_reads_lines_of_digits_that_other_hands_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller setting than the recipe's: lines of up to 2 digits, a fifth of the steps."""
    monkeypatch.setenv("EXPKIT_DATA", str(tmp_path))
    np.savez(tmp_path / "lines.npz", **lines(2500, most=2))
    small = [
        "network.inputs.image.shape=[16, 8]",
        "data.split={train: [0, 1800], valid: [1800, 2000], test: [2000, 2500]}",
    ]
    clock = ["train.steps=400", "train.evaluate_every_steps=400", "optimizer.learning_rate=0.003"]
    words = [*small, *clock, "train.jit_compile=false", "tracking=none", "export=none", f"run.folder={tmp_path}"]
    done = run(load(["experiment=ctc", *words], [str(DOCS / "recipes")]), tmp_path / "run")
    assert done.test["test/errors/ema"] <= 0.12  # of a guess 0.9


def test_the_frozen_graph_reverses_sequences_by_attention_and_beam_search(tmp_path: Path) -> None:
    """A smaller setting than the experiment's: sequences of up to 8 of 4 symbols."""
    clock = ["train.steps=400", "train.evaluate_every_steps=400", "train.save_every_steps=400"]
    words = [*clock, "train.jit_compile=false", "tracking=none", "tracking.plots=false", f"run.folder={tmp_path}"]
    config = load(["experiment=seq2seq", *words])
    done = run(config, tmp_path / "run")
    assert done.frozen is not None
    assert done.test["test/accuracy"] >= 0.99
    fields = load_dataset(config, check(config).spec).splits["test"]
    found = read_frozen(done.frozen.path).predict({name: fields[name][:500] for name in ("input", "input_length")})
    right = (found["decoded"] == fields["target"][:500]).all(axis=1)
    assert right.mean() >= 0.95
