"""Suggested rename maps, measured on checkpoints of the published networks under other names."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import yaml

from expkit.checkpoints.matching.match import suggest
from expkit.checkpoints.matching.rules_yaml import restore_section
from expkit.config.sections.restore import RestoreConfig
from expkit.preflight import load_network
from expkit.tensor_spec import TensorSpec
from support.plans import plan_between
from support.renamings import Renamed, renamed

ZOO = sorted(path.stem for path in (Path(__file__).parents[3] / "conf/network").glob("*.yaml"))
COUNT = 500


@cache
def network(name: str) -> dict[str, TensorSpec]:
    return {at: item.spec for at, item in load_network([f"network={name}"]).variables.items()}


def case(seed: int) -> Renamed:
    return renamed(network(ZOO[seed % len(ZOO)]), random.Random(seed))


@pytest.mark.untraced
def test_in_500_renamed_networks_nearly_everything_is_found_and_no_certain_proposal_is_wrong() -> None:
    count: Counter[str] = Counter()
    for seed in range(COUNT):
        there = case(seed)
        found = {proposal.variable: proposal for proposal in suggest(there.checkpoint, there.network).proposals}
        right = {name for name, its in found.items() if there.truth.get(name) == its.source}
        high = {name for name, its in found.items() if its.confidence == "high"}
        assert not high - right, (seed, ZOO[seed % len(ZOO)], there.done, sorted(high - right)[:5])
        recoverable = there.knowable & set(there.truth)
        count += Counter(all=len(recoverable), right=len(recoverable & right), high=len(recoverable & high))
    assert count["all"] > 30_000
    assert count["right"] >= 0.95 * count["all"]
    assert count["high"] >= 0.8 * count["all"]


@pytest.mark.parametrize("seed", range(3000, 3040))
def test_the_printed_section_makes_the_proposed_plan(seed: int) -> None:
    there = case(seed)
    found = suggest(there.checkpoint, there.network)
    text = re.sub(r"^(\s*)# (- \{|rename:)", r"\1\2", restore_section(found, there.checkpoint), flags=re.MULTILINE)
    restore = RestoreConfig.model_validate((yaml.safe_load(text) or {"restore": {}})["restore"] or {}, strict=False)
    plan = plan_between(
        {name: made.shape for name, made in there.network.items()},
        {name: made.shape for name, made in there.checkpoint.items()},
        restore.keep_initial,
        rename=[rule.model_dump(exclude_defaults=True) for rule in restore.rename],
    )
    assert {item.variable: item.sources for item in plan.assignments} == {
        p.variable: (p.source,) for p in found.proposals
    }
    assert plan.kept_initial == found.missing


@pytest.mark.parametrize("seed", [2, 8, 34, 63])
def test_the_order_of_names_does_not_matter(seed: int) -> None:
    there = case(seed)
    names = list(there.checkpoint)
    random.Random(0).shuffle(names)
    again = suggest({name: there.checkpoint[name] for name in names}, there.network)
    first = suggest(there.checkpoint, there.network)
    assert [p for p in again.proposals if p.confidence == "high"] == [
        p for p in first.proposals if p.confidence == "high"
    ]
    assert suggest(there.checkpoint, there.network) == first


def test_renamings_are_the_same_for_one_seed() -> None:
    assert json.dumps([case(seed).truth for seed in range(40)]) == json.dumps([case(seed).truth for seed in range(40)])
