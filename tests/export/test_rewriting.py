"""Frozen networks in an ordinary session, which rewrites their operations, give the numbers they give as written."""

from __future__ import annotations

from random import Random
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from expkit.config.load import load
from expkit.config.search import builtin_conf
from expkit.kinds.layers.activations import ActivationName
from expkit.kinds.layers.base import Inputs, Layer
from expkit.kinds.layers.recurrent import Recurrent
from expkit.network.spec import NetworkSpec
from expkit.registry import kinds
from expkit.tensor_spec import ShapeError, TensorSpec
from support.freezing import different, plain_and_rewritten
from support.networks import OF_ALL_KINDS, spec_of
from support.recipes import RECIPES

INPUTS: dict[str, dict[str, Any]] = {
    "features": {"shape": [8]},
    "sequence": {"shape": [3, 8]},
    "image": {"shape": [6, 6, 8]},
    "volume": {"shape": [3, 4, 4, 8]},
    "words": {"shape": [4], "dtype": "int32"},
}
OTHER: dict[str, tuple[Any, ...]] = {
    "function": (*get_args(ActivationName), "mean", "sum", "max", "min", "prod", "logsumexp"),
    "activation": get_args(ActivationName),
    "epsilon": (1e-12, 0.3),
    "padding": ("valid", "same", [[1, 2]], [[1, 2], [2, 1]], [[1, 2], [2, 1], [0, 1]]),
    "direction": ("backward", "both"),
    "mode": ("reflect", "symmetric"),
    "method": ("nearest",),
    **dict.fromkeys(("pool_size", "strides", "dilation_rate", "depth_multiplier", "groups", "begin_norm_axis"), (1, 2)),
    **dict.fromkeys(("depth_radius", "projection", "key_dim", "output_dim"), (3,)),
    **dict.fromkeys(("bias", "alpha", "beta", "forget_bias", "value", "dropout", "momentum"), (0.37,)),
    "max_timescale": (50.0,),
    **dict.fromkeys(("minimum", "maximum"), (0.1,)),
}
"""Values to try of a field: those that differ from its default and that fit; of a switch, the other one."""
LEFT_OUT = {
    *("input", "inputs", "mask", "lengths", "initial_h", "initial_c", "batch_of", "repeat", "first_index", "outputs"),
    *("dtype", "shape", "output", "indices", "start", "stop", "step", "axis", "size", "parts"),
}
"""Fields that name tensors or choose parts of them: no operation is rewritten by these."""


def own_fields(kind: str) -> dict[str, FieldInfo]:
    return {
        name: field
        for name, field in kinds("layer")[kind].model_fields.items()
        if name not in {*Layer.model_fields, *LEFT_OUT, "kind"}
    }


def variants() -> dict[str, tuple[dict[str, Any], str]]:
    """Return a layer for every kind on every input that fits, for every value of every field that has a default."""
    made: dict[str, tuple[dict[str, Any], str]] = {}
    for kind, recipe in RECIPES.items():
        cls = kinds("layer")[kind]
        assert issubclass(cls, Layer)
        own = own_fields(kind)
        for source, raw in INPUTS.items():
            spec = TensorSpec(tuple(raw["shape"]), raw.get("dtype", "float32"))
            if not recipe.fits(spec):
                continue
            required = {name: value for name, value in recipe.fields(Random(0), spec).items() if name in own}
            required = {name: value for name, value in required.items() if own[name].is_required()}
            required |= {"groups": 2} if kind == "group_norm" else {}
            required |= {"size": [3, 5]} if kind == "resize" else {}
            required |= {"function": "leaky_relu"} if kind == "activation" else {}
            for field, info in own.items():
                values = OTHER.get(field, (not info.default,) if isinstance(info.default, bool) else ())
                values = ("relu", "elu") if field == "activation" and issubclass(cls, Recurrent) else values
                for value in values:
                    layer = {"kind": kind, **required, field: value}
                    reads = [spec] * max(1, cls.arity[0])
                    if value != info.default and _fits(layer, reads):
                        made[f"{kind}-{source}-{field}-{len(made)}"] = (layer, source)
    return made


def _fits(layer: dict[str, Any], reads: list[TensorSpec]) -> bool:
    try:
        made = kinds("layer")[layer["kind"]].model_validate(layer, strict=False)
        assert isinstance(made, Layer)
        made.output_spec(Inputs(reads))
    except (ValidationError, ShapeError):
        return False
    return True


