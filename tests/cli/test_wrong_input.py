"""Wrong input, from the command line to its one message: path, word, what was allowed, the way out; exit code 2."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import expkit.kinds.layers  # noqa: F401  # registers the kinds
from conftest import Finished
from expkit.config.load import load
from expkit.config.search import builtin_conf
from expkit.registry import kinds
from expkit.run_folder import RunFolder
from support.command_line import BARE, call

CONF = builtin_conf()
LAYER_FIELDS = (
    "kind, input, scope, reuse, variables, initializer, regularizer, share, trainable, learning_rate_multiplier"
)
KINDS = ", ".join(kinds("layer"))

# The overrides, and every line that is said of them.
CONFIGURATIONS = {
    "unknown section": (
        ["trian.steps=3"],
        [
            "trian: unknown field; did you mean 'train'? allowed: plugins, run, network, data, optimizer, train, ema, "
            "restore, export, tracking"
        ],
    ),
    "unknown key in a section": (
        ["run.sead=3"],
        ["run.sead: unknown field; did you mean 'seed'? allowed: name, seed, folder, resume"],
    ),
    "unknown key in a layer": (
        ["network.layers.layer1.unit=3"],
        [
            "network.layers.layer1.unit: unknown field for kind 'dense'; did you mean 'units'? allowed: "
            f"{LAYER_FIELDS}, units, activation, use_bias"
        ],
    ),
    "unknown key in a layer in a scope": (
        ["network=digits_cnn", "network.layers.features.layers.conv1.filter=3"],
        [
            "network.layers.features.layers.conv1.filter: unknown field for kind 'conv2d'; did you mean 'filters'? "
            f"allowed: {LAYER_FIELDS}, filters, kernel_size, strides, padding, dilation_rate, groups, activation, "
            "use_bias"
        ],
    ),
    "unknown key in a schedule": (
        ["optimizer=sgd_exponential", "optimizer.learning_rate.decay=3"],
        [
            "optimizer.learning_rate.decay: unknown field for kind 'exponential'; did you mean 'decay_rate'? allowed: "
            "kind, initial_learning_rate, decay_steps, decay_rate, staircase"
        ],
    ),
    "unknown kind of layer": (
        ["network.layers.layer1.kind=dens"],
        [f"network.layers.layer1.kind: unknown kind 'dens'; did you mean 'dense'? allowed: {KINDS}"],
    ),
    "unknown kind of loss": (
        ["train.losses.main.kind=bleu"],
        [
            "train.losses.main.kind: unknown kind 'bleu'; allowed: sparse_softmax_cross_entropy, "
            "softmax_cross_entropy, sigmoid_cross_entropy, mean_squared_error, hinge, focal, kl_divergence, dice, "
            "triplet, contrastive, info_nce, absolute_error, huber, poisson, cosine, value, "
            "sampled_softmax, nce, ctc"
        ],
    ),
    "unknown file of a group": (
        ["optimizer=adm"],
        [
            "optimizer: no file 'adm' in this group; did you mean 'adam'? allowed: adagrad, adam, adamw, momentum, "
            "rmsprop, sgd, sgd_exponential"
        ],
    ),
    "missing field of a layer": (
        ["~network.layers.layer1.units"],
        [
            "network.layers.layer1.units: missing: kind 'dense' needs it (Size of the output's last dimension); add "
            "network.layers.layer1.units=VALUE"
        ],
    ),
    "missing path of the data": (
        ["data=npz"],
        [f"{CONF}/data/npz.yaml:5: data.source.path: missing: give it with data.source.path=VALUE"],
    ),
    "text in place of a number": (
        ["network.layers.layer1.units=many"],
        ["network.layers.layer1.units: needs a whole number, got 'many' (text)"],
    ),
    "a number in place of true or false": (
        ["ema.enabled=3"],
        ["ema.enabled: needs true or false, got 3"],
    ),
    "unknown input layer": (
        ["+network.layers.logits.input=layr1"],
        [
            "network.layers.logits.input: no layer or input 'layr1'; did you mean 'layer1'? allowed: image, layer1, "
            "dropout, logits"
        ],
    ),
    "cycle": (
        ["+network.layers.layer1.input=logits"],
        [
            "network.layers.layer1.input: these layers read each other in a cycle: "
            "layer1 <- logits <- dropout <- layer1"
        ],
    ),
    "shape that does not fit": (
        ["+network.layers.sum={kind: add, input: [layer1, logits]}"],
        [
            "network.layers.sum: add needs inputs of one shape, or of size 1 where they differ, got [batch, 256] "
            "float32 and [batch, 10] float32; 'sum' reads 'layer1' [batch, 256] float32, 'logits' [batch, 10] float32"
        ],
    ),
    "output that is not a layer": (
        ["network.outputs.logits=logit"],
        ["network.outputs.logits: no layer 'logit'; did you mean 'logits'? allowed: layer1, dropout, logits"],
    ),
    "decay of one": (
        ["ema.decay=1"],
        ["ema.decay: must be less than 1 (allowed: > 0 and < 1), got 1"],
    ),
    "decay of zero": (
        ["ema.decay=0"],
        ["ema.decay: must be greater than 0 (allowed: > 0 and < 1), got 0"],
    ),
    "averages asked for where there are none": (
        ["ema=none", "export.weights=ema"],
        ["export.weights is 'ema' but ema.enabled is false; allowed then: auto, raw"],
    ),
    "two problems at once": (
        ["ema.decay=2", "network.layers.layer1.units=-1", "optimizer.learning_rte=1"],
        [
            "network.layers.layer1.units: must be greater than 0, got -1",
            "optimizer.learning_rte: unknown field for kind 'adam'; did you mean 'learning_rate'? allowed: kind, "
            "learning_rate, warmup_steps, global_clipnorm, beta_1, beta_2, epsilon",
            "ema.decay: must be less than 1 (allowed: > 0 and < 1), got 2",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("verb", ["train", "names"])
@pytest.mark.parametrize("mistake", CONFIGURATIONS)
def test_a_wrong_configuration_is_explained_and_leaves_nothing(verb: str, mistake: str, tmp_path: Path) -> None:
    overrides, said = CONFIGURATIONS[mistake]
    done = call(verb, *overrides, cwd=tmp_path)
    assert (done.code, done.errors, done.out) == (2, [f"error: {line}" for line in said], "")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_loss_of_an_output_that_is_none_is_reported_where_it_is_to_be_trained(tmp_path: Path) -> None:
    done = call("train", "train.losses.main.output=logit", cwd=tmp_path)
    said = "error: train.losses.main.output: no output 'logit'; did you mean 'logits'? allowed: logits"
    assert (done.code, done.errors, done.out) == (2, [said], "")
    assert list(tmp_path.iterdir()) == []
    assert call("names", "train.losses.main.output=logit", cwd=tmp_path).code == 0, "names asks nothing of losses"


def test_a_run_to_continue_that_is_not_there_is_answered_with_those_that_are(
    digits_run: Finished, tmp_path: Path
) -> None:
    done = call("train", "run.resume=nosuch", cwd=tmp_path)
    assert (done.code, done.errors) == (2, ["error: nosuch: does not exist; runs: none"])
    run = shutil.copytree(digits_run.folder, tmp_path / "runs" / "2026-11-25" / "a_run")
    done = call("train", "run.resume=nosuch", cwd=tmp_path)
    said = f"error: nosuch: does not exist; runs: {run.relative_to(tmp_path).as_posix()}"
    assert (done.code, done.errors) == (2, [said])


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data: good, with a label too large, with a NaN, and IDX files whole and cut."""
    folder = tmp_path_factory.mktemp("arrays")
    draw = np.random.default_rng(0)
    image, label = draw.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    holed, wrong = image.copy(), label.copy()
    holed[7, 2], wrong[7] = np.nan, 12
    np.savez(folder / "good.npz", image=image, label=label)
    np.savez(folder / "nan.npz", image=holed, label=label)
    np.savez(folder / "labels.npz", image=image, label=wrong)
    images = bytes([0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(240)
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 60]) + bytes(60)
    (folder / "images").write_bytes(images)
    (folder / "labels").write_bytes(labels)
    (folder / "images.cut").write_bytes(images[:-1])
    (folder / "images.cut.gz").write_bytes(gzip.compress(images)[:-5])
    return folder


