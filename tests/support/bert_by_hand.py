"""BERT on ``tf.compat.v1`` alone, from its paper and the names of its checkpoints: what expkit's is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from expkit import tf1 as tf

__all__ = ["Sizes", "bert", "heads"]


@dataclass(frozen=True)
class Sizes:
    """The sizes of an encoder; those of the base model where none are given."""

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    intermediate: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    types: int = 2


def variable(name: str, *shape: int) -> Any:
    start = tf.truncated_normal_initializer(stddev=0.02, seed=1)
    if len(shape) == 1:
        start = tf.ones_initializer() if name == "gamma" else tf.zeros_initializer()
    return tf.get_variable(name, shape, initializer=start, use_resource=True)


def times(x: Any, units: int, name: str) -> Any:
    """Return x @ kernel + bias for x of shape [rows, features]."""
    with tf.variable_scope(name):
        return tf.nn.xw_plus_b(x, variable("kernel", x.shape.as_list()[-1], units), variable("bias", units))


def normalized(x: Any) -> Any:
    with tf.variable_scope("LayerNorm"):
        size = x.shape.as_list()[-1]
        beta, gamma = variable("beta", size), variable("gamma", size)
    centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    spread = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
    return centered / tf.sqrt(spread + 1e-12) * gamma + beta


def gelu(x: Any) -> Any:
    return x * 0.5 * (1 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def attended(x: Any, allowed: Any, batch: Any, length: Any, sizes: Sizes) -> Any:
    """Return [rows, hidden] of x [rows, hidden]; ``allowed`` [batch, 1, 1, length] holds 1 and 0."""
    each = sizes.hidden // sizes.heads

    def split(name: str) -> Any:
        parts = tf.reshape(times(x, sizes.hidden, name), [batch, length, sizes.heads, each])
        return tf.transpose(parts, [0, 2, 1, 3])

    scores = tf.matmul(split("query"), split("key"), adjoint_b=True) / math.sqrt(each)
    weights = tf.nn.softmax(scores - 10000.0 * (1.0 - allowed))
    joined = tf.transpose(tf.matmul(weights, split("value")), [0, 2, 1, 3])
    return tf.reshape(joined, [-1, sizes.hidden])


def bert(ids: Any, mask: Any, types: Any, sizes: Sizes) -> tuple[Any, Any]:
    """Return the last layer's output [batch, length, hidden] and the pooled one [batch, hidden]."""
    batch, length = tf.unstack(tf.shape(ids))
    with tf.variable_scope("bert"):
        with tf.variable_scope("embeddings"):
            words = tf.nn.embedding_lookup(variable("word_embeddings", sizes.vocabulary, sizes.hidden), ids)
            kinds = tf.nn.embedding_lookup(variable("token_type_embeddings", sizes.types, sizes.hidden), types)
            places = variable("position_embeddings", sizes.positions, sizes.hidden)[:length]
            x = tf.reshape(normalized(words + kinds + places), [-1, sizes.hidden])
        allowed = tf.cast(mask, tf.float32)[:, tf.newaxis, tf.newaxis, :]
        with tf.variable_scope("encoder"):
            for index in range(sizes.layers):
                with tf.variable_scope(f"layer_{index}"):
                    with tf.variable_scope("attention"):
                        with tf.variable_scope("self"):
                            context = attended(x, allowed, batch, length, sizes)
                        with tf.variable_scope("output"):
                            x = normalized(times(context, sizes.hidden, "dense") + x)
                    with tf.variable_scope("intermediate"):
                        wide = gelu(times(x, sizes.intermediate, "dense"))
                    with tf.variable_scope("output"):
                        x = normalized(times(wide, sizes.hidden, "dense") + x)
        sequence = tf.reshape(x, [batch, length, sizes.hidden])
        with tf.variable_scope("pooler"):
            return sequence, tf.tanh(times(sequence[:, 0], sizes.hidden, "dense"))


def heads(sequence: Any, pooled: Any, places: Any, sizes: Sizes) -> tuple[Any, Any]:
    """Return the logits of the words in ``places`` [batch, places, vocabulary] and of the next sentence [batch, 2]."""
    with tf.variable_scope("bert/embeddings", reuse=True):
        table = variable("word_embeddings", sizes.vocabulary, sizes.hidden)
    with tf.variable_scope("cls"):
        with tf.variable_scope("predictions"):
            chosen = tf.reshape(tf.gather(sequence, places, batch_dims=1), [-1, sizes.hidden])
            with tf.variable_scope("transform"):
                chosen = normalized(gelu(times(chosen, sizes.hidden, "dense")))
            words = tf.matmul(chosen, table, transpose_b=True) + variable("output_bias", sizes.vocabulary)
        with tf.variable_scope("seq_relationship"):
            weights, bias = variable("output_weights", 2, sizes.hidden), variable("output_bias", 2)
            following = tf.matmul(pooled, weights, transpose_b=True) + bias
    return tf.reshape(words, [-1, tf.shape(places)[1], sizes.vocabulary]), following
