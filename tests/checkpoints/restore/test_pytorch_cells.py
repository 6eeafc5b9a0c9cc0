"""LSTM and GRU in PyTorch's layout: computed by its equations, and had back in every bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit as sigmoid

from expkit.checkpoints.formats.arrays import open_npz
from expkit.checkpoints.restore.plan import OpenedCheckpoint
from expkit.checkpoints.restore.planner import restore_plan
from expkit.checkpoints.restore.pytorch_cells import with_cells
from expkit.checkpoints.restore.restore import carry_out
from expkit.checkpoints.restore.targets import run_targets
from expkit.config.sections.restore import SourceConfig
from expkit.errors import CheckpointError, ExportError
from expkit.export.weights import exported_variables, laid_out, read_weights, weights_that_differ, write_weights
from expkit.network.spec import NetworkSpec
from expkit.training.inference import Predictor, infer_graph
from support.networks import spec_of

CELLS = {
    "lstm": {"kind": "lstm", "input": "x", "units": 5, "projection": 4, "forget_bias": 0.3, "direction": "both"},
    "gru": {"kind": "gru", "input": "x", "units": 4, "reset_after": True, "direction": "backward"},
}
RULES = [
    {"pattern": r"lstm\.(weight|bias)_(ih|hh|hr)_l0", "to": r"lstm/fw/\1_\2"},
    {"pattern": r"lstm\.(weight|bias)_(ih|hh|hr)_l0_reverse", "to": r"lstm/bw/\1_\2"},
    {"pattern": r"gru\.(weight|bias)_(ih|hh)_l0", "to": r"gru/\1_\2"},
]


def network(layers: dict[str, Any]) -> NetworkSpec:
    return spec_of({"inputs": {"x": {"shape": [6, 3]}}, "outputs": {name: name for name in layers}, "layers": layers})


def values_of(spec: NetworkSpec) -> dict[str, np.ndarray]:
    """Return random values with zeros of both signs, as training leaves them."""
    draw = np.random.default_rng(0)
    values = {name: draw.normal(0, 0.5, item.shape).astype(np.float32) for name, item in spec.variables.items()}
    for value in values.values():
        value.reshape(-1)[:2] = 0.0, -0.0
    return values


def lstm_of_pytorch(w: dict[str, np.ndarray], end: str, x: np.ndarray) -> np.ndarray:
    """Return the last output by the equations of ``torch.nn.LSTM`` with ``proj_size``."""
    c, h = np.zeros((len(x), w[f"lstm.weight_hr_{end}"].shape[1])), np.zeros((len(x), 4))
    for step in x.transpose(1, 0, 2):
        gates = step @ w[f"lstm.weight_ih_{end}"].T + w[f"lstm.bias_ih_{end}"]
        gates = gates + h @ w[f"lstm.weight_hh_{end}"].T + w[f"lstm.bias_hh_{end}"]
        i, f, g, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ w[f"lstm.weight_hr_{end}"].T
    return h


def gru_of_pytorch(w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the last output by the equations of ``torch.nn.GRU``."""
    h = np.zeros((len(x), 4))
    for step in x.transpose(1, 0, 2):
        of_x = np.split(step @ w["gru.weight_ih_l0"].T + w["gru.bias_ih_l0"], 3, axis=1)
        of_h = np.split(h @ w["gru.weight_hh_l0"].T + w["gru.bias_hh_l0"], 3, axis=1)
        r, z = sigmoid(of_x[0] + of_h[0]), sigmoid(of_x[1] + of_h[1])
        h = (1 - z) * np.tanh(of_x[2] + r * of_h[2]) + z * h
    return h


def test_exported_cells_give_by_pytorchs_equations_what_the_network_gives_and_come_back_in_every_bit(
    tmp_path: Path,
) -> None:
    spec = network(CELLS)
    values, path = values_of(spec), tmp_path / "w.npz"
    rules = SourceConfig.model_validate({"rename": RULES}, strict=False).rename
    variables = exported_variables(spec, rules, "pytorch", "rules")
    write_weights(path, "npz", variables, laid_out(spec, values, "pytorch"), {})
    assert weights_that_differ(read_weights(path, spec, rules, "pytorch"), values) == []
    with np.load(path) as file:
        w = {name: file[name].astype(np.float64) for name in file.files}
    assert {name: array.shape for name, array in w.items()} == {
        **{f"lstm.weight_ih_{end}": (20, 3) for end in ("l0", "l0_reverse")},
        **{f"lstm.weight_hh_{end}": (20, 4) for end in ("l0", "l0_reverse")},
        **{f"lstm.weight_hr_{end}": (4, 5) for end in ("l0", "l0_reverse")},
        **{f"lstm.bias_{part}_{end}": (20,) for part in ("ih", "hh") for end in ("l0", "l0_reverse")},
        "gru.weight_ih_l0": (12, 3),
        "gru.weight_hh_l0": (12, 4),
        "gru.bias_ih_l0": (12,),
        "gru.bias_hh_l0": (12,),
    }
    x = np.random.default_rng(1).normal(size=(2, 6, 3)).astype(np.float32)
    built = infer_graph(spec, {})
    with Predictor(built) as predictor:
        predictor.load(values)
        outputs = predictor.predict({"x": x}, 2)
    both = [lstm_of_pytorch(w, "l0", x), lstm_of_pytorch(w, "l0_reverse", x[:, ::-1])]
    np.testing.assert_allclose(outputs["lstm"], np.concatenate(both, axis=1), atol=1e-5)
    np.testing.assert_allclose(outputs["gru"], gru_of_pytorch(w, x[:, ::-1]), atol=1e-5)


