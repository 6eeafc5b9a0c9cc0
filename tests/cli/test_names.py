"""The verb ``names``: what a network's variables are called, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from conftest import Finished
from expkit import tf1 as tf
from expkit.checkpoints.matching.lock import read_lock
from expkit.cli.names import as_json, table
from expkit.cli.writing import write
from expkit.config.load import load
from expkit.errors import ExpkitError
from expkit.network.phases import phases
from expkit.preflight import CheckedConfig, check
from support.command_line import call
from support.networks import spec_of

EXPERIMENTS = ["digits_mlp", "digits_cnn", "mnist_mlp", "siamese"]

SIAMESE = """\
variable           shape          dtype    parameters  trained  used by
tower/conv/kernel  [3, 3, 1, 32]  float32         288  yes      left_tower/conv, right_tower/conv
tower/conv/bias    [32]           float32          32  yes      left_tower/conv, right_tower/conv
tower/code/kernel  [512, 64]      float32      32,768  yes      left_tower/code, right_tower/code
tower/code/bias    [64]           float32          64  yes      left_tower/code, right_tower/code
joined/kernel      [64, 64]       float32       4,096  yes      joined
joined/bias        [64]           float32          64  yes      joined
logits/kernel      [64, 2]        float32         128  yes      logits
logits/bias        [2]            float32           2  yes      logits

8 variables, 37,442 parameters, 37,442 trained

EMA:
  tower/conv/kernel/ExponentialMovingAverage
