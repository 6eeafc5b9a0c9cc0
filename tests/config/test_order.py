"""Order and state in the configuration: what contradicts is told before there is data."""

from __future__ import annotations

import pytest

from expkit.config.load import load
from expkit.errors import ConfigError
from expkit.preflight import check

LSTM = "+network.layers.Model.layers.RNN.layers.cell.layers.lstm"
FORWARD = "set carry: false, or direction: forward"


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(load(list(overrides)))
    return [str(problem) for problem in caught.value.problems]


def test_a_carried_state_needs_a_stream() -> None:
    assert problems("experiment=ptb", "data.order=shuffled") == [
        "data.order: the state of Model/RNN/cell_0/lstm, Model/RNN/cell_1/lstm is carried from batch to batch, but "
        "examples are shuffled, so none continues another; set data.order: stream, or carry: false"
    ]
    check(load(["experiment=ptb", "data.order=shuffled", "network.settings.carry=false"]))


def test_a_stream_is_split_in_order_and_has_no_pairs() -> None:
    assert problems("experiment=siamese", "data.order=stream", "data.split.seed=3") == [
        "data.pairs: order is stream, but pairs are of examples drawn from anywhere; set data.pairs: null",
        "data.split.seed: order is stream, so the split is in order and nothing is drawn; set data.split.seed: 0",
    ]
    assert problems("experiment=ptb", "data.order=shuffled", "network.settings.carry=false", "data.split.seed=3") == [
        "data.split.seed: windows are of consecutive steps, so the split is in order and nothing is drawn; set "
        "data.split.seed: 0"
    ]


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_what_reads_backward_carries_nothing(direction: str) -> None:
    (problem,) = problems("experiment=ptb", f"{LSTM}.direction={direction}")
    assert problem.startswith(
        "network.layers.Model.layers.RNN.layers.cell.layers.lstm: carry is true, but direction is"
    )
    assert problem.endswith("cannot continue in the next batch; set carry: false, or direction: forward")


def test_a_carried_state_and_an_initial_one_exclude_each_other() -> None:
    (problem,) = problems("experiment=ptb", f"{LSTM}.initial_c=words")
    assert problem.endswith("carry is true, so the previous batch gives the initial state; leave out initial_c")
