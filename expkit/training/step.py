"""The losses and metrics of a batch, and the statistics of them that are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.augment import FRACTION, PARTNER
from expkit.data.preprocess import FieldPreprocessing
from expkit.errors import ConfigError
from expkit.kinds.evaluated import Evaluated, Readable
from expkit.kinds.layers.base import Call
from expkit.kinds.losses import BaseLoss
from expkit.kinds.metrics import ROWS
from expkit.kinds.precision import widened
from expkit.kinds.reduction import by_level, joined_weights, per_example, weighted_sums
from expkit.kinds.weighting import Weighted
from expkit.metric_names import LOSS, loss_names
from expkit.network.build import TrainingCall
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig
from expkit.tensor_spec import Shape
from expkit.training.state import StatisticArrays
from expkit.training.sums import add_statistics, results

__all__ = [
    "Objective",
    "Statistics",
    "add_batch",
    "loss_and_statistics",
    "metrics_of_arrays",
    "network_inputs",
    "zero_statistics",
]

Statistics = Mapping[str, Mapping[str, Any]]
"""Statistics by metric name (``loss`` among them): tensors in a graph, arrays outside."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Loss that training minimizes on a batch, and the statistics that are reported of it."""

    total: Any
    """float32: the sum of the terms and the regularizers."""
    means: Mapping[str, Any]
    """float32 reduction of every loss, by name."""
    terms: Mapping[str, Any]
    """float32: that, times the loss's weight, by name."""
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
    config: Config, readable: Readable, regularization: Any, step: Any, training: TrainingCall | None = None
) -> Objective:
    """Return the objective, and the statistics of ``loss``, of every loss if several, and of metrics.

    Args:
        config: losses and metrics.
        readable: outputs, fields and variables of a batch.
        regularization: sum of the regularizers.
        step: int64 scalar, for weights that are schedules.
        training: seed and number of the batch in training; ``None`` outside.
    """
    train = config.train
    statistics: dict[str, Mapping[str, Any]] = {}
    means: dict[str, Any] = {}
    terms: dict[str, Any] = {}
    parts: list[tuple[Any, Any, Any]] = []
    total, own_names, pooled = regularization, loss_names(train.losses), pools(config, training is not None)
    with tf.name_scope("losses"):
        for name, loss in train.losses.items():
            call = Call(training=False) if training is None else training.of(f"train.losses.{name}")
            summed = loss.weighted or _partners(loss, readable) is not None
            if summed:
                above, below, examples = _weighted(loss, f"train.losses.{name}", readable, call, train.batch_size)
                means[name] = tf.math.divide_no_nan(above, below)
            else:
                values = loss.values(**_read(loss, readable), **({"call": call} if loss.draws else {}))
                each = tf.cast(per_example(values, loss.reduction, train.batch_size), tf.float32)
                below = examples = tf.cast(tf.size(each), tf.float32)
                means[name] = tf.reduce_mean(each)
            factor = loss.factor(step)
            terms[name] = factor * means[name]
            total = total + terms[name]
            if not summed and (name in own_names or pooled):
                above = tf.reduce_sum(each)
            if name in own_names:
                statistics[own_names[name]] = {"sum": above, "count": below}
            if pooled:
                parts.append((factor * examples, above, below))
        if pooled:
            factors, sums, counts = (tf.stack(column) for column in zip(*parts, strict=True))
            exact = {"factors": factors, "sums": sums, "counts": counts}
            statistics[LOSS] = {"sum": regularization * examples, "count": examples, **exact}
        else:
            statistics[LOSS] = {"sum": total * examples, "count": examples}
    with tf.name_scope("metrics"):
        for name, metric in train.metrics.items():
            statistics[name] = metric.statistics(**_read(metric, readable), **_weights(metric, readable))
    return Objective(total=total, means=means, terms=terms, statistics=statistics)


def _partners(loss: BaseLoss, readable: Readable) -> Readable | None:
    """Return the values of mixed-in examples that a loss reads; ``None`` if none are, or it reads nothing of them."""
    fields = readable.fields
    partners = {name: fields[f"{PARTNER}{name}"] for name in loss.data_fields.values() if f"{PARTNER}{name}" in fields}
    return replace(readable, fields={**fields, **partners}) if partners else None