"""


def listed_names(lines: list[str]) -> set[str]:
    """Return the names of all variables that a listing promises to be in a checkpoint."""
    end = next(i for i, line in enumerate(lines) if line.startswith("inputs:"))
    rows = [line for line in lines[1:end] if (line and not line.endswith((":", " trained"))) or line.startswith("  ")]
    return {row.split()[0] for row in rows}


def test_shared_variables_are_listed_once_with_all_that_use_them(tmp_path: Path) -> None:
    done = call("names", "experiment=siamese", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(SIAMESE)


def test_inputs_and_outputs_close_the_listing(tmp_path: Path) -> None:
    lines = call("names", cwd=tmp_path).out.splitlines()
    assert lines[-5:] == [
        "inputs:",
        "  image:0  [batch, 64] float32",
        "",
        "outputs:",
        "  logits:0  [batch, 10] float32",
    ]


def test_statistics_of_a_normalization_are_listed_but_not_trained(tmp_path: Path) -> None:
    lines = call("names", "experiment=digits_cnn", cwd=tmp_path).out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.startswith("features/norm1/")}
    assert {name: row[-2] for name, row in rows.items()} == {
        "features/norm1/gamma": "yes",
        "features/norm1/beta": "yes",
        "features/norm1/moving_mean": "no",
        "features/norm1/moving_variance": "no",
    }
    assert "  features/norm1/moving_mean/ExponentialMovingAverage" not in lines


def test_without_averages_none_are_listed(tmp_path: Path) -> None:
    out = call("names", "ema=none", "optimizer=sgd", cwd=tmp_path).out
    assert "EMA:" not in out
    assert "optimizer (" not in out
    assert "\nother:\n  global_step\n" in out


@pytest.mark.parametrize("optimizer", ["adagrad", "adam", "adamw", "momentum", "rmsprop", "sgd"])
def test_the_listing_is_what_a_checkpoint_holds(optimizer: str, tmp_path: Path) -> None:
    overrides = [f"optimizer={optimizer}", "train.steps=1", "tracking=none", "export=none"]
    listing = call("names", *overrides, cwd=tmp_path).out.splitlines()
    assert call("train", *overrides, "hydra.run.dir=run", cwd=tmp_path).code == 0
    reader = tf.train.load_checkpoint(str(tmp_path / "run" / "checkpoints" / "step-00000001" / "model"))
    assert listed_names(listing) == set(reader.get_variable_to_shape_map())


def test_the_listing_is_what_a_trained_run_holds(digits_run: Finished) -> None:
    listing = call("names", cwd=digits_run.cwd).out.splitlines()
    reader = tf.train.load_checkpoint(str(digits_run.folder / "checkpoints" / "step-00000060" / "model"))
    assert listed_names(listing) == set(reader.get_variable_to_shape_map())


def test_a_folder_of_ones_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine" / "network").mkdir(parents=True)
    (tmp_path / "mine" / "network" / "tiny.yaml").write_text(
        "inputs: {image: {shape: [64]}}\nlayers: {logits: {kind: dense, units: 10}}\noutputs: {logits: logits}\n"
    )
    done = call("names", "--config-dir", "mine", "network=tiny", cwd=tmp_path)
    assert done.code == 0
    assert done.out.splitlines()[1].split() == ["logits/kernel", "[64,", "10]", "float32", "640", "yes", "logits"]
    assert call("names", "--config-dir", "nosuch", cwd=tmp_path).errors == ["error: --config-dir: no folder nosuch"]


@pytest.mark.usefixtures("empty_folder")
def test_a_network_without_variables_is_listed_too() -> None:
    spec = spec_of("layers: {drop: {kind: dropout, rate: 0.5}}")
    config = load(["ema=none", "optimizer=sgd"])
    found = phases(config.train, config.optimizer, spec)
    lines = table(CheckedConfig(config=config, spec=spec, ema_names=(), phases=found))
    assert lines[0].split() == ["variable", "shape", "dtype", "parameters", "trained", "used", "by"]
    assert "0 variables, 0 parameters, 0 trained" in lines


def names_in(described: dict[str, Any]) -> set[str]:
    """Return the names of all variables that the JSON promises to be in a checkpoint."""
    optimizers = [phase["optimizer"] for phase in described.get("phases", {}).values()]
    optimizers += [described["optimizer"]] if "optimizer" in described else []
    names = {*described["other"], *(name for optimizer in optimizers for name in optimizer["variables"])}
    for variable in described["variables"]:
        names |= {variable["name"], *variable["slots"], *filter(None, [variable["average"]])}
    return names


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.usefixtures("empty_folder")
def test_json_and_tables_name_the_same(experiment: str) -> None:
    config = load([f"experiment={experiment}"])
    checked = check(config)
    assert names_in(as_json(checked)) == listed_names(table(checked))


def test_json_is_one_object_with_everything(tmp_path: Path) -> None:
    done = call("names", "experiment=siamese", "--json", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert list(told) == ["variables", "optimizer", "other", "inputs", "outputs", "totals"]
    assert told["variables"][0] == {
        "name": "tower/conv/kernel",
        "shape": [3, 3, 1, 32],
        "dtype": "float32",
        "parameters": 288,
        "trainable": True,
        "layers": ["left_tower/conv", "right_tower/conv"],
        "average": "tower/conv/kernel/ExponentialMovingAverage",
        "slots": ["tower/conv/kernel/Adam", "tower/conv/kernel/Adam_1"],
    }
    assert told["optimizer"] == {"kind": "adam", "variables": ["beta1_power", "beta2_power"]}
    assert told["inputs"][0] == {"name": "left", "tensor": "left:0", "shape": [None, 8, 8, 1], "dtype": "float32"}
    assert told["outputs"] == [{"name": "logits", "tensor": "logits:0", "shape": [None, 2], "dtype": "float32"}]
    assert told["totals"] == {"variables": 8, "parameters": 37442, "trainable_parameters": 37442}


def test_what_is_not_trained_has_no_average_and_no_slots(tmp_path: Path) -> None:
    told = json.loads(call("names", "experiment=digits_cnn", "--json", cwd=tmp_path).out)
    (mean,) = [item for item in told["variables"] if item["name"] == "features/norm1/moving_mean"]
    assert (mean["trainable"], mean["average"], mean["slots"]) == (False, None, [])


def test_a_network_is_drawn_into_a_file(tmp_path: Path) -> None:
    done = call("names", "experiment=siamese", "--graph", "siamese.svg", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "wrote siamese.svg\n", "")
    assert ElementTree.parse(tmp_path / "siamese.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["experiment=siamese", "--lock"], "network.lock.yaml"),
        (["--lock", "experiment=siamese"], "network.lock.yaml"),
        (["experiment=siamese", "--lock", "mine.yaml"], "mine.yaml"),
        (["--lock", "mine.yaml", "experiment=siamese"], "mine.yaml"),
    ],
)
def test_a_lock_is_written_wherever_its_option_stands(words: list[str], file: str, tmp_path: Path) -> None:
    done = call("names", *words, cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, f"wrote {file}\n", "")
    assert next(iter(read_lock(tmp_path / file))) == "tower/conv/kernel"
    assert f"# Written by: expkit names experiment=siamese --lock {file}\n" in (tmp_path / file).read_text()


@pytest.mark.parametrize("option", ["--lock", "--graph"])
def test_a_file_that_cannot_be_written_is_named(option: str, tmp_path: Path) -> None:
    done = call("names", option, "no/such/file", cwd=tmp_path)
    assert (done.code, done.errors) == (2, [f"error: {option}: cannot write no/such/file (No such file or directory)"])


def test_a_file_that_cannot_be_written_keeps_what_it_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "network.svg"
    file.write_text("before")
    with monkeypatch.context() as fault:
        fault.setattr(Path, "write_text", full)
        with pytest.raises(ExpkitError) as caught:
            write(str(file), "after", "--graph")
    assert str(caught.value) == f"--graph: cannot write {file} (No space left on device)"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("network.svg", "before")]
