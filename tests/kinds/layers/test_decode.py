"""Decoding by a block that reads its own output."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.network.build import connect, create_variables, placeholders
from support.networks import fields_problems, problems_of, spec_of

END, START, TOKENS = 0, 1, 4
NETWORK = """
inputs: {{x: {{shape: [3]}}}}
blocks:
  cell:
    layers:
      table: {{kind: embedding, input: token, input_dim: 4, output_dim: 3, initializer: {{embeddings: {normal}}}}}
      both: {{kind: concat, input: [table, h, x]}}
      new: {{kind: dense, units: 3, activation: tanh, initializer: {{kernel: {normal}}}}}
      logits: {{kind: dense, units: 4, initializer: {{kernel: {normal}, bias: {normal}}}}}
    outputs: {{h: new}}
layers:
  decoded:
    {{kind: decode, block: cell, token: token, constants: {{x: x}}, states: {{h: {{shape: [3]}}}}, start: 1, end: 0,
     {fields}}}
outputs: {{tokens: decoded, lengths: decoded/lengths, scores: decoded/scores, beams: decoded/beams,
          beam_lengths: decoded/beam_lengths, beam_scores: decoded/beam_scores}}
"""
X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Sentence = tuple[int, ...]


def decoded(x: np.ndarray = X, **fields: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what is decoded, and the variables."""
    given = ", ".join(f"{name}: {value}" for name, value in fields.items())
    spec = spec_of(NETWORK.format(normal="{kind: random_normal, stddev: 1.5}", fields=given))
    with tf.Graph().as_default(), tf.Session() as session:
        variables, inputs = create_variables(spec, 30), placeholders(spec)
        outputs = connect(spec, variables, inputs).outputs
        session.run(tf.global_variables_initializer())
        return session.run([dict(outputs), dict(variables)], {inputs["x"]: x})