def _weighted(loss: BaseLoss, at: str, readable: Readable, call: Call, batch_size: int) -> tuple[Any, Any, Any]:
    """Return the two sums of a loss with weights, and the number of examples; a mixed example counts as two.

    Raises:
        ConfigError: the weights do not fit the values.
    """
    partners = _partners(loss, readable)
    if partners is None:
        return _sums(loss, at, readable, (), call, batch_size)
    fraction = readable.fields[FRACTION]
    own, own_weight, examples = _sums(loss, at, readable, (fraction,), call, batch_size)
    other, other_weight, _ = _sums(loss, at, partners, (1 - fraction,), call, batch_size)
    return own + other, own_weight if loss.reduction == "sum" else own_weight + other_weight, examples


def _sums(
    loss: BaseLoss, at: str, readable: Readable, more_factors: Sequence[Any], call: Call, batch_size: int
) -> tuple[Any, Any, Any]:
    """Return the two sums of a loss with weights, times further factors, and the number of examples.

    Raises:
        ConfigError: the weights do not fit the values.
    """
    read, factors = _read(loss, readable), [*loss.factors(readable), *more_factors]
    more: dict[str, Any] = {"call": call} if loss.draws else {}
    if loss.joins_positions:
        factors, within = by_level(factors)
        labels = read["labels"]
        batch = tf.shape(labels)[0]
        more["positions"] = joined_weights(within, batch, tf.size(labels) // batch) if within else None
    if loss.couples_examples:
        more["counted"] = joined_weights(factors, tf.shape(factors[0])[0], 1)[:, 0] > 0
    values = loss.values(**read, **more)
    if loss.weights is not None and not loss.joins_positions:
        shapes = (tuple(tensor.shape[1:]) for tensor in (readable.fields[loss.weights], values))
        if problem := loss.weights_problem(*shapes):
            raise ConfigError.at(f"{at}.weights", problem)
    return (
        *weighted_sums(values, factors, loss.reduction, batch_size),
        tf.cast(tf.shape(values)[0], tf.float32),
    )


def _read(item: Evaluated, readable: Readable) -> dict[str, Any]:
    """Return the values that a loss or metric reads, outputs in at least float32."""
    read = item.read(readable)
    read |= {field: widened(read[field]) for field in item.names(item.reads_outputs)}
    return item.prepared(read) if isinstance(item, Weighted) else read


def _weights(item: Evaluated, readable: Readable) -> dict[str, Any]:
    return {"weights": item.factors(readable)} if isinstance(item, Weighted) else {}


def pools(config: Config, trains: bool) -> bool:
    """Return True if the total loss of batches is not a mean of theirs: their losses have sums of weights of their own.

    In training it is the mean of what every step minimized.
    """
    return not trains and any(loss.weighted for loss in config.train.losses.values())


def metrics_of_arrays(config: Config, outputs: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of outputs that were computed before, of those metrics that read no more than these.

    Args:
        config: the metrics.
        outputs: arrays by name.
        fields: data of the same examples, by name.
    """
    chosen = {
        name: metric
        for name, metric in config.train.metrics.items()
        if not metric.reads_variables and set(metric.names(metric.reads_outputs).values()) <= set(outputs)
    }
    size, count = config.train.evaluation_batch_size, min(len(array) for array in outputs.values())
    read = {name: fields[name] for name in fields if fields[name].dtype.kind not in "OSU"}
    total: StatisticArrays = {}
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        feeds = [
            {name: tf.placeholder(array.dtype, (None, *array.shape[1:])) for name, array in arrays.items()}
            for arrays in (outputs, read)
        ]
        readable = Readable(outputs=feeds[0], fields=feeds[1], variables={})
        statistics = {
            name: dict(metric.statistics(**_read(metric, readable), **_weights(metric, readable)))
            for name, metric in chosen.items()
        }
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            feed = {
                placeholder: arrays[name][rows]
                for placeholders, arrays in zip(feeds, (outputs, read), strict=True)
                for name, placeholder in placeholders.items()
            }
            add_statistics(total, session.run(statistics, feed))
    return results(config, total)


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


def zero_statistics(checked: CheckedConfig, examples: Any, *, trains: bool) -> Statistics:
    """Return zeros in the shape of the statistics of ``loss_and_statistics``, in float64 but for rows.

    Args:
        checked: losses and metrics, and the network's outputs.
        examples: number of rows, which are zeros until ``add_batch`` gives them values.
        trains: True in training.
    """
    train = checked.config.train
    names = (*loss_names(train.losses).values(), LOSS)
    shapes: dict[str, Mapping[str, Shape]] = {name: {"sum": (), "count": ()} for name in names}
    if pools(checked.config, trains):
        shapes[LOSS] = {**shapes[LOSS], **dict.fromkeys(("factors", "sums", "counts"), (len(train.losses),))}
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
