"""The regularizers of variables, as a term of the loss."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from expkit import tf1 as tf
from expkit.network.spec import NetworkSpec

__all__ = ["penalty"]


def penalty(spec: NetworkSpec, variables: Mapping[str, Any], names: Collection[str] | None = None) -> Any:
    """Return the float32 sum of the regularizers of trained variables; 0 when there are none.

    That of a frozen variable would only shift the loss by a constant.

    Args:
        spec: the network.
        variables: by name.
        names: trained variables to take; by default all.
    """
    terms = []
    for name in spec.trainable if names is None else names:
        if (regularizer := spec.variables[name].regularizer) is not None:
            value = tf.cast(tf.convert_to_tensor(variables[name]), tf.float32)
            if regularizer.l1:
                terms.append(regularizer.l1 * tf.reduce_sum(tf.abs(value)))
            if regularizer.l2:
                terms.append(regularizer.l2 * tf.reduce_sum(tf.square(value)))
    return tf.add_n(terms) if terms else tf.constant(0.0)
