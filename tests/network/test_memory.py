"""Networks are held against the machine's memory before anything of them exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expkit import tf1 as tf
from expkit.errors import ConfigError
from expkit.machine import size_text
from expkit.network import memory
from expkit.network.build import connect, create_variables, placeholders
from expkit.preflight import check, check_here
from expkit.runs.train import train
from support.experiments import MLP, config_of
from support.networks import problems_of, spec_of

GIB = 2**30


def problems(folder: Path, layers: dict[str, Any], **sections: Any) -> list[str]:
    config = config_of(folder, network={**MLP, "layers": {**MLP["layers"], **layers}}, **sections)
    check(config)  # names and shapes are known of any size
    with pytest.raises(ConfigError) as caught:
        check_here(config)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture(autouse=True)
def _memory_of_64_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 64 * GIB)


def test_variables_larger_than_memory_are_refused_by_the_name_of_the_largest(tmp_path: Path) -> None:
    found = problems(tmp_path, {"hidden": {"kind": "dense", "units": 10**12}})
    assert found == [
        "network.layers: the variables, with their EMA, need 116 TiB to be trained and evaluated, this machine has "
        "64 GiB; the largest is 'hidden/kernel' [4, 1000000000000]; decrease sizes",
        "network.layers.hidden: 'hidden' [batch, 1000000000000] float32 needs 29.1 TiB for a batch of 8, this machine "
        "has 64 GiB; decrease sizes or train.batch_size",
    ]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            {"kind": "constant", "value": 0.5, "shape": [10**9, 10**9]},
            "'it' [1, 1000000000, 1000000000] float32 needs 3.47 EiB, this machine has 64 GiB",
        ),
        (
            {"kind": "pad", "input": "x", "paddings": [[0, 10**12]]},
            "'it' [batch, 1000000000004] float32 needs 29.1 TiB for a batch of 8, this machine has 64 GiB",
        ),
    ],
)
def test_a_tensor_larger_than_memory_is_refused(tmp_path: Path, layer: dict[str, Any], message: str) -> None:
    found = problems(tmp_path, {"it": layer, "logits": {"kind": "dense", "units": 3, "input": "hidden"}})
    assert found == [f"network.layers.it: {message}; decrease sizes or train.batch_size"]


def test_variables_that_no_graph_file_can_hold_are_refused_where_they_would_be_frozen(tmp_path: Path) -> None:
    layers = {"hidden": {"kind": "dense", "units": 10**8}}
    assert problems(tmp_path, layers) == [
        "export.enabled: the variables need 2.98 GiB, a frozen graph holds less than 2 GiB; the largest is "
        "'hidden/kernel' [4, 100000000]; decrease sizes, or set export.enabled: false"
    ]
    network = {**MLP, "layers": {**MLP["layers"], **layers}}
    check_here(config_of(tmp_path, network=network, export={"enabled": False}))


def test_a_layer_of_very_many_outputs_is_refused() -> None:
    raw = {"inputs": {"x": {"shape": [10**9]}}, "layers": {"it": {"kind": "split", "parts": 10**9}}}
    (found,) = problems_of({**raw, "outputs": {"out": "it/0"}})
    assert found.startswith("network.layers.it: split into 1,000,000,000 parts: allowed are at most 10,000; 'it' reads")


def test_a_large_constant_takes_no_space_in_the_graph() -> None:
    layers = {"it": {"kind": "constant", "value": 0.5, "shape": [1000, 1000], "batch_of": "x"}}
    spec = spec_of({"layers": layers})
    with tf.Graph().as_default() as graph, tf.Session() as session:
        output = connect(spec, create_variables(spec, 0), inputs := placeholders(spec)).outputs["out"]
        assert graph.as_graph_def().ByteSize() < 10_000
        made = session.run(output, {inputs["x"]: [[0] * 4] * 2})
    assert made.shape == (2, 1000, 1000)
    assert (made == 0.5).all()


def test_train_refuses_before_anything_is_written(empty_folder: Path) -> None:
    with pytest.raises(ConfigError, match="'layer1/kernel' "):
        train(["experiment=digits_mlp", f"network.layers.layer1.units={10**12}", "tracking=none"], quiet=True)
    assert list(empty_folder.iterdir()) == []


def test_sizes_are_reported_in_the_unit_that_fits() -> None:
    assert [size_text(size) for size in (0, 1023, 1024, 5 * 2**20, 3 * 2**39)] == [
        "0 bytes",
        "1.02e+03 bytes",
        "1 KiB",
        "5 MiB",
        "1.5 TiB",
    ]
