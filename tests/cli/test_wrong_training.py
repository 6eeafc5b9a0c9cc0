"""Wrong losses, phases, states and averages, from the command line: one message, exit code 2, nothing trained."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from expkit.config.search import builtin_conf
from support.command_line import call

sys.path.append(str(Path(__file__).parents[2] / "docs" / "recipes"))

from make_data import lines

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
CONF = builtin_conf()
G, D = (
    "G/deconv1/weights, G/deconv1/BatchNorm/gamma, G/deconv1/BatchNorm/beta, G/deconv2/weights, "
    "G/deconv2/BatchNorm/gamma, G/deconv2/BatchNorm/beta, G/image/weights, G/image/biases",
    "D/conv1/weights, D/conv1/biases, D/conv2/weights, D/conv2/biases, D/logit/weights, D/logit/biases",
)
CHECKED = {
    "a phase that trains nothing": (
        ["experiment=gan", "train.phases.d.variables=Nothing/.*"],
        "train.phases.d.variables: 'Nothing/.*' matches no variable, so the phase trains nothing; trained variables: "
        f"{G}, {D}",
    ),
    "a phase without losses": (
        ["experiment=gan", "train.phases.d.losses=[]"],
        "train.phases.d.losses: needs a length of at least 1, got 0: the list []",
    ),
    "a variable in two phases of one step": (
        ["experiment=gan", "train.update=joint", "train.phases.d.variables=.*"],
        f"{CONF}/train/adversarial.yaml:28: train.phases.g.variables: the phases d, g update at once, but each trains "
        f"{G}; with update: joint a variable is in one phase only, with update: alternating it may be in several",
    ),
    "a variable that no loss reaches": (
        ["experiment=gan", "train.phases.g.losses=[real]", "train.phases.d.losses=[fake, fooled]"],
        f"train.phases.g: none of its losses (real) depends on {G}; leave them out of its variables, or add a loss "
        "that does",
    ),
    "a layer that no loss reaches": (
        ["+network.outputs.other=other", "+network.layers.other={kind: dense, input: image, units: 3}"],
        f"{CONF}/train/classification.yaml:21: train.losses: no loss depends on other/kernel, other/bias; set "
        "trainable: false on the layers or remove them",
    ),
    "a smoothing beyond 1": (
        ["train.losses.main.label_smoothing=1.5"],
        "train.losses.main.label_smoothing: must be less than 1 (allowed: >= 0 and < 1), got 1.5",
    ),
    "a smoothing of everything": (
        ["train.losses.main.label_smoothing=1"],
        "train.losses.main.label_smoothing: must be less than 1 (allowed: >= 0 and < 1), got 1",
    ),
    "a smoothing below 0": (
        ["train.losses.main.label_smoothing=-0.1"],
        "train.losses.main.label_smoothing: must be greater than or equal to 0 (allowed: >= 0 and < 1), got -0.1",
    ),
    "a carried state with shuffled data": (
        ["experiment=ptb", "data.order=shuffled"],
        "data.order: the state of Model/RNN/cell_0/lstm, Model/RNN/cell_1/lstm is carried from batch to batch, but "
        "examples are shuffled, so none continues another; set data.order: stream, or carry: false",
    ),
    "an average that is not kept": (
        ["experiment=mean_teacher", "ema.enabled=false"],
        f"{CONF}/network/mean_teacher.yaml:17: network.layers.teacher.of: variable 'student/hidden1/kernel' (and 5 "
        "more) inside has no average: ema.enabled is false; set it to true",
    ),
    "an average of some variables": (
        ["experiment=mean_teacher", "ema.variables=student/logits/.*"],
        f"{CONF}/network/mean_teacher.yaml:17: network.layers.teacher.of: variable 'student/hidden1/kernel' (and 3 "
        "more) inside has no average: ema.variables does not match it: 'student/logits/.*'; extend it",
    ),
    "an average of no scope": (
        ["experiment=mean_teacher", "network.layers.teacher.of=studnt"],
        "network.layers.teacher.of: no scope 'studnt'; did you mean 'student'? allowed: student",
    ),
    "a training-only input that the served output needs": (
        ["experiment=seq2seq", "network.outputs.logits=decoder"],
        "network.outputs.logits: the frozen graph has 'logits', which depends on input 'previous', and that is for "
        "training only: previous -> decoder -> logits; give the output use: training, or the input use: always",
    ),
}
CTC = [
    "--config-dir", str(RECIPES), "experiment=ctc", "data.source.path={}/lines.npz",
    "data.split={train: 0.7, valid: 0.1, test: 0.2}", "network.inputs.image.shape=[16, 8]",
]  # fmt: skip
READ = {
    "a mask of another shape": (
        ["experiment=mean_teacher", "train.losses.main.weights=image"],
        "train.losses.main: fields 'label', 'image' (train): the weights in 'image' have shape [64] per example; "
        "allowed: []",
    ),
    "a mask that is not a field": (
        ["experiment=mean_teacher", "train.losses.main.weights=masks"],
        "train.losses.main.weights: the data has no field 'masks'; fields: image, label, labeled",
    ),
    "weights that are all zero": (
        ["experiment=mean_teacher", "data.source.unlabeled=[0, 1797]"],
        "train.losses.main: fields 'label', 'labeled' (train): every weight is 0 or every label ignored, so that "
        "nothing counts",
    ),
    "labels longer than frames": (
        CTC,
        "train.losses.main: fields 'label', 'frames', 'length' (train): 73 of 140 examples have labels longer than "
        "their frames, the first has 2 labels, 1 of them equal to the one before, which need 3 frames, and 1 frames "
        "(example 0)",
    ),
}


@pytest.mark.parametrize("mistake", CHECKED)
def test_the_check_tells_it_before_tensorflow_and_data(mistake: str, tmp_path: Path) -> None:
    overrides, said = CHECKED[mistake]
    done = call("check", *overrides, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.errors == [f"error: {said}"]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    every = lines(200, most=2)
    np.savez(folder / "lines.npz", **{**every, "frames": np.where(every["length"] == 2, 1, every["frames"])})
    return folder


@pytest.mark.parametrize("mistake", READ)
def test_training_tells_from_the_data_what_does_not_fit(mistake: str, data: Path, tmp_path: Path) -> None:
    overrides, said = READ[mistake]
    words = [word.replace("{}", str(data)) for word in overrides]
    done = call("train", *words, "tracking=none", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.errors == [f"error: {said}"]
    assert list(tmp_path.rglob("checkpoints/step-*")) == []