class Model:
    """The cell, in NumPy, for one example."""

    def __init__(self, values: dict[str, np.ndarray], x: np.ndarray) -> None:
        self.values = {name.removeprefix("decoded/"): value.astype(np.float64) for name, value in values.items()}
        self.x = x

    def step(self, token: int, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithmic probabilities of the next token, and the next state."""
        v = self.values
        both = np.concatenate([v["table/embeddings"][token], h, self.x])
        h = np.tanh(both @ v["new/kernel"] + v["new/bias"])
        logits = h @ v["logits/kernel"] + v["logits/bias"]
        return logits - np.log(np.exp(logits).sum()), h

    def score(self, sentence: Sentence, penalty: float) -> float:
        """Return the score of a sentence, which ends by the end token or by its length."""
        total, token, h = 0.0, START, np.zeros(3)
        for following in sentence:
            logs, h = self.step(token, h)
            total, token = total + logs[following], following
        length = len(sentence) - (END in sentence)
        return float(total / ((5 + length) / 6) ** penalty)

    def beam(self, width: int, length: int, penalty: float) -> list[Sentence]:
        """Return the sentences that beam search keeps, best first."""
        kept: list[Sentence] = [()]
        for _ in range(length):
            more = [(*one, token) for one in kept for token in range(TOKENS) if END not in one] + [
                one for one in kept if END in one
            ]
            kept = sorted(more, key=lambda one: -self.score(one, penalty))[:width]
        return kept


def padded(sentence: Sentence, length: int) -> list[int]:
    return [*sentence, *[END] * (length - len(sentence))]


@pytest.mark.parametrize("penalty", [0.0, 1.3])
def test_a_beam_as_wide_as_the_vocabulary_finds_the_best_of_all_sentences_of_two_tokens(penalty: float) -> None:
    outputs, values = decoded(max_length=2, beam_width=4, length_penalty=penalty)
    every = [one for one in product(range(TOKENS), repeat=2) if one[0] != END] + [(END,)]
    found = set()
    for example, x in enumerate(X):
        model = Model(values, x)
        ranked = sorted(every, key=lambda one: -model.score(one, penalty))[:4]
        assert outputs["beams"][example].tolist() == [padded(one, 2) for one in ranked]
        np.testing.assert_allclose(
            outputs["beam_scores"][example], [model.score(one, penalty) for one in ranked], rtol=1e-5
        )
        assert outputs["beam_lengths"][example].tolist() == [len(one) - (END in one) for one in ranked]
        found.add(ranked[0])
    assert len(found) > 1, "the examples differ"
    np.testing.assert_array_equal(outputs["tokens"], outputs["beams"][:, 0])
    np.testing.assert_array_equal(outputs["scores"], outputs["beam_scores"][:, 0])
    np.testing.assert_array_equal(outputs["lengths"], outputs["beam_lengths"][:, 0])


@pytest.mark.parametrize(("width", "penalty"), [(1, 0.0), (2, 0.0), (3, 0.7)])
def test_longer_sentences_are_those_of_a_search_in_numpy(width: int, penalty: float) -> None:
    outputs, values = decoded(max_length=6, beam_width=width, length_penalty=penalty)
    for example, x in enumerate(X):
        expected = Model(values, x).beam(width, 6, penalty)
        assert outputs["beams"][example].tolist() == [padded(one, 6) for one in expected]
    assert len(set(outputs["lengths"])) > 1, "some end, some do not"


def test_one_beam_takes_the_most_probable_token_in_every_step() -> None:
    outputs, values = decoded(max_length=6)
    for example, x in enumerate(X):
        model, token, h, sentence = Model(values, x), START, np.zeros(3), []
        while len(sentence) < 6 and END not in sentence:
            logs, h = model.step(token, h)
            sentence.append(token := int(np.argmax(logs)))
        assert outputs["tokens"][example].tolist() == padded(tuple(sentence), 6)


def test_an_example_is_decoded_alone_as_in_a_batch_and_none_is_nothing() -> None:
    together, _ = decoded(max_length=6, beam_width=3)
    for name, array in decoded(X[2:3], max_length=6, beam_width=3)[0].items():
        np.testing.assert_allclose(array[0], together[name][2], rtol=1e-6)
    assert decoded(X[:0], max_length=6, beam_width=3)[0]["beams"].shape == (0, 3, 6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "max_length: 3, beam_width: 5",
            "network.layers.decoded: decode needs a beam_width of no more than the 4 tokens of block 'cell', got 5: a "
            "sentence has no more continuations; 'decoded' reads constants.x 'x' [batch, 3] float32",
        ),
    ],
)
def test_mistakes(fields: str, message: str) -> None:
    assert problems_of(NETWORK.format(normal="{kind: zeros}", fields=fields)) == [message]


def test_an_end_outside_the_vocabulary_is_refused() -> None:
    text = NETWORK.format(normal="{kind: zeros}", fields="max_length: 3").replace("end: 0", "end: 4")
    assert problems_of(text) == [
        "network.layers.decoded: decode needs an end token below the 4 of block 'cell', got 4; 'decoded' reads "
        "constants.x 'x' [batch, 3] float32"
    ]
    text = NETWORK.format(normal="{kind: zeros}", fields="max_length: 3").replace("token: token, con", "token: t, con")
    assert problems_of(text) == [
        "network.blocks.cell.layers.table.input: no layer or input 'token' in block 'cell' as network.layers.decoded "
        "connects it; allowed: t, x, h, table, both, new, logits; give it more with inputs: {NAME: LAYER}"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "logits: {{kind: dense, units: 4",
            "logits: {{kind: dense, units: 4, input: pair",
            "network.layers.decoded: decode needs a block whose output is [batch, tokens], got [batch, 2, 4] float32; "
            "'decoded' reads constants.x 'x' [batch, 3] float32",
        ),
        (
            "    outputs: {{h: new}}",
            "      same: {{kind: constant, value: [1, 2, 3, 4]}}\n    outputs: {{h: new}}",
            "network.layers.decoded: the output of block 'cell' is the same for every example; 'decoded' reads "
            "constants.x 'x' [batch, 3] float32",
        ),
    ],
)
def test_an_output_that_holds_no_logits_is_refused(old: str, new: str, message: str) -> None:
    text = NETWORK.replace("      logits:", "      pair: {{kind: stack, axis: 1, input: [new, new]}}\n      logits:")
    assert old in text
    given = text.replace(old, new).format(normal="{kind: zeros}", fields="max_length: 3")
    assert problems_of(given) == [message]


def test_a_decoder_needs_to_know_the_number_of_examples() -> None:
    text = NETWORK.replace("constants: {{x: x}}, ", "").format(normal="{kind: zeros}", fields="max_length: 3")
    assert fields_problems(text) == [
        "layers.decoded.decode: the number of examples is unknown; give 'constants' or an 'initial' state"
    ]
