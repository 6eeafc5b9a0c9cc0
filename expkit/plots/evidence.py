"""Files that plots are drawn from later: the drawing of the network, examples, and what was computed of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from expkit.data.dataset import Dataset
from expkit.diagram.svg import svg
from expkit.fs import atomic_write_text
from expkit.plots.data import Outputs, collect_plot_data
from expkit.plots.examples_data import collect_examples
from expkit.preflight import CheckedConfig
from expkit.run_folder import RunFolder

__all__ = ["save_evidence"]


def save_evidence(
    checked: CheckedConfig,
    dataset: Dataset,
    outputs: Outputs,
    values: Mapping[str, np.ndarray],
    step: int,
    folder: RunFolder,
) -> None:
    """Save in a run's folder what its plots show of a checkpoint.

    Args:
        checked: the configuration.
        dataset: the data.
        outputs: computes the network's outputs with the checkpoint's values.
        values: values of the variables at the checkpoint.
        step: the checkpoint's step.
        folder: the run.
    """
    config, spec = checked.config, checked.spec
    folder.plots.mkdir(exist_ok=True)
    atomic_write_text(folder.plots / "network.svg", svg(spec, config.run.name), durable=False)
    collect_examples(config, spec, dataset).save(folder.examples_file)
    collect_plot_data(config, spec, dataset, outputs, values, step).save(folder.evidence_file)