def restored(path: Path, spec: NetworkSpec, **config: Any) -> dict[str, np.ndarray]:
    """Return the values that a restore from a file in PyTorch's layout gives."""
    section = SourceConfig.model_validate({"from": str(path), "layout": "pytorch", **config}, strict=False)
    targets = run_targets(spec, (), averages=())
    checkpoints = [with_cells(OpenedCheckpoint("restore", open_npz(path, "restore.from"), section), targets)]
    return dict(carry_out(restore_plan(targets, checkpoints), checkpoints).values)


def test_both_biases_of_a_file_from_pytorch_are_added_without_the_forget_bias_of_the_layer(tmp_path: Path) -> None:
    spec, path, draw = network({"rnn": {"kind": "lstm", "units": 2}}), tmp_path / "w.npz", np.random.default_rng(0)
    shapes = {"weight_ih": (8, 3), "weight_hh": (8, 2), "bias_ih": (8,), "bias_hh": (8,)}
    w = {f"net.{name}_l0": draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(path, allow_pickle=False, **w, **{"net.head": np.ones(1, np.float32)})
    rename = [{"pattern": r"net.(\w+)_l0", "to": r"rnn/\1"}]  # has no inverse, which a restore does not need
    found = restored(path, spec, rename=rename, exclude=["net.head"])
    i, f, g, o = np.split(np.arange(8), 4)
    order = np.concatenate([i, g, f, o])
    kernel = np.concatenate([w["net.weight_ih_l0"], w["net.weight_hh_l0"]], axis=1)[order].T
    np.testing.assert_array_equal(found["rnn/kernel"], kernel)
    bias = (w["net.bias_ih_l0"] + w["net.bias_hh_l0"])[order] - np.repeat([0, 0, 1, 0], 2)
    np.testing.assert_allclose(found["rnn/bias"], bias, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({"rnn/bias_hh": None}, {}, "did you mean 'rnn/bias_ih'? PyTorch has it in rnn/bias_ih, rnn/bias_hh"),
        ({"rnn/weight_hh": (2, 8)}, {}, "'rnn/weight_hh' of the network is [8, 2] float32"),
        ({}, {"rename": [{"name": "rnn/bias_ih", "transform": [{"scale": 2.0}]}]}, "leave out transform and concat"),
        ({"rnn/bias_hh": None, "rnn/bias": (8,)}, {}, "it is parts of bias_ih, bias_hh, each of which is needed"),
    ],
)  # fmt: skip
def test_cells_that_do_not_fit_are_one_message(
    tmp_path: Path, change: dict[str, tuple[int, ...] | None], config: dict[str, Any], message: str
) -> None:
    shapes = {"rnn/weight_ih": (8, 3), "rnn/weight_hh": (8, 2), "rnn/bias_ih": (8,), "rnn/bias_hh": (8,)} | change
    arrays: dict[str, Any] = {name: np.ones(shape, np.float32) for name, shape in shapes.items() if shape is not None}
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(CheckpointError) as caught:
        restored(tmp_path / "w.npz", network({"rnn": {"kind": "lstm", "units": 2}}), **config)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ({"kind": "gru", "units": 2}, "PyTorch's GRU has its reset gate after the product with the state"),
        ({"kind": "lstm", "units": 2, "use_peepholes": True}, "PyTorch's LSTM has no peepholes"),
        ({"kind": "lstm", "units": 2, "activation": "relu"}, "recurrent layers compute with tanh, this one with relu"),
    ],
)
def test_cells_that_pytorch_does_not_have_are_refused_by_name(layer: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExportError, match=reason) as caught:
        exported_variables(network({"rnn": layer}), (), "pytorch", "rules")
    assert str(caught.value).startswith("layout: variable 'rnn/")
