"""Restores of checkpoints of plain TensorFlow programs: renamed, EMA, damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.restore.restore import Restored, read_values, restore_from
from expkit.checkpoints.restore.targets import run_targets
from expkit.checkpoints.writer import write_values
from expkit.errors import CheckpointError
from expkit.preflight import check
from expkit.run_folder import RunFolder
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from support.experiments import MLP, Values, assert_same, checkpoint_values, config_of, loaded, write_checkpoint

GOLDEN = Path(__file__).parents[2] / "golden/checkpoint"
EMA = "/ExponentialMovingAverage"
SQUARE = {
    "inputs": {"x": {"shape": [3]}},
    "variables": {"kernel": "weights", "bias": "biases"},
    "layers": {
        "layer1": {"kind": "dense", "units": 3, "activation": "relu"},
        "layer2": {"kind": "dense", "units": 3},
    },
    "outputs": {"logits": "layer2"},
}


def counted(first: int, *shape: int) -> np.ndarray:
    return np.arange(first, first + np.prod(shape), dtype=np.float32).reshape(shape)


RAW = {
    "layer1/weights": counted(100, 3, 3),
    "layer1/biases": counted(109, 3),
    "layer2/weights": counted(112, 3, 3),
    "layer2/biases": counted(121, 3),
}
"""Values of the golden checkpoint; its EMA values are 50 less."""


def restored(folder: Path, network: dict[str, Any] = SQUARE, **restore: Any) -> Restored:
    ema = restore.pop("ema", {})
    config = config_of(folder, network=network, restore={"from": str(GOLDEN), **restore}, ema=ema)
    return restore_from(check(config))


def test_the_checkpoint_of_a_plain_program_restores_without_rules_with_its_emas(tmp_path: Path) -> None:
    done = restored(tmp_path)
    assert_same(done.values, {**RAW, **{name + EMA: value - 50 for name, value in RAW.items()}})
    assert done.plan.files == {"restore": str(GOLDEN / "model.ckpt-7")}
    assert done.plan.unused == {"restore": ("global_step",)}


def test_ema_loads_emas_into_the_variables(tmp_path: Path) -> None:
    done = restored(tmp_path, weights="ema")
    averages = {name: value - 50 for name, value in RAW.items()}
    assert_same(done.values, {**averages, **{name + EMA: value for name, value in averages.items()}})
    assert {item.sources for item in done.plan.assignments} == {(name + EMA,) for name in RAW}


def test_a_network_without_ema_restores_raw_or_ema_values_only(tmp_path: Path) -> None:
    off = {"enabled": False}
    assert_same(restored(tmp_path, ema=off).values, RAW)
    assert_same(restored(tmp_path, ema=off, weights="ema").values, {name: value - 50 for name, value in RAW.items()})


def test_layers_are_swapped_by_two_rules(tmp_path: Path) -> None:
    rules = [{"pattern": "layer1/(.*)", "to": r"layer2/\1"}, {"pattern": "layer2/(.*)", "to": r"layer1/\1"}]
    values = restored(tmp_path, rename=rules).values
    for name in ("weights", "biases"):
        for one, other in (("layer1", "layer2"), ("layer2", "layer1")):
            np.testing.assert_array_equal(values[f"{one}/{name}"], RAW[f"{other}/{name}"])
            np.testing.assert_array_equal(values[f"{one}/{name}{EMA}"], RAW[f"{other}/{name}"] - 50)


def test_one_layer_fans_out_to_two(tmp_path: Path) -> None:
    rules = [
        {"pattern": "layer1/(.*)", "to": r"layer1/\1"},
        {"pattern": "layer1/(.*)", "to": r"layer2/\1"},
        {"pattern": "layer2/(.*)", "to": r"layer3/\1"},
    ]
    layers = {**SQUARE["layers"], "layer3": {"kind": "dense", "units": 3}}
    network = {**SQUARE, "layers": layers, "outputs": {"logits": "layer3"}}
    values = restored(tmp_path, network, rename=rules).values
    np.testing.assert_array_equal(values["layer2/weights"], RAW["layer1/weights"])
    np.testing.assert_array_equal(values["layer3/weights"], RAW["layer2/weights"])


def test_keep_initial_leaves_a_new_head_to_its_initializer(tmp_path: Path) -> None:
    layers = {"layer1": SQUARE["layers"]["layer1"], "head": {"kind": "dense", "units": 5}}
    network = {**SQUARE, "layers": layers, "outputs": {"logits": "head"}}
    config = config_of(tmp_path, network=network, restore={"from": str(GOLDEN), "keep_initial": ["head/.*"]})
    checked, data = loaded(config)
    spec = checked.spec
    done = restore_from(checked)
    heads = ("head/weights", "head/biases")
    assert done.plan.kept_initial == (*heads, *(name + EMA for name in heads))
    assert done.plan.loaded == "2/4"
    with Executor(train_graph(checked, data)) as executor:
        executor.initialize()
        fresh = executor.values(spec.variables)
        executor.load(done.values)
        after = executor.values(spec.variables)
    np.testing.assert_array_equal(after["head/weights"], fresh["head/weights"])
    np.testing.assert_array_equal(after["layer1/weights"], RAW["layer1/weights"])


def test_an_ema_that_the_checkpoint_lacks_starts_as_its_variable(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "raw/model", RAW)
    values = restored(tmp_path, **{"from": str(file)}).values
    assert_same(values, {**RAW, **{name + EMA: value for name, value in RAW.items()}})


def test_all_required_emas_that_are_absent_are_reported_at_once(tmp_path: Path) -> None:
    some = {"layer1/weights" + EMA: RAW["layer1/weights"]}
    file = write_checkpoint(tmp_path / "raw/model", {**RAW, **some})
    with pytest.raises(CheckpointError) as caught:
        restored(tmp_path, **{"from": str(file), "weights": "ema"})
    assert [str(problem) for problem in caught.value.problems] == [
        f"restore: variable '{name}' has no EMA in the checkpoint: '{name}{EMA}' is absent; set weights to "
        "ema_if_present or raw, or leave the variable out of ema.variables"
        for name in ("layer1/biases", "layer2/weights", "layer2/biases")
    ]


def test_an_intermediate_value_larger_than_memory_is_reported(tmp_path: Path) -> None:
    pad = [[0, 10**13], [0, 0]]
    rule = {"name": "layer1/weights", "transform": [{"pad": pad}], "on_shape_mismatch": "slice_or_pad"}
    with pytest.raises(CheckpointError) as caught:
        restored(tmp_path, rename=[rule])
    assert str(caught.value) == (
        f"restore: variable 'layer1/weights': pad {pad}, slice [[0, 3], null] needs more memory than there is; make it "
        "smaller"
    )


def test_emas_are_required_of_the_variables_that_ema_matches_only(tmp_path: Path) -> None:
    some = {name + EMA: RAW[name] - 50 for name in ("layer1/weights", "layer2/weights")}
    file = write_checkpoint(tmp_path / "some/model", {**RAW, **some})
    asked = {"from": str(file), "weights": "ema", "ema": {"variables": ".*/weights"}}
    values = restored(tmp_path, **asked).values
    np.testing.assert_array_equal(values["layer1/weights"], RAW["layer1/weights"] - 50)
    np.testing.assert_array_equal(values["layer1/biases"], RAW["layer1/biases"])


def test_moving_statistics_are_restored_raw(tmp_path: Path) -> None:
    layers = {"norm": {"kind": "batch_norm"}, **SQUARE["layers"]}
    trained = {name: counted(10 * i, 3) for i, name in enumerate(("norm/gamma", "norm/beta"))}
    moving = {"norm/moving_mean": counted(40, 3), "norm/moving_variance": counted(50, 3)}
    all_raw = {**RAW, **trained, **moving}
    averages = {name + EMA: value + 500 for name, value in {**RAW, **trained}.items()}
    file = write_checkpoint(tmp_path / "norm/model", {**all_raw, **averages})
    asked = {"from": str(file), "weights": "ema"}
    values = restored(tmp_path, {**SQUARE, "layers": layers}, **asked).values
    for name in all_raw:
        np.testing.assert_array_equal(values[name], moving[name] if name in moving else all_raw[name] + 500)


def test_a_frozen_variable_is_restored_from_its_ema_if_the_file_has_one(tmp_path: Path) -> None:
    layers = {**SQUARE["layers"], "layer1": {**SQUARE["layers"]["layer1"], "trainable": False}}
    values = restored(tmp_path, {**SQUARE, "layers": layers}, weights="ema").values
    np.testing.assert_array_equal(values["layer1/weights"], RAW["layer1/weights"] - 50)
    assert "layer1/weights" + EMA not in values


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Values]:
    """Return the checkpoint of a run with averages, and its values."""
    folder = tmp_path_factory.mktemp("saved")
    config = config_of(folder, network=MLP)
    with Executor(train_graph(*loaded(config))) as executor:
        executor.initialize()
        executor.run(5)
        write_values(str(folder / "model"), executor.values(executor.names))
    return folder / "model", checkpoint_values(folder / "model")


def test_values_of_a_run_are_read_raw_or_ema(saved: tuple[Path, Values], tmp_path: Path) -> None:
    prefix, values = saved
    spec = check(config_of(tmp_path, network=MLP)).spec
    wanted = run_targets(spec, spec.trainable, averages=())
    source = open_variables(prefix, str(prefix))
    raw, averaged = (read_values(source, wanted, weights).values for weights in ("raw", "ema"))
    assert_same(raw, {name: values[name] for name in spec.variables})
    assert_same(averaged, {name: values[name + EMA] for name in spec.variables})


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda content: b""], ids=["truncated", "flipped", "empty"])
@pytest.mark.parametrize("file", ["model.data-00000-of-00001", "model.index"])
def test_a_damaged_checkpoint_is_reported(
    saved: tuple[Path, Values], tmp_path: Path, file: str, damage: Callable[[bytes], bytes]
) -> None:
    prefix, _ = saved
    for source in prefix.parent.glob("model.*"):
        content = source.read_bytes()
        (tmp_path / source.name).write_bytes(damage(content) if source.name == file else content)
    config = config_of(tmp_path, network=MLP, restore={"from": str(tmp_path / "model")})
    with pytest.raises(CheckpointError) as caught:
        restore_from(check(config))
    said = str(caught.value)
    assert said.startswith(f"restore.from: {tmp_path}/model is damaged or incomplete: ")
    assert said.endswith("; use another checkpoint")
    assert "\n" not in said


def test_a_checkpoint_without_its_data_is_reported(saved: tuple[Path, Values], tmp_path: Path) -> None:
    prefix, _ = saved
    (tmp_path / "model.index").write_bytes(prefix.with_name("model.index").read_bytes())
    config = config_of(tmp_path, network=MLP, restore={"from": str(tmp_path / "model")})
    with pytest.raises(CheckpointError, match=r"restore\.from: .*/model is damaged or incomplete: "):
        restore_from(check(config))


def test_values_of_another_dtype_are_reported(tmp_path: Path) -> None:
    values: dict[str, Any] = {**RAW, "layer1/biases": np.array([b"a", b"b", b"c"]), "layer2/biases": np.arange(3)}
    file = write_checkpoint(tmp_path / "text/model", values)
    with pytest.raises(CheckpointError) as caught:
        restored(tmp_path, **{"from": str(file)})
    assert [str(problem) for problem in caught.value.problems] == [
        "restore: variable 'layer1/biases' is float32, 'layer1/biases' in the checkpoint is string; add "
        "'layer1/biases' to keep_initial",
        "restore: variable 'layer2/biases' is float32, 'layer2/biases' in the checkpoint is int64; give its rule "
        "transform: [{cast: float32}], or add 'layer2/biases' to keep_initial",
    ]


def test_files_are_joined_transformed_and_each_value_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {
        "one": {"kind": "dense", "units": 4, "use_bias": False},
        "two": {"kind": "dense", "units": 2, "use_bias": False},
        "three": {"kind": "dense", "units": 2},
    }
    network = {"inputs": {"x": {"shape": [3]}}, "layers": layers, "outputs": {"logits": "three"}}
    turned, bias = counted(0, 4, 2), np.array([1, 2], np.int64)
    np.savez(tmp_path / "other.npz", turned=turned, bias=bias, three=counted(90, 9))
    rules = [
        {"name": "layer1/weights", "transform": [{"pad": [[0, 0], [0, 1]]}], "to": "one/kernel"},
        {"name": "layer1/weights", "transform": [{"slice": [[0, 2], [1, 3]]}], "to": "three/kernel"},
    ]
    more = [
        {"name": "turned", "to": "two/kernel", "transform": [{"scale": 2.0}]},
        {"name": "bias", "to": "three/bias", "transform": [{"cast": "float32"}]},
    ]
    read: list[str] = []
    before = VariableSource.read

    def counting(source: VariableSource, name: str) -> np.ndarray:
        read.append(name)
        return before(source, name)

    monkeypatch.setattr(VariableSource, "read", counting)
    other = {"from": str(tmp_path / "other.npz"), "rename": more}
    done = restored(tmp_path, network, rename=rules, sources={"other": other}, ema={"enabled": False})
    wanted = {
        "one/kernel": np.pad(RAW["layer1/weights"], [(0, 0), (0, 1)]),
        "two/kernel": turned * 2,
        "three/kernel": RAW["layer1/weights"][:2, 1:],
        "three/bias": bias.astype(np.float32),
    }
    assert_same(done.values, wanted)
    assert read == ["layer1/weights", "turned", "bias"]
    assert [item.checkpoint for item in done.plan.assignments] == ["restore", "restore.sources.other"] * 2
    assert all(value.flags.c_contiguous for value in done.values.values())


def test_a_run_is_restored_by_its_id_in_mlflow(tmp_path: Path) -> None:
    config = config_of(tmp_path, network=SQUARE, restore={"from": "runs:/abc"})
    folder = RunFolder.create(tmp_path / "runs/2026-01-01/00-00-00_small", config, [])
    folder.update(mlflow_run_id="abc")
    folder.checkpoints.mkdir()
    for file in GOLDEN.iterdir():
        (folder.checkpoints / file.name).write_bytes(file.read_bytes())
    done = restore_from(check(config))
    assert done.plan.files == {"restore": str(folder.checkpoints / "model.ckpt-7")}
    np.testing.assert_array_equal(done.values["layer1/biases"], RAW["layer1/biases"])
