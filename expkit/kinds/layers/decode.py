"""Decoding: a block that reads its own output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs
from expkit.kinds.layers.checks import need_floats
from expkit.kinds.layers.looped import Cell, Looped, of_shape
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.precision import widened
from expkit.registry import NonNegative, Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Decode"]


@register
class Decode(Looped):
    """The layers of ``network.blocks.BLOCK`` as a cell that reads the token which it gave before, from ``start`` on.

    With ``reuse: true`` and the ``scope`` of a layer of kind ``scan`` it is that layer's cell. The block's output holds
    logits, [batch, tokens]. ``beam_width`` sentences are kept, those of the best scores; one is greedy search. A
    sentence that has ended keeps its score. Outputs: the layer's own name holds the best sentence's tokens, [batch,
    max_length] of int32, with ``end`` from its end on; ``lengths`` the number before that; ``scores`` its logarithmic
    probability, divided by the length's penalty; ``beams``, ``beam_lengths`` and ``beam_scores`` those of all sentences
    kept, [batch, beam_width, ...], best first. Nothing is trained through it.
    """

    kind: Literal["decode"] = "decode"
    trains: ClassVar[bool] = False
    token: str
    """Name by which the block's layers read the previous token, [batch] of int32."""
    start: NonNegative
    """Token before the first of every sentence."""
    end: NonNegative
    """Token that ends a sentence."""
    max_length: Positive
    """Maximum number of tokens of a sentence; one that has not ended then stays as it is."""
    beam_width: Positive = 1
    """Number of sentences that are kept after each step."""
    length_penalty: float = Field(default=0.0, ge=0)
    """Exponent a of ((5 + length) / 6) ** a, by which scores are divided (Wu et al. 2016); 0 prefers short ones."""

    @model_validator(mode="after")
    def _has_examples(self) -> Decode:
        if not self.references:
            raise ValueError("the number of examples is unknown; give 'constants' or an 'initial' state")
        return self

    @property
    def read_inside(self) -> dict[str, str]:
        """Names by which the block's layers read what this layer gives them, by the field that gives each."""
        return {"token": self.token} | super().read_inside

    def read_specs(self, inputs: Inputs[TensorSpec]) -> dict[str, TensorSpec]:
        """Return token, constants and states."""
        states = self._state_specs(inputs)
        batched = any(spec.batched for spec in inputs.named.values())
        token = TensorSpec((), "int32", batched=batched)
        return {self.token: token, **self._same_every_step(inputs), **states}

    def looped_spec(self, inputs: Inputs[TensorSpec], cell: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return tokens, lengths and scores."""
        logits = need_floats(cell[""], self.kind)
        tokens = logits.shape[0] if len(logits.shape) == 1 else None
        if tokens is None:
            raise ShapeError(f"decode needs a block whose output is [batch, tokens], got {logits}")
        if self.end >= tokens:
            raise ShapeError(f"decode needs an end token below the {tokens} of block '{self.block}', got {self.end}")
        if self.beam_width > tokens:
            raise ShapeError(
                f"decode needs a beam_width of no more than the {tokens} tokens of block '{self.block}', "
                f"got {self.beam_width}: a sentence has no more continuations"
            )
        self._check_states(inputs, cell)
        if not logits.batched and any(spec.batched for spec in inputs.named.values()):
            raise ShapeError(f"the output of block '{self.block}' is the same for every example")
        beams, length = self.beam_width, self.max_length
        return {
            "": TensorSpec((length,), "int32"),
            "lengths": TensorSpec((), "int32"),
            "scores": TensorSpec((), "float32"),
            "beams": TensorSpec((beams, length), "int32"),
            "beam_lengths": TensorSpec((beams,), "int32"),
            "beam_scores": TensorSpec((beams,), "float32"),
        }

    def run(self, cell: Cell, inputs: Inputs[Any], call: Call) -> Mapping[str, Any]:
        """Search."""
        beams, length = self.beam_width, self.max_length
        with tf.name_scope("search"):
            states, constants = self._first_states(inputs), self._same_every_step(inputs)
            batch = sizes_of(next(iter(inputs.named.values())))[0]
            constants, states = ({k: self._repeated(v) for k, v in part.items()} for part in (constants, states))
            first = {
                "tokens": tf.fill([batch, beams, length], self.end),
                "last": tf.fill([batch, beams], self.start),
                "ended": tf.zeros([batch, beams], tf.bool),
                "lengths": tf.zeros([batch, beams], tf.int32),
                # One sentence at first; the others, which are less probable than any, are replaced by the first step.
                "total": tf.tile(tf.constant([[0.0] + [-float("inf")] * (beams - 1)]), [batch, 1]),
            }

            def body(index: Any, sentences: dict[str, Any], states: dict[str, Any]) -> Any:
                last = tf.reshape(sentences["last"], [-1])
                outputs = cell.step({self.token: last, **constants, **states}, index)
                parent, after = self._best(index, sentences, outputs[""])
                rows = tf.reshape(parent + tf.range(batch)[:, None] * beams, [-1])
                states = {
                    name: of_shape(tf.gather(outputs[name], rows) if beams > 1 else outputs[name], state)
                    for name, state in states.items()
                }
                return index + 1, {name: of_shape(after[name], sentences[name]) for name in sentences}, states

            _, found, _ = tf.while_loop(
                lambda index, sentences, _: (index < length) & ~tf.reduce_all(sentences["ended"]),
                body,
                (tf.constant(0), first, states),
                maximum_iterations=length,
            )
            every = {
                "beams": found["tokens"],
                "beam_lengths": found["lengths"],
                "beam_scores": self._scores(found["total"], found["lengths"]),
            }
            best = dict(zip(("", "lengths", "scores"), (tensor[:, 0] for tensor in every.values()), strict=True))
        return {**best, **every}

    def _best(self, index: Any, sentences: Mapping[str, Any], logits: Any) -> tuple[Any, dict[str, Any]]:
        """Return the best continuations of all sentences of an example, and the sentence that each continues."""
        beams, tokens = self.beam_width, logits.shape.as_list()[-1]
        logits = tf.reshape(tf.cast(widened(logits), tf.float32), [-1, beams, tokens])
        ended, is_end = sentences["ended"], tf.constant([token == self.end for token in range(tokens)])
        stays = tf.where_v2(is_end, 0.0, -float("inf"))  # A sentence that has ended has one continuation: itself.
        total = sentences["total"][:, :, None] + tf.where_v2(ended[:, :, None], stays, tf.nn.log_softmax(logits))
        grows = tf.cast(~(ended[:, :, None] | is_end), tf.int32)
        lengths = sentences["lengths"][:, :, None] + grows
        _, chosen = tf.nn.top_k(tf.reshape(self._scores(total, lengths), [-1, beams * tokens]), beams)
        parent, token = chosen // tokens, chosen % tokens

        def of_chosen(tensor: Any) -> Any:
            return tf.gather(tf.reshape(tensor, [-1, beams * tokens]), chosen, batch_dims=1)

        now = tf.equal(tf.range(self.max_length), index)
        return parent, {
            "tokens": tf.where_v2(now, token[:, :, None], tf.gather(sentences["tokens"], parent, batch_dims=1)),
            "last": token,
            "ended": tf.equal(token, self.end),
            "lengths": of_chosen(lengths),
            "total": of_chosen(total),
        }

    def _scores(self, total: Any, lengths: Any) -> Any:
        if not self.length_penalty:
            return total
        return total / ((5 + tf.cast(lengths, tf.float32)) / 6) ** self.length_penalty

    def _repeated(self, tensor: Any) -> Any:
        """Return a tensor with each example repeated for every sentence that is kept of it."""
        return tensor if self.beam_width == 1 else tf.repeat(tensor, self.beam_width, axis=0)
