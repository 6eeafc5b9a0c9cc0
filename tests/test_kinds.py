"""Networks of many kinds of layers through the whole program: trained, frozen, proven, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from expkit.export.freeze import read_frozen
from expkit.registry import kinds
from support.experiments import Values, checkpoint_values, config_of, run
from support.networks import OF_ALL_KINDS, examples_of_all_kinds

LEFT_OUT = {"scope", "block", "constant", "variable", "reshape", "activation", "dropout", "ema_of", "similarity"}
"""Kinds that have tests of their own."""


@pytest.mark.parametrize("name", OF_ALL_KINDS)
def test_a_network_trains_every_variable_and_freezes(tmp_path: Path, name: str) -> None:
    network, arrays = yaml.safe_load(OF_ALL_KINDS[name]), examples_of_all_kinds(name)
    values: list[Values] = []
    for steps in (0, 3):
        config = config_of(tmp_path / "data", arrays, network=network, train={"steps": steps, "jit_compile": False})
        result = run(config, tmp_path / f"run{steps}")
        assert result.frozen is not None, "freezing ends with a proof of equality"
        values.append(checkpoint_values(tmp_path / f"run{steps}" / "checkpoints" / f"step-{steps:08}" / "model"))
    before, after = values
    still = [key for key, value in after.items() if np.array_equal(value, before[key])]
    assert not still, "these did not train"
    fed = {key: arrays[key][:5] for key in network["inputs"]}
    assert np.isfinite(read_frozen(result.frozen.path).predict(fed)["logits"]).all()


def test_the_networks_hold_every_kind() -> None:
    used = {layer["kind"] for text in OF_ALL_KINDS.values() for layer in yaml.safe_load(text)["layers"].values()}
    assert used | LEFT_OUT == set(kinds("layer"))
