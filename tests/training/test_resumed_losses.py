"""Losses that draw classes, and weights that are schedules: a resumed run equals an unbroken one bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from support.experiments import MLP, assert_same, config_of
from support.trainings import CLOCK, train

NETWORK = {**MLP, "outputs": {"logits": "logits", "features": "hidden"}}
SAMPLED = {"output": "features", "kernel": "logits/kernel", "bias": "logits/bias", "samples": 2}
RISING = {"kind": "piecewise", "boundaries": [4, 7], "values": [0.1, 0.5, 1.0]}
LOSSES = {
    "softmax": {"kind": "sampled_softmax", **SAMPLED},
    "noise": {
        "kind": "nce",
        **SAMPLED,
        "weight": RISING,
    },
}


Records = list[tuple[int, dict[str, float]]]


def without_speed(records: Records) -> Records:
    return [
        (step, {name: item for name, item in values.items() if "per_second" not in name}) for step, values in records
    ]


@pytest.mark.parametrize("changed", [{"steps_per_execution": 1}, {"steps_per_execution": 4, "jit_compile": False}])
@pytest.mark.parametrize("placement", ["resident", "streamed"])
def test_drawn_classes_and_scheduled_weights_go_on(tmp_path: Path, changed: dict[str, Any], placement: str) -> None:
    def config(**more: Any) -> Any:
        source = {"kind": "npz", "path": str(tmp_path / "data.npz")}
        split = {"train": [0, 40], "valid": [40, 50], "test": [50, 60]}
        data = {"source": source, "split": split, "placement": placement}
        section = {**CLOCK, "losses": LOSSES, **more}
        return config_of(tmp_path, network=NETWORK, data=data, train=section, ema={"enabled": True, "decay": 0.9})

    whole = train(config(steps_per_execution=3, jit_compile=False), tmp_path / "whole")
    half = tmp_path / "half"
    shutil.copytree(tmp_path / "whole" / "step-00000005", half / "step-00000005")
    resumed = train(config(**changed), half)
    assert_same(resumed.values, whole.values)
    after = without_speed(resumed.records)
    assert after == without_speed(whole.records)[-len(after) :]
    assert after[-1][0] == CLOCK["steps"]
