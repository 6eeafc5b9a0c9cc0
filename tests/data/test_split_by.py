"""Splits by the values of a field: stratified by class, by group, in the order of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from expkit.config.load import load
from expkit.config.sections.data import SplitConfig
from expkit.data.split import split_fields
from expkit.data.split_by import split_notes
from expkit.errors import ConfigError, DataError
from expkit.preflight import check

SIZES = {"train": 0.7, "valid": 0.1, "test": 0.2}


def texts(*words: str) -> np.ndarray:
    found = np.empty(len(words), object)
    found[:] = [word.encode() for word in words]
    return found


LABEL = texts(*["a"] * 50, *["b"] * 30, *["c"] * 20)
DAYS = texts(*(f"2026-{1 + day * 7 % 12:02}-{1 + day % 28:02}" for day in range(100)))
FIELDS = {"x": np.arange(100), "label": LABEL, "patient": np.arange(100) // 5, "day": DAYS, "at": np.arange(100)[::-1]}


def split(fields: Mapping[str, Any] = FIELDS, **given: Any) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(part["x"]) for name, part in split_fields(fields, SplitConfig(**{**SIZES, **given})).items()
    }


def test_a_stratified_split_has_exact_counts_of_every_class() -> None:
    found = split(stratify="label")
    counts = {name: [int((LABEL[part] == word).sum()) for word in (b"a", b"b", b"c")] for name, part in found.items()}
    assert counts == {"train": [35, 21, 14], "valid": [5, 3, 2], "test": [10, 6, 4]}
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(100))


def test_the_seed_alone_decides_a_stratified_split() -> None:
    first, again, other = split(stratify="label"), split(stratify="label"), split(stratify="label", seed=1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert set(first["test"]) != set(other["test"])
    assert sorted(LABEL[first["test"]]) == sorted(LABEL[other["test"]])


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(10, 60), min_size=1, max_size=8),
    train=st.sampled_from([0.5, 0.6]),
    rest=st.sampled_from([0.1, 0.15, 0.2]),
    seed=st.integers(0, 3),
)
def test_every_part_has_its_fraction_of_every_class(counts: list[int], train: float, rest: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    fields = {"x": np.arange(len(labels)), "label": labels}
    sizes = {"train": train, "valid": rest, "test": rest}
    plain, found = split(fields, seed=seed, **sizes), split(fields, seed=seed, stratify="label", **sizes)
    for name, part in found.items():
        assert len(part) == len(plain[name])  # exactly as many as without
        of_class = np.bincount(labels[part], minlength=len(counts))
        assert (np.abs(of_class - len(part) * np.array(counts) / len(labels)) < 2).all()


def test_no_group_is_in_two_parts() -> None:
    found = split(group="patient")
    assert {name: len(part) for name, part in found.items()} == {"train": 70, "valid": 10, "test": 20}
    groups = [set(FIELDS["patient"][part].tolist()) for part in found.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 20
    assert set(found["test"]) != set(split(group="patient", seed=1)["test"])


@settings(derandomize=True, max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=3, max_size=12), seed=st.integers(0, 3))
def test_groups_of_any_sizes_fill_every_part(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    found = split({"x": np.arange(len(groups)), "patient": groups}, group="patient", seed=seed)
    assert all(len(part) for part in found.values())
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(groups)))
    parts = [set(groups[part].tolist()) for part in found.values()]
    assert sum(map(len, parts)) == len(sizes)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=3, max_size=30),
    classes=st.integers(1, 4),
    train=st.sampled_from([0.4, 0.5, 0.7]),
    seed=st.integers(0, 3),
)
def test_groups_stay_whole_where_classes_are_balanced(sizes: list[int], classes: int, train: float, seed: int) -> None:
    patients = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(len(patients)).integers(0, classes, len(patients))
    fields = {"x": np.arange(len(patients)), "patient": patients, "label": labels}
    given = {"group": "patient", "stratify": "label", "train": train, "seed": seed}
    found, again = split(fields, **given), split(fields, **given)
    assert all(len(part) and np.array_equal(part, again[name]) for name, part in found.items())
    groups = {name: set(patients[part].tolist()) for name, part in found.items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))
    if train == 0.7:
        assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(patients)))
    if len(sizes) >= classes + 2:
        assert set(labels[found["train"]].tolist()) == set(labels.tolist())


def test_classes_are_balanced_over_groups_as_well_as_by_scikit_learn() -> None:
    draw = np.random.default_rng(5)
    patients = np.repeat(np.arange(60), draw.integers(2, 20, 60))
    odds = draw.dirichlet(np.full(4, 0.5), 60)
    labels = np.array([draw.choice(4, p=odds[patient]) for patient in patients])

    def difference(test: np.ndarray) -> float:
        return float(np.abs(np.bincount(labels[test]) / np.bincount(labels) - 0.2).max())

    fields = {"x": np.arange(len(labels)), "patient": patients, "label": labels}
    ours = split(fields, group="patient", stratify="label", train=0.8, valid=None, test=0.2)["test"]
    folds = StratifiedGroupKFold(5).split(labels, labels, patients)
    assert difference(ours) < 0.01
    assert difference(ours) < np.mean([difference(test) for _, test in folds])


def test_a_class_of_one_group_is_for_training() -> None:
    patients = np.arange(100) // 5
    labels = np.where(patients == 7, 1, 0)
    found = split({"x": np.arange(100), "p": patients, "y": labels}, group="p", stratify="y", train=0.2, test=0.7)
    assert set(range(35, 40)) <= set(found["train"].tolist())


@pytest.mark.parametrize("field", ["day", "at"])
def test_training_has_the_earliest_examples(field: str) -> None:
    found = split(by=field)
    values = {name: FIELDS[field][part] for name, part in found.items()}
    assert {name: len(part) for name, part in found.items()} == {"train": 70, "valid": 10, "test": 20}
    assert max(values["train"]) <= min(values["valid"])
    assert max(values["valid"]) <= min(values["test"])


def test_times_are_ordered_by_their_zone() -> None:
    times = ["2026-01-01T12:00:00+02:00", "2026-01-01T11:00:00Z", "2026-01-01T10:30:00+00:00", "2026-01-02"]
    fields = {"x": np.arange(3), "at": texts(*times[:3])}
    found = split(fields, by="at", train=0.34, valid=0.33, test=0.33)
    assert [part.tolist() for part in found.values()] == [[0], [2], [1]]
    with pytest.raises(DataError) as caught:
        split({"x": np.arange(4), "at": texts(*times)}, by="at")
    assert str(caught.value) == "data.split.by: 3 of 4 times have a time zone and the others none"


def test_fractions_beside_a_named_part_are_arranged_too() -> None:
    part = texts(*["", "test"] * 50)
    found = split({**FIELDS, "part": part}, stratify="label", train=0.8, valid=0.2, test="test")
    assert found["test"].tolist() == list(range(1, 100, 2))
    assert [int((LABEL[found["valid"]] == word).sum()) for word in (b"a", b"b", b"c")] == [5, 3, 2]


def test_the_counts_are_stated() -> None:
    def notes(**given: Any) -> list[str]:
        config = SplitConfig(**{**SIZES, **given})
        return list(split_notes(config, split_fields(FIELDS, config)))

    assert notes() == []
    assert notes(stratify="label") == [
        "split stratified by 'label': train 70 examples of 3 classes, valid 10 examples of 3 classes, "
        "test 20 examples of 3 classes"
    ]
    assert notes(group="patient") == [
        "split by the groups of 'patient': train 70 examples of 14 groups, valid 10 examples of 2 groups, "
        "test 20 examples of 4 groups"
    ]
    assert notes(group="patient", stratify="label") == [
        "split stratified by 'label' and by the groups of 'patient': train 70 examples of 3 classes and 14 groups, "
        "valid 10 examples of 2 classes and 2 groups, test 20 examples of 3 classes and 4 groups",
        "no valid example has the class c",
    ]
    assert notes(by="at") == ["split in the order of 'at': train 70 from 0 to 69, valid 10 from 70 to 79, "
                              "test 20 from 80 to 99"]  # fmt: skip
    small = {"x": np.arange(24), "label": np.array([0] * 21 + [1] * 3)}
    config = SplitConfig(**{**SIZES, "stratify": "label"})
    assert list(split_notes(config, split_fields(small, config)))[1:] == ["no valid example has the class 1"]


@pytest.mark.parametrize(
    ("changes", "given", "error", "problem"),
    [
        (
            {},
            {"stratify": "lable"},
            ConfigError,
            "data.split.stratify: the data has no field 'lable'; did you mean 'label'? fields: x, label, "
            "patient, day, at",
        ),
        (
            {"label": texts(*["a"] * 97, "b", "c", "c")},
            {"stratify": "label"},
            DataError,
            "data.split.stratify: 2 of 3 classes have fewer examples than the 3 parts: b 1, c 2; add examples, remove "
            "these classes, or leave data.split.stratify out",
        ),
        (
            {"label": np.linspace(0, 1, 100)},
            {"stratify": "label"},
            ConfigError,
            "data.split.stratify: field 'label' holds numbers such as 0.010101, which name no classes; give a field "
            "of text or of whole numbers",
        ),
        (
            {"label": np.zeros((100, 3))},
            {"stratify": "label"},
            ConfigError,
            "data.split.stratify: field 'label' has the shape [3] per example; a split needs one value of each",
        ),
        (
            {"label": texts(*["a"] * 98, " ", "")},
            {"stratify": "label"},
            DataError,
            "data.split.stratify: 2 of 100 examples have no 'label', the first is example 98; give them one, or "
            "remove them",
        ),
        (
            {"patient": np.arange(100) // 50},
            {"group": "patient"},
            DataError,
            "data.split.group: 2 groups (0 50, 1 50) cannot be in 3 parts; give fewer parts, as with "
            "data.split.valid=null, or another field",
        ),
        (
            {"day": texts(*["2026-01-01"] * 99, "12/31/2026")},
            {"by": "day"},
            DataError,
            "data.split.by: example 99 has '12/31/2026', which is neither a number nor a date such as 2026-11-30 or "
            "2026-11-30T20:15:00; write dates in this form, so that they can be ordered",
        ),
    ],
)
def test_a_field_that_cannot_serve_is_one_message(
    changes: dict[str, Any], given: dict[str, Any], error: Any, problem: str
) -> None:
    with pytest.raises(error) as caught:
        split({**FIELDS, **changes}, **given)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["data.split.by=label", "data.split.group=label"],
            "data.split: group and by cannot be combined, because the examples of a group or class lie at different "
            "times; give by alone, or leave it out",
        ),
        (
            ["data.split={train: [0, 90], valid: null, test: [90, 150], by: label}"],
            "data.split: by arranges fractions, but every part is an index range or has a name; leave it out",
        ),
        (
            ["data.split.by=label", "data.split.seed=2"],
            "data.split: by orders the examples, so that nothing is drawn; set seed: 0",
        ),
        (
            ["data.order=stream", "data.split.stratify=label"],
            "data: order is stream, so that the split is in order; leave split.stratify out",
        ),
    ],
)
def test_check_refuses_what_contradicts(words: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(load(["experiment=iris", *words]))
    assert [item.path + ": " + item.message for item in caught.value.problems] == [problem]
