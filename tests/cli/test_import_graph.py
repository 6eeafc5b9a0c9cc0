"""The verb ``import-graph``: drafts from checkpoints and graphs, and errors for other files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import Finished
from expkit import tf1 as tf
from expkit.config.load import load
from expkit.network.elaborate import network_spec
from support.command_line import call
from support.experiments import write_checkpoint
from support.networks import spec_of

SMALL = {
    "bert_mlm": ("layers=2", "hidden_size=128", "heads=2", "intermediate_size=48", "vocabulary_size=50"),
    "ptb_lstm": ("hidden_size=6", "vocabulary_size=50"),
    "autoencoder": ("pixels=9",),
    "digits_cnn": (),
    "siamese": (),
}


def shapes_of(text: str) -> dict[str, tuple[int, ...]]:
    return {name: item.shape for name, item in spec_of(text).variables.items()}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.usefixtures("empty_folder")
def test_names_lists_the_variables_of_the_checkpoint_that_the_file_was_drafted_from(name: str, tmp_path: Path) -> None:
    settings = [f"network.settings.{word}" for word in SMALL[name]]
    spec = network_spec(load(["~experiment", f"network={name}", *settings]).network)
    draw = np.random.default_rng(0)
    values = {key: draw.normal(size=item.shape).astype(item.dtype) for key, item in spec.variables.items()}
    prefix = write_checkpoint(tmp_path / "old" / "model.ckpt", values)
    (tmp_path / "conf" / "network").mkdir(parents=True)
    done = call("import-graph", prefix, "conf/network/mine.yaml", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "wrote conf/network/mine.yaml\n", "")
    listed = call("names", "network=mine", cwd=tmp_path)
    assert listed.code == 0, listed.err
    rows = [line.split("  ") for line in listed.out[: listed.out.index("\n\n")].splitlines()[1:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert {row[0]: row[1] for row in cells} == {key: str(list(item.shape)) for key, item in spec.variables.items()}


def build() -> tuple[Any, Any]:
    """Build a small network of TensorFlow 1's operations: convolutions, a norm, a product, an activation each."""
    image = tf.placeholder(tf.float32, [None, 28, 28, 3], name="image")

    def get(name: str, *shape: int) -> Any:
        return tf.get_variable(name, shape, use_resource=False)

    x = tf.nn.conv2d(image, get("conv/weights", 5, 5, 3, 8), [1, 2, 2, 1], "VALID", name="conv/Conv2D")
    x = tf.nn.relu(tf.nn.bias_add(x, get("conv/biases", 8)), name="conv/Relu")
    x = tf.nn.depthwise_conv2d(x, get("deep/depthwise_weights", 3, 3, 8, 1), [1, 1, 1, 1], "SAME")
    x, *_ = tf.nn.fused_batch_norm(
        x,
        get("deep/BatchNorm/gamma", 8),
        get("deep/BatchNorm/beta", 8),
        get("deep/BatchNorm/moving_mean", 8),
        get("deep/BatchNorm/moving_variance", 8),
        epsilon=0.002,
        is_training=False,
    )
    x = tf.reduce_mean(tf.nn.relu6(x), axis=[1, 2])
    x = tf.nn.tanh(tf.nn.xw_plus_b(x, get("fc/weights", 8, 4), get("fc/biases", 4)), name="fc/Tanh")
    return image, x


WANTED = {
    "conv": {
        "kind": "conv2d",
        "input": "image",
        "filters": 8,
        "kernel_size": 5,
        "strides": 2,
        "padding": "valid",
        "activation": "relu",
    },
    "depthwise_conv2d": {"kernel_size": 3, "strides": 1, "padding": "same", "use_bias": False},
    "BatchNorm": {"kind": "batch_norm", "epsilon": 0.002},
    "fc": {"kind": "dense", "units": 4, "activation": "tanh"},
}


