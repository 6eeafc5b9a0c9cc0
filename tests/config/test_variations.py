"""Configurations that differ in plain values: composed as Hydra composes them, whatever came before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from expkit.config import variations
from expkit.config.load import compose_plain
from expkit.config.variations import Variations
from expkit.errors import ConfigError

VALUES = {
    "optimizer.learning_rate": ["0.1", "1e-3", "null", "'0.1'", "[1,2]", "[3]", "{a: 1}"],
    "run.seed": ["1", "2", "x", "true", "${train.steps}"],
    "run.name": ["a", "'b c'", '"d=e,f"', ""],
    "network.layers.layer1": ["{units: 3}", "{units: 4}", "null"],
    "network.layers.layer1.units": ["32", "33"],
    "optimizer": ["sgd", "adam"],
    "+train.extra": ["1", "2"],
    "~train.early_stopping": ["{}"],
}
WORDS = [f"{key}={value}" for key, values in VALUES.items() for value in values] + [
    "~data.pairs",
    "run.nmae=x",
    "train=",
]
_COMPOSED: dict[tuple[str, ...], object] = {}


def own(composed: DictConfig) -> object:
    return OmegaConf.to_container(OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"]))


def by_hydra(words: list[str]) -> object:
    """Return what Hydra composes, or the text of its error."""
    if tuple(words) not in _COMPOSED:
        _COMPOSED[tuple(words)] = outcome(lambda: compose_plain(words))
    return _COMPOSED[tuple(words)]


def outcome(compose: object) -> object:
    try:
        return own(compose())
    except ConfigError as error:
        return str(error)


@settings(max_examples=10, derandomize=True, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=3), min_size=2, max_size=4))
def test_any_order_of_lists_is_composed_as_by_hydra(lists: list[list[str]]) -> None:
    composer = Variations()
    for words in lists:
        assert outcome(lambda words=words: composer.compose(words)) == by_hydra(words), words


def test_plain_values_are_composed_without_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def counted(*given: object) -> DictConfig:
        calls.append(given)
        return compose_plain(*given)

    monkeypatch.setattr(variations, "compose_plain", counted)
    composer = Variations()
    for rate in ("0.1", "0.2", "null", "[1]", "[2]", "0.3"):
        for seed in (1, 2):
            words = [f"optimizer.learning_rate={rate}", f"run.seed={seed}", "optimizer=sgd"]
            assert own(composer.compose(words)) == by_hydra(words)
    assert len(calls) == 2, "the first, and the list after a value that may have been a mapping"


def test_values_that_name_settings_of_hydra_are_left_to_it() -> None:
    composer = Variations()
    for rate in (0.1, 0.2):
        words = [f"optimizer.learning_rate={rate}", "run.name='${hydra:job.override_dirname}'"]
        assert composer.compose(words).hydra.overrides.task[0] == words[0]