NETWORK = ["network.inputs.image.shape=[4]", "network.layers.logits.units=3", "train.batch_size=8", "train.steps=2"]
NPZ = ["data=npz", *NETWORK, "tracking=none"]
IDX = ["data=mnist", *NETWORK, "tracking=none", "data.split={train: 0.5, valid: 0.2, test: 0.3, seed: 0}"]

# What is wrong with the data, and what is said of it; {} stands for the folder.
DATA = {
    "file missing": (
        [*NPZ, "data.source.path={}/god.npz"],
        "data.source.path: no file {}/god.npz; did you mean 'good.npz'? give the path of an existing file with "
        "data.source.path=PATH",
    ),
    "file of another kind": (
        [*NPZ, "data.source.path={}/labels"],
        "data.source.path: {}/labels is not a readable .npz file: it is not a zip archive",
    ),
    "IDX file cut": (
        [*IDX, "data.source.images={}/images.cut", "data.source.labels={}/labels"],
        "data.source.images: {}/images.cut is truncated or damaged: 255 bytes, its header says 256; fetch it again",
    ),
    "gzipped IDX file cut": (
        [*IDX, "data.source.images={}/images.cut.gz", "data.source.labels={}/labels"],
        "data.source.images: {}/images.cut.gz cannot be read: Compressed file ended before the end-of-stream marker "
        "was reached; it is truncated or damaged, fetch it again",
    ),
    "IDX files exchanged": (
        [*IDX, "data.source.images={}/labels", "data.source.labels={}/labels"],
        "data.source.images: {}/labels is not an IDX file of 3 dimension(s): magic 0x00000801, expected 0x00000803",
    ),
    "labels outside the classes": (
        [*NPZ, "data.source.path={}/labels.npz"],
        "train.losses.main: field 'label' (valid): 1 of 6 examples have a label that is not allowed, the first is 12 "
        "(example 5); allowed: whole numbers 0 to 2, for 3 classes; change the last layer's units or the data",
    ),
    "NaN in the inputs": (
        [*NPZ, "data.source.path={}/nan.npz"],
        "data.source: field 'image': 1 of 6 valid examples hold NaN or infinity, the first is example 5; "
        "clean the data",
    ),
    "shape that is not the network's": (
        [*NPZ, "data.source.path={}/good.npz", "network.inputs.image.shape=[5]"],
        "network.inputs.image: the network needs shape [5] per example, the data has [4]",
    ),
    "batch larger than the data": (
        [*NPZ, "data.source.path={}/good.npz", "train.batch_size=64"],
        "train.batch_size: 64 is more than the 42 training examples",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", DATA)
def test_wrong_data_is_explained_and_fails_the_run(mistake: str, arrays: Path, tmp_path: Path) -> None:
    overrides, said = DATA[mistake]
    done = call("train", *(word.replace("{}", str(arrays)) for word in overrides), cwd=tmp_path)
    said = said.replace("{}", str(arrays))
    assert (done.code, done.errors, done.out) == (2, [f"error: {said}"], "")
    (state,) = (json.loads(file.read_text()) for file in tmp_path.rglob("run.json"))
    assert (state["status"], state["error"]) == ("FAILED", said)


def test_a_missing_checkpoint_is_explained_before_there_is_a_run(tmp_path: Path) -> None:
    done = call("train", "tracking=none", "restore.from=nosuch", cwd=tmp_path)
    said = (
        "error: restore.from: no checkpoint at nosuch; allowed: a checkpoint's prefix (FILE of FILE.index), a folder "
        "of checkpoints, a run folder, a SavedModel folder, a checkpoint file of TensorFlow's V1 format, a .npz or "
        ".safetensors file"
    )
    assert (done.code, done.errors, done.out) == (2, [said], "")
    assert list(tmp_path.rglob("run.json")) == []


def test_a_wrong_restore_is_reported_before_there_is_a_run_and_before_one_without_a_checkpoint_goes_on(
    digits_run: Finished, tmp_path: Path
) -> None:
    restore = [f"restore.from={digits_run.folder}", "restore.optimizer=restore", "optimizer=adam", "tracking=none"]
    done = call("train", *restore, "train.steps=60", cwd=tmp_path)
    said = "the restored optimizer has done 60 steps, which count; give more, or set restore.optimizer to reset"
    assert (done.code, done.errors) == (2, [f"error: train.steps: is 60, but {said}"])
    assert list(tmp_path.rglob("run.json")) == []
    np.savez(tmp_path / "w.npz", w=np.ones(2))
    words = ["train", "restore.from=w.npz", "tracking=none"]
    RunFolder.create(tmp_path / "killed", load(words[1:]), words[1:])  # killed before its first save
    done = call(*words, "run.resume=killed", cwd=tmp_path)
    assert done.code == 2
    assert "layer1/kernel" in done.errors[0]
    assert sorted(file.name for file in (tmp_path / "killed").iterdir()) == [
        "config.yaml", "overrides.yaml", "run.json"
    ]  # fmt: skip


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "index cut": lambda index, data: index.write_bytes(index.read_bytes()[:-20]),
    "index of something else": lambda index, data: index.write_bytes(b"nothing of the kind" * 20),
    "data cut": lambda index, data: data.write_bytes(data.read_bytes()[:1000]),
    "data missing": lambda index, data: data.unlink(),
    "data changed": lambda index, data: data.write_bytes(bytes(255 - byte for byte in data.read_bytes())),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_damaged_is_never_restored(damage: str, digits_run: Finished, tmp_path: Path) -> None:
    shutil.copytree(digits_run.folder / "checkpoints" / "step-00000060", tmp_path / "ckpt")
    DAMAGES[damage](tmp_path / "ckpt" / "model.index", tmp_path / "ckpt" / "model.data-00000-of-00001")
    done = call("train", "train.steps=2", "tracking=none", "restore.from=ckpt/model", cwd=tmp_path)
    assert done.code == 2
    (line,) = done.errors
    assert line.startswith("error: restore.from: ckpt/model is damaged or incomplete: ")
    assert line.endswith("; use another checkpoint")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(
    damage: str, digits_run: Finished, tmp_path: Path
) -> None:
    shutil.copytree(digits_run.folder, tmp_path / "run")
    latest = Path("run/checkpoints/step-00000060/model")
    files = (tmp_path / f"{latest}.index", tmp_path / f"{latest}.data-00000-of-00001")
    DAMAGES[damage](*files)
    done = call("train", *BARE, "train.steps=80", "tracking=none", "run.resume=run", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    log = (tmp_path / "run/run.log").read_text()
    assert f"WARNING expkit.checkpoints.store: {tmp_path / latest.parent} is damaged and skipped: " in log
    assert f"resumed from {tmp_path}/run/checkpoints/step-00000040/model" in log
    for name in ("model.index", "model.data-00000-of-00001"):  # Done again, to the same bits.
        path = latest.with_name(name)
        assert (tmp_path / path).read_bytes() == (digits_run.folder / path.relative_to("run")).read_bytes()


@pytest.mark.parametrize(("place", "reason"), [("taken", "File exists"), ("taken/runs", "Not a directory")])
def test_a_run_folder_that_cannot_be_written_is_named(place: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file in its place")
    done = call("train", f"run.folder={place}", cwd=tmp_path)
    said = f"cannot write {place} ({reason}); give a writable folder with run.folder=PATH"
    assert (done.code, done.errors) == (2, [f"error: run.folder: {said}"])
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_a_restore_that_does_not_fit_names_every_variable(digits_run: Finished, tmp_path: Path) -> None:
    words = [f"restore.from={digits_run.folder}", "network.layers.layer1.units=8", "tracking=none", "train.steps=2"]
    done = call("train", *words, cwd=tmp_path)
    assert done.code == 2
    for name in ("layer1/kernel", "layer1/bias", "logits/kernel"):
        assert any(name in line for line in done.errors), done.err
