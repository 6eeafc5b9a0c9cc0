"""The losses and metrics of a batch, and the statistics of them that are reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.preprocess import FieldPreprocessing
from expkit.kinds.evaluated import Evaluated, Readable
from expkit.kinds.layers.base import Call
from expkit.kinds.losses import mean_per_example
from expkit.kinds.metrics import ROWS
from expkit.kinds.precision import widened
from expkit.metric_names import LOSS, loss_names
from expkit.network.build import TrainingCall
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig
from expkit.tensor_spec import Shape

__all__ = [
    "Objective",
    "Statistics",
    "add_batch",
    "loss_and_statistics",
    "network_inputs",
    "zero_statistics",
]

Statistics = Mapping[str, Mapping[str, Any]]
"""Statistics by metric name (``loss`` among them): tensors in a graph, arrays outside."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What training minimizes on a batch, and the statistics that are reported of it."""

    total: Any
    """float32: the sum of the terms and the regularizers."""
    means: Mapping[str, Any]
    """float32 mean of every loss, by name."""
    terms: Mapping[str, Any]
    """float32: every mean times the loss's weight, by name."""
    statistics: Statistics


def network_inputs(
    spec: NetworkSpec, fields: Mapping[str, Any], preprocessing: Mapping[str, FieldPreprocessing]
) -> dict[str, Any]:
    """Return the network's inputs from the values that are kept of fields, cast to their dtypes."""
    inputs = {name: fields[name] for name in spec.inputs}
    if preprocessing:
        with tf.name_scope("preprocess"):
            inputs |= {
                name: preprocessing[name].connect_in_step(inputs[name]) for name in inputs if name in preprocessing
            }
    return {name: tf.cast(inputs[name], item.dtype) for name, item in spec.inputs.items()}


def loss_and_statistics(
    config: Config, readable: Readable, regularization: Any, training: TrainingCall | None = None
) -> Objective:
    """Return the objective, and the statistics of ``loss``, of every loss if several, and of metrics.

    Args:
        config: losses and metrics.
        readable: outputs, fields and variables of a batch.
        regularization: sum of the regularizers.
        training: seed and step in training; ``None`` outside.
    """
    statistics: dict[str, Mapping[str, Any]] = {}
    means: dict[str, Any] = {}
    terms: dict[str, Any] = {}
    total, own_names = regularization, loss_names(config.train.losses)
    with tf.name_scope("losses"):
        for name, loss in config.train.losses.items():
            call = Call(training=False) if training is None else training.of(f"train.losses.{name}")
            values = loss.values(**_read(loss, readable), **({"call": call} if loss.draws else {}))
            per_example = tf.cast(mean_per_example(values) if values.shape.rank > 1 else values, tf.float32)
            count = tf.cast(tf.size(per_example), tf.float32)
            means[name] = tf.reduce_mean(per_example)
            terms[name] = loss.weight * means[name]
            total = total + terms[name]
            if name in own_names:
                statistics[own_names[name]] = {"sum": tf.reduce_sum(per_example), "count": count}
        statistics[LOSS] = {"sum": total * count, "count": count}
    with tf.name_scope("metrics"):
        for name, metric in config.train.metrics.items():
            statistics[name] = metric.statistics(**_read(metric, readable))
    return Objective(total=total, means=means, terms=terms, statistics=statistics)


def _read(item: Evaluated, readable: Readable) -> dict[str, Any]:
    """Return what a loss or metric reads, outputs in at least float32."""
    read = item.read(readable)
    return read | {field: widened(read[field]) for field in item.names(item.reads_outputs)}


def add_batch(totals: Statistics, batch: Statistics, first: Any) -> Statistics:
    """Return totals with the statistics of a batch added, and its rows at the index ``first``.

    float32 is added to a float64 total, exactly: the sum does not depend on how steps are grouped into calls.
    """

    def added(key: str, total: Any, more: Any) -> Any:
        more = tf.cast(more, total.dtype)
        if key != ROWS:
            return total + more
        return tf.tensor_scatter_nd_update(total, (first + tf.range(tf.shape(more)[0]))[:, None], more)

    return {
        name: {key: added(key, totals[name][key], more) for key, more in keys.items()} for name, keys in batch.items()
    }


def zero_statistics(checked: CheckedConfig, examples: Any) -> Statistics:
    """Return zeros in the shape of the statistics of ``loss_and_statistics``, in float64 but for rows.

    Args:
        checked: losses and metrics, and the network's outputs.
        examples: number of rows, which are zeros until ``add_batch`` gives them values.
    """
    train = checked.config.train
    names = (*loss_names(train.losses).values(), LOSS)
    shapes: dict[str, Mapping[str, Shape]] = {name: {"sum": (), "count": ()} for name in names}
    for name, metric in train.metrics.items():
        last = (checked.spec.output_spec(metric.output).shape or (1,))[-1]
        sized = metric.statistic_shapes.items()
        shapes[name] = {key: tuple(last if size is None else size for size in shape) for key, shape in sized}
    return {
        name: {
            key: tf.zeros((examples, *shape), tf.float32) if key == ROWS else tf.zeros(shape, tf.float64)
            for key, shape in keys.items()
        }
        for name, keys in shapes.items()
    }
