"""Optimizers do bit for bit what they did, also from checkpoints of before; support/optimizer_runs.py made them."""

from __future__ import annotations

import numpy as np
import pytest

from support.optimizer_runs import HALF, KEPT, KINDS, WAYS, Run, checkpoint_of, golden, machine, run

GOLDEN = golden()
PROMISED = {name: Run(**plain) for name, plain in GOLDEN["runs"].items()}
EXACT = GOLDEN["machine"] == machine()
"""Whether bits can be compared; on another machine, or with another TensorFlow, losses are the same to 1e-5."""


def assert_promised(done: Run, promised: Run, first: int = 0) -> None:
    losses = promised.losses[first:]
    if EXACT:
        assert done == Run(losses, promised.variables)
    assert done.variables.keys() == promised.variables.keys()
    np.testing.assert_allclose(*([float.fromhex(loss) for loss in some] for some in (done.losses, losses)), rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_steps_come_to_what_they_came_to(kind: str, way: str) -> None:
    assert_promised(run(kind, way), PROMISED[f"{kind}/{way}"])


@pytest.mark.parametrize("way", KEPT)
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_from_before_goes_on_to_what_the_unbroken_run_came_to(kind: str, way: str) -> None:
    assert_promised(run(kind, way, begin=checkpoint_of(kind, way)), PROMISED[f"{kind}/{way}"], first=HALF)
