"""Graphs and printed output are those that golden/digests.json promises; support/digests.py compares all of them."""

from __future__ import annotations

import pytest

from expkit import tf1 as tf
from support.digests import differences, digests, entries, golden

PROMISED = golden()
PRINTED = sorted(name for name in PROMISED["digests"] if name.partition("/")[0] not in ("graph", "network"))
PRINTED.remove("schema/text")  # words of descriptions, which config/test_json_schema.py holds to be those of schema/
GRAPHS = [
    *(f"graph/digits_cnn/{graph}" for graph in ("infer", "evaluate", "train/plain", "train/inter_op_bfloat16")),
    *(f"graph/digits_mlp/{graph}" for graph in ("train/update", "train/xla")),
    "network/ptb_lstm/train/plain",
]

pytestmark = pytest.mark.untraced


@pytest.mark.parametrize("family", ["names/", "plan/", "schema/", "checkpoint/"])
def test_what_verbs_print_is_what_was_promised(family: str) -> None:
    wanted = [name for name in PRINTED if name.startswith(family)]
    assert differences(digests(wanted), PROMISED["digests"]) == []


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_the_one_that_was_promised(name: str) -> None:
    if tf.tensorflow_version() != PROMISED["tensorflow"]:
        pytest.skip(f"the digests are of graphs that TensorFlow {PROMISED['tensorflow']} makes")
    assert differences(digests([name]), PROMISED["digests"]) == []


def test_every_entry_has_a_digest_and_every_digest_an_entry() -> None:
    assert sorted(entries()) == sorted(PROMISED["digests"])
