"""The images that a network draws at checkpoints, saved while its graphs are open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expkit.data.dataset import Dataset
from expkit.export.proof_inputs import proof_inputs
from expkit.fs import atomic_write
from expkit.preflight import CheckedConfig
from expkit.run_folder import RunFolder
from expkit.training.inference import InferGraph
from expkit.training.sessions import Evaluator, Executor

__all__ = ["SAMPLES", "sample_saver"]

SAMPLES = 64
"""Images of a checkpoint."""


def sample_saver(
    checked: CheckedConfig,
    dataset: Dataset,
    inference: InferGraph,
    sessions: tuple[Executor, Evaluator],
    folder: RunFolder,
) -> Callable[[int], None]:
    """Return a function of a step that saves what ``tracking.samples`` draws with the executor's values, EMA if any."""
    executor, evaluator = sessions
    config, output = checked.config, checked.config.tracking.samples
    if output is None or not config.tracking.plots:
        return lambda step: None
    shape = config.data.source.image_shape(checked.spec.output_spec(output).shape)
    assert shape is not None, "the check of the configuration has seen that they are images"
    inputs = proof_inputs(checked.spec, inference, dataset, SAMPLES).kept

    def save(step: int) -> None:
        evaluator.load(executor.values(evaluator.names))
        images = evaluator.served_outputs(inputs)["ema" if checked.ema_names else "raw"][output]
        folder.samples.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder.samples / f"{step:08d}.npy") as whole, whole.open("wb") as file:
            np.save(file, images.reshape(-1, *shape), allow_pickle=False)

    return save
