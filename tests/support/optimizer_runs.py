"""Twenty steps of every optimizer, bit for bit: golden/optimizers.json and golden/optimizers/ hold what they come to.

    python tests/support/optimizer_runs.py --write      make both anew

The network has an embedding, whose gradients are sparse, and dense layers. Ways to train it:

- ``plain``: nothing but the optimizer;
- ``features``: learning-rate multipliers, a global clip that bites, a schedule with warm-up, L2, EMA;
- ``accumulated``: the same with gradients of two batches in a step, which makes all of them dense, and with a learning
  rate as it is after a roll back.

Of the first two a checkpoint of step 10 is kept, so that one that was written before a change of an optimizer can be
shown to go on to the same bits after it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout of this file, whatever is installed
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from expkit import tf1 as tf
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from support.experiments import Values, config_of, loaded

__all__ = ["KEPT", "KINDS", "WAYS", "Run", "checkpoint_of", "golden", "machine", "run"]

GOLDEN = Path(__file__).parents[1] / "golden/optimizers.json"
CHECKPOINTS = Path(__file__).parents[1] / "golden/optimizers"
STEPS, HALF = 20, 10

KINDS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"kind": "sgd"},
    "momentum": {"kind": "momentum", "momentum": 0.8},
    "nesterov": {"kind": "momentum", "momentum": 0.8, "nesterov": True},
    "adam": {"kind": "adam", "beta_2": 0.99},
    "adamw": {"kind": "adamw", "weight_decay": 0.1},
    "rmsprop": {"kind": "rmsprop", "momentum": 0.5},
    "adagrad": {"kind": "adagrad"},
}
"""Optimizers by what they are called here."""

WAYS = ("plain", "features", "accumulated")
KEPT = ("plain", "features")
"""Ways of which a checkpoint is kept."""
FEATURES = {
    "learning_rate": {"kind": "exponential", "initial_learning_rate": 0.05, "decay_steps": 7, "decay_rate": 0.9},
    "warmup_steps": 5,
    "global_clipnorm": 0.3,
}


def _network(features: bool) -> dict[str, Any]:
    table: dict[str, Any] = {"kind": "embedding", "input_dim": 9, "output_dim": 3, "input": "ids"}
    hidden: dict[str, Any] = {"kind": "dense", "units": 5, "activation": "tanh", "input": "joined"}
    if features:
        table |= {"learning_rate_multiplier": 0.5}
        hidden |= {"learning_rate_multiplier": 3.0, "regularizer": {"kernel": {"l2": 0.01}}}
    return {
        "inputs": {"ids": {"shape": [2], "dtype": "int32"}, "x": {"shape": [4]}},
        "layers": {
            "table": table,
            "flat": {"kind": "flatten"},
            "joined": {"kind": "concat", "input": ["flat", "x"]},
            "hidden": hidden,
            "logits": {"kind": "dense", "units": 3},
        },
        "outputs": {"logits": "logits"},
    }


def _data() -> Values:
    """Return examples; ids are often the same within a batch."""
    draw = np.random.Generator(np.random.PCG64(7))
    ids, x = draw.integers(0, 9, size=(60, 2), dtype=np.int32), draw.random((60, 4), np.float32) - np.float32(0.5)
    return {"ids": ids, "x": x, "label": (ids.sum(axis=1) + (x[:, 0] > 0)) % 3}


@dataclass(frozen=True)
class Run:
    """What steps came to."""

    losses: list[str]
    """Of every step, as hexadecimal float64."""
    variables: dict[str, str]
    """Digests of all that a checkpoint holds, by name."""


def run(kind: str, way: str, *, begin: Path | None = None, save: Path | None = None) -> Run:
    """Do the steps of an optimizer, from a checkpoint of step 10 if one is given; save one where that is asked."""
    features = way != "plain"
    optimizer = {**KINDS[kind], "learning_rate": 0.05, **(FEATURES if features else {})}
    train: dict[str, Any] = {"steps": STEPS}
    if way == "accumulated":
        train |= {"gradient_accumulation_steps": 2, "on_nan": {"action": "roll_back"}}
    sections: dict[str, Any] = {"optimizer": optimizer, "train": train, "ema": {"enabled": features}}
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(Path(folder), _data(), network=_network(features), **sections)
        built = train_graph(*loaded(config))
    losses = []
    with Executor(built) as executor:
        if way == "accumulated":
            executor.rate_factor = 0.5
        if begin is None:
            executor.initialize()
        else:
            executor.restore(str(begin))
        while executor.step < STEPS:
            if executor.step == HALF and save is not None:
                executor.snapshot()(str(save))
            statistics = executor.run(1)["loss"]
            losses.append(float(statistics["sum"] / statistics["count"]).hex())
        values = executor.values(executor.names)
    return Run(
        losses, {name: hashlib.sha256(value.tobytes()).hexdigest()[:16] for name, value in sorted(values.items())}
    )


def machine() -> dict[str, Any]:
    """Return what the last bits of results depend on: TensorFlow, and the instructions that its kernels choose by."""
    flags: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    except OSError:
        pass
    chosen = sorted(flag for flag in flags if flag.startswith(("avx", "fma", "amx", "sve", "asimd")))
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1")
    return {"tensorflow": tf.tensorflow_version(), "instructions": " ".join(chosen), "onednn": onednn}


def checkpoint_of(kind: str, way: str) -> Path:
    """Return the prefix of the checkpoint of step 10 that is kept."""
    return CHECKPOINTS / f"{kind}-{way}"


def golden() -> dict[str, Any]:
    """Return the golden: the machine, and by ``KIND/WAY`` losses and variables."""
    return dict(json.loads(GOLDEN.read_text()))


def main() -> None:
    """Write the golden and the checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True, help="make the golden and its checkpoints anew")
    parser.parse_args()
    shutil.rmtree(CHECKPOINTS, ignore_errors=True)
    CHECKPOINTS.mkdir()
    runs = {}
    for kind in KINDS:
        for way in WAYS:
            runs[f"{kind}/{way}"] = vars(
                run(kind, way, save=checkpoint_of(kind, way) if way != "accumulated" else None)
            )
    GOLDEN.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