def written(folder: Path) -> Mapping[str, Path]:
    """Write the network as a meta graph with its training, and frozen."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        _, out = build()
        loss = tf.reduce_sum(out)
        tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss, global_step=tf.train.get_or_create_global_step())
        session.run(tf.global_variables_initializer())
        tf.train.export_meta_graph(str(folder / "model.meta"))
        frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["fc/Tanh"])
        (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
    return {"meta": folder / "model.meta", "frozen": folder / "frozen.pb"}


@pytest.mark.parametrize("form", ["meta", "frozen"])
def test_a_graph_gives_strides_padding_activations_inputs_and_outputs(tmp_path: Path, form: str) -> None:
    done = call("import-graph", written(tmp_path)[form], cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    content = yaml.safe_load(done.out)
    assert content["variables"] == {"kernel": "weights", "bias": "biases", "depthwise_kernel": "depthwise_weights"}
    assert content["inputs"]["image"] == {"shape": [28, 28, 3]}
    deep = content["layers"]["deep"]["layers"]
    found = {**content["layers"], "depthwise_conv2d": next(iter(deep.values())), "BatchNorm": deep["BatchNorm"]}
    for name, fields in WANTED.items():
        assert {key: found[name].get(key) for key in fields} == fields
    assert "BatchNorm: {kind: batch_norm, epsilon: 0.002}  # fill in: momentum; then relu6\n" in done.out
    assert "# The graph's inputs: image [batch, 28, 28, 3] float32\n" in done.out
    assert f"# The graph's outputs: {'fc/Tanh' if form == 'frozen' else 'Sum'}\n" in done.out
    if form == "meta":
        assert "# Left out, because training creates them: optimizer slots VARIABLE/Momentum of 7\n" in done.out
        assert "# Left out, because training creates them: global_step\n" in done.out
    assert shapes_of(done.out) == {
        "conv/weights": (5, 5, 3, 8),
        "conv/biases": (8,),
        "deep/depthwise_weights": (3, 3, 8, 1),
        **{f"deep/BatchNorm/{name}": (8,) for name in ("gamma", "beta", "moving_mean", "moving_variance")},
        "fc/weights": (8, 4),
        "fc/biases": (4,),
    }


def test_a_run_is_drafted_as_it_was_written(digits_run: Finished, tmp_path: Path) -> None:
    done = call("import-graph", digits_run.folder, cwd=tmp_path)
    assert "# Left out, because training creates them: beta1_power, beta2_power, global_step\n" in done.out
    assert "EMA VARIABLE/ExponentialMovingAverage of 4\n" in done.out
    wanted = {"layer1/kernel": (64, 256), "layer1/bias": (256,), "logits/kernel": (256, 10), "logits/bias": (10,)}
    assert shapes_of(done.out) == wanted
    frozen = call("import-graph", digits_run.folder / "frozen.pb", cwd=tmp_path)
    assert shapes_of(frozen.out) == wanted
    assert yaml.safe_load(frozen.out)["layers"]["layer1"]["activation"] == "relu"


ALLOWED = "allowed: a .pb file, a .meta file beside its checkpoint, a SavedModel folder"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.pb", None, f"absent.pb: no such file; {ALLOWED}"),
        ("absent", None, "absent: no checkpoint at absent; allowed: a checkpoint's prefix (FILE of FILE.index)"),
        (
            "text.pb",
            b"no graph\n" * 99,
            f"text.pb: not a graph of TensorFlow: the file is damaged or of another kind; {ALLOWED}",
        ),
        (
            "empty.meta",
            b"",
            f"empty.meta: not a graph of TensorFlow: it has no operations; {ALLOWED}",
        ),
        (
            "model.h5",
            b"\x89HDF\r\n\x1a\n" + bytes(99),
            "model.h5: model.h5 is damaged or not a file of variables; allowed: a",
        ),
    ],
)
def test_a_file_that_is_not_a_graph_is_reported_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = call("import-graph", name, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    (line,) = done.errors
    assert line.startswith(f"error: {said}")


@pytest.mark.parametrize("form", ["objects", "V1", "SavedModel", "npz"])
def test_any_file_of_variables_is_drafted(tmp_path: Path, form: str) -> None:
    shapes = {"fc/kernel": (8, 4), "fc/bias": (4,)}
    name = {"V1": "old.ckpt", "npz": "old.npz"}.get(form, "old")
    if form == "npz":
        np.savez(tmp_path / name, **{key: np.zeros(shape, np.float32) for key, shape in shapes.items()})
    elif form == "objects":
        root = tf.Module()
        root.layers = [tf.Variable(tf.zeros(shape), name=key, use_resource=True) for key, shape in shapes.items()]
        tf.train.Checkpoint(root=root).write(str(tmp_path / name))
    else:
        with tf.Graph().as_default(), tf.Session() as session:
            made = {key: tf.get_variable(key, shape) for key, shape in shapes.items()}
            session.run(tf.global_variables_initializer())
            if form == "V1":
                tf.train.Saver(write_version=tf.train.SaverDef.V1).save(session, str(tmp_path / name))
            else:
                tf.nn.relu(tf.nn.xw_plus_b(tf.placeholder(tf.float32, [None, 8], "x"), *made.values()))
                builder = tf.saved_model.Builder(str(tmp_path / name))
                builder.add_meta_graph_and_variables(session, ["serve"])
                builder.save()
    done = call("import-graph", name, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert shapes_of(done.out) == shapes
    assert ("activation: relu" in done.out) == (form == "SavedModel")


def test_a_draft_that_cannot_be_written_is_reported(digits_run: Finished, tmp_path: Path) -> None:
    done = call("import-graph", digits_run.folder, "nosuch/mine.yaml", cwd=tmp_path)
    assert (done.code, done.errors) == (2, ["error: FILE: cannot write nosuch/mine.yaml (No such file or directory)"])
