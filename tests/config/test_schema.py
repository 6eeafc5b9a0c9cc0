"""What the sections check beyond types: parts that have to agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from expkit.config.schema import models
from expkit.config.sections.data import SplitConfig
from expkit.config.sections.restore import RenameRule, RestoreConfig
from expkit.kinds.sources.tfrecord_feature import Feature
from expkit.registry import Section, field_docs


def problem_of(model: type[BaseModel], raw: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(raw))
    [problem] = caught.value.errors()
    return problem["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    "split",
    [
        {},
        {"train": 0.5, "test": 0.5},
        {"train": 0.7, "valid": 0.1, "test": 0.2},
        {"train": [0, 8], "valid": [8, 9], "test": [9, 20]},
        {"train": [8, 9], "test": [0, 8]},
        {"train": [0, 8], "valid": None, "test": [8, 9]},
    ],
)
def test_a_split_is_fractions_or_ranges(split: dict[str, Any]) -> None:
    made = SplitConfig.model_validate_json(json.dumps(split))
    assert json.loads(made.model_dump_json(exclude_unset=True)) == split


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        (
            {"train": [0, 8], "test": 0.2},
            "fractions and index ranges cannot be mixed; use one of them for all splits",
        ),
        (
            {"train": 0.9, "test": 0.2},
            "fractions must lie in (0, 1] with a sum of at most 1, got [0.9, 0.2]",
        ),
        ({"train": 0.0}, "fractions must lie in (0, 1] with a sum of at most 1, got [0.0, 0.2]"),
        ({"train": -0.5}, "fractions must lie in (0, 1] with a sum of at most 1, got [-0.5, 0.2]"),
        (
            {"train": [8, 8], "test": [9, 10]},
            "an index range is [first, after_last] with 0 <= first < after_last, got [(8, 8), (9, 10)]",
        ),
        (
            {"train": [-1, 8], "test": [9, 10]},
            "an index range is [first, after_last] with 0 <= first < after_last, got [(-1, 8), (9, 10)]",
        ),
        (
            {"train": [0, 8], "valid": [20, 30], "test": [7, 20]},
            "index ranges overlap, so training would see scored examples: [(0, 8), (7, 20), (20, 30)]",
        ),
    ],
)
def test_a_split_that_cannot_be_says_why(split: dict[str, Any], problem: str) -> None:
    assert problem_of(SplitConfig, split) == problem


@pytest.mark.parametrize("rule", [{"to": "x"}, {"name": "a", "pattern": "b", "to": "x"}])
def test_a_rename_rule_needs_one_of_name_prefix_and_pattern(rule: dict[str, Any]) -> None:
    expected = "a rename rule needs exactly one of 'name' (exact), 'prefix' and 'pattern' (regular expression)"
    assert problem_of(RenameRule, rule) == expected


def test_models_lists_every_section_that_is_no_kind() -> None:
    own = {cls for cls in Section.__subclasses__() if cls.__module__.startswith("expkit.config.sections.")}
    assert set(models()) == own | {Feature, RestoreConfig}


@pytest.mark.parametrize("model", models())
def test_every_field_says_what_it_is(model: type[BaseModel]) -> None:
    silent = set(model.model_fields) - set(field_docs(model))
    assert not silent
