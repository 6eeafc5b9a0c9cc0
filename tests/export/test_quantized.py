"""Quantized files of runs: what their metrics decide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.command_line import BARE, call

FAR_FROM_ZERO = [
    "+network.layers.far={kind: constant, value: 10000.0, shape: [10], batch_of: logits}",
    "+network.layers.moved={kind: add, input: [logits, far]}",
    "+network.layers.back={kind: subtract, input: [moved, far]}",
    "~network.outputs.logits",
    "+network.outputs.scores=back",
    "train.losses.main.output=scores",
    "train.metrics.accuracy.output=scores",
]
"""Scores moved by 10,000 and back: in float32 they keep three digits, in eight bits none."""


def test_int8_that_loses_accuracy_is_refused_with_the_layer_that_drifts_most(empty_folder: Path) -> None:
    pytest.importorskip("tensorflow.lite", reason="TensorFlow has no TFLite here")
    trained = call("train", *BARE, *FAR_FROM_ZERO, "hydra.run.dir=run", cwd=empty_folder)
    assert trained.code == 0, trained.err
    done = call("export", "run", "--to", "tflite", "--quantize", "int8", "--output", "out", cwd=empty_folder)
    assert done.code == 2
    (problem,) = [line for line in done.errors if "--to tflite: " in line]
    fall = re.search(r"metric accuracy falls from (0\.\d+) to (0\.\d+), allowed is 0\.01; ", problem)
    assert fall is not None, problem
    assert float(fall[1]) > 0.5 > float(fall[2])
    assert "the output that drifts most is that of 'back'" in problem
    assert "nothing was written; --keep-anyway writes it with this verdict" in problem
    assert not (empty_folder / "out").exists()
