"""Inputs and outputs of training or serving alone: what each side has of a network, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expkit.cli.names import as_json, table
from expkit.config.sections.network import NetworkConfig
from expkit.diagram.svg import svg
from expkit.errors import ConfigError
from expkit.preflight import check
from support.experiments import config_of
from support.networks import GAN, problems_of, spec_of


def test_each_side_has_what_its_outputs_need() -> None:
    spec = spec_of(GAN)
    both = {name: [*spec.variables] for name in "GD"}
    assert both["G"] == [
        *("G/hidden/kernel", "G/hidden/bias", "G/image/kernel", "G/image/bias"),
        *("D/hidden/kernel", "D/hidden/bias", "D/logit/kernel", "D/logit/bias"),
    ]
    served, trained = spec.served, spec.trained
    assert [*served.inputs] == ["z"]
    assert dict(served.outputs) == {"sample": "drawn/image"}
    assert [layer.path for layer in served.layers] == ["drawn/hidden", "drawn/image"]
    assert [*served.variables] == ["G/hidden/kernel", "G/hidden/bias", "G/image/kernel", "G/image/bias"]
    assert [*served.tensors] == ["z", "drawn/hidden", "drawn/image"]
    assert [*trained.inputs] == ["image"]
    assert [*trained.outputs] == ["fake", "real"]
    assert [*trained.variables] == [*spec.variables], "one checkpoint holds all"
    assert not [layer.path for layer in trained.layers if layer.path.startswith("drawn")]
    assert {name: spec.use(name) for name in (*spec.inputs, *spec.outputs)} == {
        "image": "training",
        "z": "serving",
        "fake": "training",
        "real": "training",
        "sample": "serving",
    }


def test_a_network_without_uses_is_its_own_sides() -> None:
    spec = spec_of("layers: {a: {kind: dense, units: 2}, unread: {kind: dense, units: 3}}\noutputs: {out: a}")
    assert spec.served is spec
    assert spec.trained is spec
    assert spec.use("x") == "always"
    alike = spec_of("layers: {a: {kind: dense, units: 2}}\noutputs: {out: {layer: a, use: always}, same: {layer: a}}")
    assert alike.served is alike
    assert dict(alike.outputs) == {"out": "a", "same": "a"}


def network(layers: dict[str, Any], outputs: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    return {"inputs": {"x": {"shape": [4]}, **inputs}, "layers": layers, "outputs": outputs}


A = {"kind": "dense", "units": 4, "input": "x"}
TRAINED = {"shape": [4], "use": "training"}
SERVED = {"shape": [4], "use": "serving"}


@pytest.mark.parametrize(
    ("raw", "problems"),
    [
        (
            network(
                {"a": A, "b": {"kind": "add", "input": ["a", "y"]}, "c": {"kind": "dense", "units": 2}},
                {"out": "c", "aux": {"layer": "b", "use": "training"}},
                y=TRAINED,
            ),
            [
                "network.outputs.out: the frozen graph has 'out', which depends on input 'y', and that is for training "
                "only: y -> b -> c -> out; give the output use: training, or the input use: always",
            ],
        ),
        (
            network(
                {"a": A, "b": {"kind": "scope", "input": "a", "layers": {"in": {"kind": "add", "input": ["a", "z"]}}}},
                {"out": "b", "plain": "a"},
                z=SERVED,
            ),
            [
                "network.outputs.out: training needs 'out', which depends on input 'z', and that is in the frozen "
                "graph only: z -> b/in -> out; give the output use: serving, or the input use: always",
            ],
        ),
        (
            network({"a": A, "unread": {"kind": "flatten", "input": "y"}}, {"out": "a"}, y=TRAINED),
            ["network.inputs.y.use: no output of training depends on 'y'; connect it, or remove the input"],
        ),
        (
            network(
                {"a": A, "b": {"kind": "add", "input": ["a", "y"]}},
                {"out": "a", "aux": {"layer": "b", "use": "training"}},
                y={"shape": [4]},
            ),
            [
                "network.inputs.y.use: only outputs of training depend on 'y', so the frozen graph would require it "
                "for nothing; give it use: training"
            ],
        ),
        (
            network(
                {"a": A, "b": {"kind": "add", "input": ["a", "y"]}},
                {"out": "a", "more": {"layer": "b", "use": "serving"}},
                y={"shape": [4]},
            ),
            ["network.inputs.y.use: only outputs of serving depend on 'y', so it needs no data; give it use: serving"],
        ),
        (
            network(
                {"a": A, "b": {"kind": "scope", "input": "a", "layers": {"d": {"kind": "dense", "units": 2}}}},
                {"out": "a", "more": {"layer": "b", "use": "serving"}},
            ),
            [
                "network.layers.b.layers.d: only the frozen graph has 'b/d', so training never changes b/d/kernel, "
                "b/d/bias; share the variables of a layer that is trained (scope and reuse: auto), or set "
                "trainable: false"
            ],
        ),
        (
            network({"a": A}, {"out": {"layer": "b", "use": "training"}}),
            ["network.outputs.out.layer: no layer 'b'; allowed: a"],
        ),
    ],
)
def test_what_cannot_be_is_reported_with_its_path(raw: dict[str, Any], problems: list[str]) -> None:
    assert problems_of(raw) == problems


def test_a_long_path_is_shortened() -> None:
    layers = {"first": {"kind": "add", "input": ["x", "y"]}, **{f"l{i}": {"kind": "flatten"} for i in range(30)}}
    (problem,) = problems_of(network(layers, {"out": "l29"}, y=TRAINED))
    assert "y -> first -> l0 -> l1 -> l2 -> l3 -> (20 more) -> l24 -> l25" in problem
    assert "l29 -> out; give" in problem


def test_a_served_layer_that_training_does_not_change_may_have_variables_of_its_own() -> None:
    frozen = {"kind": "dense", "units": 2, "trainable": False}
    raw = network({"a": A, "b": frozen}, {"out": "a", "more": {"layer": "b", "use": "serving"}})
    assert [*spec_of(raw).served.variables] == ["a/kernel", "a/bias", "b/kernel", "b/bias"]


def problems_of_config(tmp_path: Path, **sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(config_of(tmp_path, **sections))
    return [str(problem) for problem in caught.value.problems]


def test_a_loss_or_metric_of_a_served_output_is_reported(tmp_path: Path) -> None:
    raw = network({"a": A}, {"logits": "a", "more": {"layer": "a", "use": "serving"}})
    losses = {"main": {"kind": "sparse_softmax_cross_entropy", "output": "more"}}
    metrics = {"accuracy": {"kind": "accuracy", "output": "more"}}
    message = (
        "'more' is in the frozen graph only (use: serving), and training has logits; read one of these, or give it "
        "use: always"
    )
    assert problems_of_config(tmp_path, network=raw, train={"losses": losses, "metrics": metrics}) == [
        f"train.losses.main.output: {message}",
        f"train.metrics.accuracy.output: {message}",
    ]


def test_nothing_to_freeze_is_reported_unless_nothing_is_frozen(tmp_path: Path) -> None:
    raw = network({"a": A}, {"logits": {"layer": "a", "use": "training"}})
    assert problems_of_config(tmp_path, network=raw) == [
        "export.enabled: all outputs are for training only (logits), so there is nothing to freeze; give one use: "
        "always, or set export.enabled: false (export=none)"
    ]
    assert not check(config_of(tmp_path, network=raw, export={"enabled": False})).spec.served.layers


def test_a_wrong_use_is_reported() -> None:
    with pytest.raises(ValueError, match=r"'always', 'training' or 'serving'"):
        NetworkConfig.model_validate({**GAN, "outputs": {"out": {"layer": "drawn", "use": "never"}}}, strict=False)


def test_names_and_the_drawing_mark_what_one_side_alone_has(tmp_path: Path) -> None:
    losses = {name: {"kind": "value", "output": name} for name in ("fake", "real")}
    checked = check(config_of(tmp_path, network=GAN, train={"losses": losses, "metrics": {}}))
    lines = table(checked)
    assert "  z:0  [batch, 3] float32  (serving only)" in lines
    assert "  real:0  [batch, 1] float32  (training only)" in lines
    assert [line.split()[0] for line in lines if line.endswith("logit  (training only)")] == [
        *("D/logit/kernel", "D/logit/bias")
    ]
    told = as_json(checked)
    assert {item["name"]: item["use"] for item in told["inputs"]} == {"image": "training", "z": "serving"}
    assert [item["name"] for item in told["variables"] if "use" not in item] == [*checked.spec.served.variables]
    drawn = svg(checked.spec, "gan")
    for words in (">3 · serving only<", ">4 · training only<"):
        assert words in drawn