def side_by_side(layers: dict[str, tuple[dict[str, Any], str]], inputs: dict[str, Any] = INPUTS) -> NetworkSpec:
    """Return a network of layers with inputs of their own: results that several layers read are rewritten less."""
    return spec_of(
        {
            "inputs": {f"{name}-in": inputs[source] for name, (_, source) in layers.items()},
            "layers": {
                name: {**layer, "input": [f"{name}-in"] * max(1, kinds("layer")[layer["kind"]].arity[0])}
                for name, (layer, _) in layers.items()
            },
            "outputs": {f"{name}-out": name for name in layers},
        }
    )


def test_every_value_of_every_field_freezes() -> None:
    layers = variants()
    tried = {(layer["kind"], field) for layer, _ in layers.values() for field in layer}
    others = set(RECIPES) - {"random"}  # Its fields exclude each other.
    known = {(kind, field) for kind in others for field, info in own_fields(kind).items() if not info.is_required()}
    assert known - tried == {("resize", "scale")}, "a field lacks its values in OTHER"
    names = list(layers)
    for start in range(0, len(names), 40):  # One graph of all would be rewritten in five times the time.
        few = {name: layers[name] for name in names[start : start + 40]}
        assert different(plain_and_rewritten(side_by_side(few))) == {}


@pytest.mark.parametrize("shape", [[8], [4, 8], [3, 3, 8]])
@pytest.mark.parametrize("kind", ["layer_norm", "group_norm"])
def test_a_norm_keeps_its_epsilon_in_a_frozen_graph(kind: str, shape: list[int]) -> None:
    norm = {"kind": kind, **({"groups": 2} if kind == "group_norm" else {})}
    epsilons = {"tiny": 1e-12, "small": 1e-6, "large": 0.5}
    layers = {name: ({**norm, "epsilon": epsilon}, "x") for name, epsilon in epsilons.items()}
    assert different(plain_and_rewritten(side_by_side(layers, {"x": {"shape": shape}})), 1e-6) == {}


def altered(raw: Any, narrow: int | None = None) -> Any:
    """Return a network with fewer channels, all of whose numbers that have a default have another value."""
    if isinstance(raw, list):
        return [altered(item, narrow) for item in raw]
    if not isinstance(raw, dict):
        return raw
    made = {key: altered(value, narrow) for key, value in raw.items()}
    if (cls := kinds("layer").get(str(raw.get("kind")))) is None:
        return made
    for field in ("filters", "units"):
        if narrow and isinstance(made.get(field), int):
            made[field] = min(made[field], narrow)
        elif narrow and isinstance(made.get(field), str):
            made[field] = f"{{min({narrow}, {made[field][1:-1]})}}"
    for field, info in cls.model_fields.items() if raw["kind"] != "random" else ():
        if isinstance(info.default, float) and field not in {*Layer.model_fields, "value"}:
            made[field] = 0.5 if field == "momentum" else info.default * 3 + 0.01
    return made


IMAGES = (
    *("alexnet_v2", "inception_v3", "mobilenet_v1", "resnet18", "resnet_v1_50", "resnet_v2_50", "unet"),
    *("vgg_16", "vgg_19"),
)
"""Networks of many channels, of which eight do here."""
NETWORKS = sorted(file.stem for file in (builtin_conf() / "network").glob("*.yaml"))
OVERRIDES = {
    "alexnet_v2": ["inputs.image.shape=[67,67,3]", "layers.alexnet_v2.layers.fc6.kernel_size=1"],
    "unet": ["inputs.image.shape=[188,188,1]"],
    "vgg_16": ["inputs.image.shape=[32,32,3]", "layers.vgg_16.layers.fc6.kernel_size=1"],
    "vgg_19": ["inputs.image.shape=[32,32,3]", "layers.vgg_19.layers.fc6.kernel_size=1"],
    **{name: ["inputs.image.shape=[33,33,3]"] for name in ("mobilenet_v1", "resnet18", "resnet_v1_50", "resnet_v2_50")},
    **{
        name: [
            *("settings.layers=2", "settings.hidden_size=32", "settings.heads=4", "settings.intermediate_size=8"),
            *("settings.vocabulary_size=50", "settings.max_positions=16", "settings.length=6"),
        ]
        for name in ("bert", "bert_classifier", "bert_mlm")
    },
    "ptb_lstm": ["settings.hidden_size=8", "settings.vocabulary_size=50"],
}


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("name", [*NETWORKS, *OF_ALL_KINDS])
def test_networks_with_other_values_than_the_defaults_freeze(name: str) -> None:
    if name in OF_ALL_KINDS:
        raw = altered(yaml.safe_load(OF_ALL_KINDS[name]))
    else:
        overrides = [f"network.{override}" for override in OVERRIDES.get(name, [])]
        network = load(["~experiment", f"network={name}", *overrides]).network
        raw = altered(network.model_dump(mode="json", exclude_unset=True), narrow=8 if name in IMAGES else None)
    assert different(plain_and_rewritten(spec_of(raw)), 1e-4) == {}
