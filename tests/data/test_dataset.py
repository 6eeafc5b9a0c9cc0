"""The data set of a run: split, paired, scaled on the training part alone, checked against what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from expkit.config.sections.data import PairsConfig, SplitConfig
from expkit.data import dataset as datasets
from expkit.data.dataset import Dataset, load_dataset
from expkit.data.pairs import paired as pairs_of
from expkit.data.split import split_fields
from expkit.errors import ConfigError, DataError
from expkit.kinds.preprocess.base import Fitted
from expkit.kinds.sources import on_disk as stored
from expkit.kinds.sources.mapped import MappedArray
from expkit.kinds.sources.on_disk import DiskArray
from expkit.preflight import check
from support.experiments import MLP, STANDARDIZED, Values, config_of, examples, write_arrays

# Every value of an example is its index, so that it can be followed into its part.
MARKED = {
    "x": np.repeat(np.arange(60, dtype=np.float32)[:, None], 4, axis=1),
    "label": np.arange(60) % 3,
}


def dataset(folder: Path, arrays: Values = MARKED, data: dict[str, Any] | None = None, **sections: Any) -> Dataset:
    source = {"kind": "npz", "path": str(folder / "data.npz")}
    config = config_of(folder, arrays, data={"source": source, **(data or {})}, **sections)
    return load_dataset(config, check(config).spec)


def fitted(data: Dataset) -> Fitted:
    """Return what the first step in which ``x`` is preprocessed has fitted."""
    return data.preprocessing["x"].in_step[0].fitted


def problems(error: type[ConfigError | DataError], folder: Path, *args: Any, **sections: Any) -> list[str]:
    with pytest.raises(error) as caught:
        dataset(folder, *args, **sections)
    return [str(problem) for problem in caught.value.problems]


def members(part: Values) -> list[int]:
    return [int(row[0]) for row in part["x"]]


def test_ranges_split_the_examples_as_they_are(tmp_path: Path) -> None:
    split = {"train": [10, 40], "valid": None, "test": [50, 60]}
    splits = dataset(tmp_path, data={"split": split}).splits
    assert list(splits) == ["train", "test"]
    assert (members(splits["train"]), members(splits["test"])) == (list(range(10, 40)), list(range(50, 60)))


def test_fractions_split_shuffled_examples_apart(tmp_path: Path) -> None:
    splits = dataset(tmp_path, data={"split": {"train": 0.5, "valid": 0.25, "test": 0.25}}).splits
    seen = [members(split) for split in splits.values()]
    assert [len(part) for part in seen] == [30, 15, 15]
    assert sorted(index for part in seen for index in part) == list(range(60))
    assert seen[0] != sorted(seen[0])


def test_the_seed_of_the_split_determines_the_splits(tmp_path: Path) -> None:
    def split(seed: int) -> list[int]:
        return members(dataset(tmp_path, data={"split": {"train": 0.5, "test": 0.5, "seed": seed}}).splits["train"])

    assert split(1) == split(1)
    assert split(1) != split(2)


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        (
            {"train": [0, 40], "valid": None, "test": [50, 61]},
            "data.split.test: range [50, 61] ends after the 60 examples there are",
        ),
        (
            {"train": 0.5, "valid": 0.001, "test": 0.2},
            "data.split.valid: 0.001 of 60 examples is none; increase it",
        ),
    ],
)
def test_a_part_that_cannot_be_cut_is_named(tmp_path: Path, split: dict[str, Any], problem: str) -> None:
    assert problems(DataError, tmp_path, data={"split": split}) == [problem]


def test_standardization_is_numpys_mean_and_standard_deviation_of_the_training_split(tmp_path: Path) -> None:
    arrays = examples()
    arrays["x"] = arrays["x"] * 9 + 4
    arrays["x"][:, 3] = 7
    scaling = fitted(dataset(tmp_path, arrays, {"preprocess": STANDARDIZED}))
    np.testing.assert_allclose(scaling["mean"], arrays["x"][:40].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scaling["spread"][:3], arrays["x"][:40, :3].std(axis=0), rtol=1e-5)
    assert (scaling["mean"].dtype, scaling["spread"].dtype, scaling["spread"][3]) == (np.float32, np.float32, 1)


def column(values: Any) -> Values:
    """Return examples whose first feature has these values; another is small, two others are drawn."""
    x = np.random.default_rng(0).normal(size=(60, 4))
    x[:, 0], x[:, 1] = values, x[:, 1] * 1e-30
    return {"x": x, "label": np.arange(60) % 3}


@pytest.mark.parametrize(
    "values",
    [
        0.1,
        1 / 3,
        -1e-300,
        0.0,
        1e9 / 7,
        np.where(np.arange(60) % 2, 0.1 + 0.2, 0.3),
        np.where(np.arange(60) % 2, 1.7e9, np.nextafter(1.7e9, np.inf)),
        1.7e9 + np.arange(60),
        1.7e9 + np.arange(60) / 1000,
        np.arange(60) * 1e-12 + 1,
        np.arange(60) * 1e150,
    ],
)
def test_a_column_is_scaled_as_scikit_learn_does(tmp_path: Path, values: Any) -> None:
    from sklearn.preprocessing import StandardScaler

    arrays = column(values)
    scaling = fitted(dataset(tmp_path, arrays, {"preprocess": STANDARDIZED}))
    reference = StandardScaler().fit(arrays["x"][:40])
    np.testing.assert_allclose(scaling["mean"], reference.mean_, rtol=1e-12, atol=1e-17)
    np.testing.assert_allclose(scaling["spread"], reference.scale_, rtol=1e-7)
    scaled = (arrays["x"][:40] - scaling["mean"]) / scaling["spread"]
    np.testing.assert_allclose(scaled, reference.transform(arrays["x"][:40]), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float64])
@pytest.mark.parametrize("on_files", [False, True])
def test_a_constant_of_any_dtype_becomes_zero(tmp_path: Path, dtype: Any, on_files: bool) -> None:
    arrays = {"x": np.repeat([[3, 0, 100, 7]], 60, axis=0).astype(dtype), "label": np.arange(60) % 3}
    arrays["x"][:, 3] = np.arange(60)
    scaling = (
        (on_disk if on_files else dataset)(tmp_path, arrays, {"preprocess": STANDARDIZED})
        .preprocessing["x"]
        .in_step[0]
        .fitted
    )
    assert scaling["mean"][:3].tolist() == [3, 0, 100]
    assert scaling["spread"][:3].tolist() == [1, 1, 1]
    np.testing.assert_allclose(scaling["spread"][3], np.arange(40).std(), rtol=1e-6)
    exact = dtype in (np.float16, np.float32, np.uint8, np.int8, np.int16)
    assert scaling["mean"].dtype == ("float32" if exact else "float64")


def test_values_too_large_for_their_squares_are_an_error(tmp_path: Path) -> None:
    assert problems(DataError, tmp_path, column(np.arange(60) * 1e200), {"preprocess": STANDARDIZED}) == [
        "data.preprocess.x: standardize cannot be fitted: the values are too large for their squares, or not finite; "
        "scale or impute them first"
    ]


def test_poison_in_the_other_parts_does_not_reach_training(tmp_path: Path) -> None:
    arrays = examples()
    poisoned = {name: array.copy() for name, array in arrays.items()}
    poisoned["x"][40:] = 1e6
    clean = dataset(tmp_path, arrays, {"preprocess": STANDARDIZED})
    dirty = dataset(tmp_path, poisoned, {"preprocess": STANDARDIZED})
    np.testing.assert_array_equal(fitted(clean)["mean"], fitted(dirty)["mean"])
    np.testing.assert_array_equal(fitted(clean)["spread"], fitted(dirty)["spread"])
    np.testing.assert_array_equal(clean.splits["train"]["x"], dirty.splits["train"]["x"])


TOWERS = {
    "inputs": {"left": {"shape": [4]}, "right": {"shape": [4]}},
    "layers": {
        "both": {"kind": "concat", "input": ["left", "right"]},
        "logits": {"kind": "dense", "units": 2},
    },
    "outputs": {"logits": "logits"},
}


def paired(folder: Path, arrays: Values = MARKED, **pairs: Any) -> Dataset:
    return dataset(folder, arrays, {"pairs": {"field": "x", "per_example": 4, **pairs}}, network=TOWERS)


def test_pairs_stay_within_their_part(tmp_path: Path) -> None:
    splits = paired(tmp_path).splits
    for name, allowed in (("train", range(40)), ("valid", range(40, 50)), ("test", range(50, 60))):
        for side in ("left", "right"):
            assert {int(row[0]) for row in splits[name][side]} <= set(allowed)
        assert len(splits[name]["label"]) == 4 * len(allowed)


def test_half_of_all_pairs_are_the_same_and_their_label_says_so(tmp_path: Path) -> None:
    for part in paired(tmp_path).splits.values():
        same = part["left"][:, 0] % 3 == part["right"][:, 0] % 3
        np.testing.assert_array_equal(part["label"], same.astype(np.int64))
        assert part["label"].mean() == 0.5


def test_every_example_is_paired_as_often_as_requested_and_the_same_seed_pairs_the_same(tmp_path: Path) -> None:
    first, again, other = paired(tmp_path, seed=1), paired(tmp_path, seed=1), paired(tmp_path, seed=2)
    assert np.unique(first.splits["train"]["left"][:, 0], return_counts=True)[1].tolist() == [4] * 40
    assert first.digest == again.digest != other.digest


def test_what_cannot_be_paired_is_named(tmp_path: Path) -> None:
    assert problems(ConfigError, tmp_path, data={"pairs": {"field": "y"}}, network=TOWERS) == [
        "data.pairs: no field 'y'; allowed: x, label"
    ]
    assert problems(ConfigError, tmp_path, data={"pairs": {"field": "x", "label": "labels"}}, network=TOWERS) == [
        "data.pairs: no field 'labels'; did you mean 'label'? allowed: x, label"
    ]
    one = {**MARKED, "label": np.zeros(60, np.int64)}
    assert problems(DataError, tmp_path, one, data={"pairs": {"field": "x"}}, network=TOWERS) == [
        "data.pairs: needs at least two labels in 'label', and two examples of one of them; got 1 among 40 examples"
    ]
    every = {**MARKED, "label": np.arange(60)}
    assert problems(DataError, tmp_path, every, data={"pairs": {"field": "x"}}, network=TOWERS) == [
        "data.pairs: needs at least two labels in 'label', and two examples of one of them; got 40 among 40 examples"
    ]
    nan = {**MARKED, "label": np.where(MARKED["label"] == 1, np.nan, MARKED["label"])}
    assert problems(DataError, tmp_path, nan, data={"pairs": {"field": "x"}}, network=TOWERS) == [
        "data.pairs: needs one label per example, 'label' holds NaN"
    ]
    rows = {**MARKED, "label": np.zeros((60, 3))}
    assert problems(DataError, tmp_path, rows, data={"pairs": {"field": "x"}}, network=TOWERS) == [
        "data.pairs: needs one label per example, 'label' is of shape [3] per example"
    ]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=3, max_size=40).filter(
        lambda labels: 1 < len(set(labels)) < len(labels)
    ),
    per_example=st.integers(1, 7),
    seed=st.integers(0, 5),
)
def test_pairs_are_of_different_examples_and_half_of_them_the_same(
    labels: list[int], per_example: int, seed: int
) -> None:
    fields = {"x": np.arange(len(labels)), "label": np.array(labels)}
    pairs = pairs_of(fields, PairsConfig(field="x", per_example=per_example, seed=seed), 0)
    left, right, same = (np.asarray(pairs[name]) for name in ("left", "right", "label"))
    assert np.unique(left, return_counts=True)[1].tolist() == [per_example] * len(labels)
    assert (left != right).all()
    np.testing.assert_array_equal(same, fields["label"][left] == fields["label"][right])
    lonely = [place for place, label in enumerate(labels) if labels.count(label) == 1]
    for place in set(range(len(labels))) - set(lonely):
        assert same[left == place].sum() in (per_example // 2, -(-per_example // 2))
    if not lonely:
        assert abs(2 * same.sum() - len(same)) <= 1
    assert not same[np.isin(left, lonely)].any()


def test_partners_are_drawn_equally_often() -> None:
    labels = np.array([0, 1, 0, 1, 0, 2, 2, 1])
    pairs = pairs_of({"x": np.arange(8), "label": labels}, PairsConfig(field="x", per_example=6000), 0)
    left, right = np.asarray(pairs["left"]), np.asarray(pairs["right"])
    counts = np.zeros((8, 8))
    np.add.at(counts, (left, right), 1)
    for one in range(8):
        others = {True: [], False: []}
        for other in set(range(8)) - {one}:
            others[bool(labels[other] == labels[one])].append(counts[one, other])
        for found in others.values():
            np.testing.assert_allclose(found, 3000 / len(found), rtol=0.15)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(parts=st.lists(st.integers(1, 97), min_size=2, max_size=3), total=st.integers(30, 5000))
def test_fractions_that_add_up_to_one_leave_no_example_over(parts: list[int], total: int) -> None:
    sizes = [part / sum(parts) for part in parts]
    names = ("train", "test") if len(parts) == 2 else ("train", "valid", "test")
    split = SplitConfig(**dict(zip(names, sizes, strict=True)))
    assume(min(sizes) * total > 1)
    splits = split_fields({"x": np.arange(total)}, split)
    members = [np.asarray(splits[name]["x"]) for name in names]
    np.testing.assert_array_equal(np.sort(np.concatenate(members)), np.arange(total))
    for found, size in zip(members, sizes, strict=True):
        assert abs(len(found) - size * total) <= 1


@pytest.mark.parametrize(("sizes", "total"), [((0.5, 0.25, 0.25), 10), ((0.7, 0.15, 0.15), 9), ((0.35, 0.35, 0.3), 10)])
def test_no_part_is_cut_short_by_rounding(sizes: tuple[float, ...], total: int) -> None:
    splits = split_fields({"x": np.arange(total)}, SplitConfig(train=sizes[0], valid=sizes[1], test=sizes[2]))
    assert sum(len(fields["x"]) for fields in splits.values()) == total


def test_fields_that_nothing_reads_are_left_out(tmp_path: Path) -> None:
    data = dataset(tmp_path, {**MARKED, "spare": np.zeros(60)})
    assert {tuple(part) for part in data.splits.values()} == {("x", "label")}
    assert (data.size("train"), data.kind) == (40, "npz")


def test_the_digest_changes_with_a_value_a_type_or_the_split(tmp_path: Path) -> None:
    changed = MARKED["x"].copy()
    changed[59, 3] += 1
    digests = [
        dataset(tmp_path).digest,
        dataset(tmp_path, {**MARKED, "x": changed}).digest,
        dataset(tmp_path, {**MARKED, "label": MARKED["label"].astype(np.int32)}).digest,
        dataset(tmp_path, data={"split": {"train": [0, 41], "test": [41, 60]}}).digest,
    ]
    assert len(set(digests)) == 4
    assert dataset(tmp_path).digest == digests[0]


def test_fields_of_the_network_losses_and_scaling_are_checked_in_one_message(tmp_path: Path) -> None:
    losses = {"main": {"kind": "sparse_softmax_cross_entropy", "labels": "labl"}}
    metrics = {"top": {"kind": "top_k", "labels": "zzz"}}
    arrays = {"xx": MARKED["x"], "label": MARKED["label"]}
    section = {"preprocess": {"labels": [{"kind": "standardize"}], **STANDARDIZED}}
    assert problems(ConfigError, tmp_path, arrays, section, train={"losses": losses, "metrics": metrics}) == [
        "network.inputs.x: the data has no field 'x'; did you mean 'xx'? fields: xx, label",
        "train.losses.main.labels: the data has no field 'labl'; did you mean 'label'? fields: xx, label",
        "train.metrics.top.labels: the data has no field 'zzz'; fields: xx, label",
        "data.preprocess.labels: neither the network nor a loss or metric reads a field 'labels'; did you mean 'labl'? "
        "allowed: x, labl, zzz",
    ]


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (np.zeros((60, 5), np.float32), "the network needs shape [4] per example, the data has [5]"),
        (np.zeros((60, 4, 1), np.float32), "the network needs shape [4] per example, the data has [4, 1]"),
        (
            np.full((60, 4), "1,5"),
            "the network needs float32, the data is text or encoded files; turn it into numbers by data.preprocess, "
            "or, if '1,5' is a number, give data.source.decimal=comma",
        ),
        (
            np.zeros((60, 4), "<U1"),
            "the network needs float32, the data is text or encoded files; turn it into numbers by data.preprocess",
        ),
        (np.zeros((60, 4), complex), "the network needs float32, the data is complex128"),
    ],
)
def test_an_input_that_does_not_fit_the_network_says_both_sides(tmp_path: Path, x: np.ndarray, problem: str) -> None:
    assert problems(ConfigError, tmp_path, {**MARKED, "x": x}) == [f"network.inputs.x: {problem}"]


def test_sizes_that_the_network_leaves_open_take_any(tmp_path: Path) -> None:
    network = {**MLP, "inputs": {"x": {"shape": [None, 4]}}}
    with pytest.raises(DataError) as caught:
        dataset(tmp_path, {**MARKED, "x": np.zeros((60, 9, 4), np.float32)}, network=network)
    assert str(caught.value.problems[0]) == (
        "train.losses.main: field 'label' (train): needs whole numbers of shape [9] per example for an output "
        "[batch, 9, 3] float32, got int64 of shape []"
    )


def test_integers_are_taken_for_floats_and_cannot_be_standardized_as_integers(tmp_path: Path) -> None:
    assert dataset(tmp_path, {**MARKED, "x": MARKED["x"].astype(np.uint8)}).size("train") == 40
    network = {
        "inputs": {"x": {"shape": [4], "dtype": "int32"}},
        "layers": {
            "words": {"kind": "embedding", "input_dim": 60, "output_dim": 2},
            "flat": {"kind": "flatten"},
            "logits": {"kind": "dense", "units": 3},
        },
        "outputs": {"logits": "logits"},
    }
    arrays = {**MARKED, "x": MARKED["x"].astype(np.int32)}
    assert problems(ConfigError, tmp_path, arrays, {"preprocess": STANDARDIZED}, network=network) == [
        "data.preprocess.x: yields [batch, 4] float64, but network.inputs.x is [batch, 4] int32; change the steps or "
        "the input"
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("on_files", [False, True])
def test_integers_that_go_in_unscaled_are_said(tmp_path: Path, dtype: Any, on_files: bool) -> None:
    make = on_disk if on_files else dataset
    x = np.arange(240).reshape(60, 4).astype(dtype)
    assert make(tmp_path, {**MARKED, "x": x}).warnings == (
        f"field 'x' holds {np.dtype(dtype)} from 0 to 159, and the network reads it unscaled; data.preprocess.x="
        "[{kind: standardize}] scales it to zero mean and unit standard deviation",
    )
    assert make(tmp_path, {**MARKED, "x": x}, {"preprocess": STANDARDIZED}).warnings == ()
    assert make(tmp_path, {**MARKED, "x": x % 3}).warnings == ()  # no wider than the three classes
    assert make(tmp_path, {**MARKED, "x": x.astype(np.float32)}).warnings == ()


def test_numbers_that_are_not_finite_and_labels_outside_the_classes_are_reported_together(tmp_path: Path) -> None:
    x, label = MARKED["x"].copy(), MARKED["label"].copy()
    x[7, 2], x[9, 0], x[55, 1], label[45], label[47] = np.nan, np.inf, -np.inf, 3, 9
    wrong = (
        "field 'label' (valid): 2 of 10 examples have a label that is not allowed, the first is 3 (example 5); "
        "allowed: whole numbers 0 to 2, for 3 classes; change the last layer's units or the data"
    )
    assert problems(DataError, tmp_path, {"x": x, "label": label}) == [
        "data.source: field 'x': 2 of 40 train examples hold NaN or infinity, the first is example 7; clean the data",
        "data.source: field 'x': 1 of 10 test examples hold NaN or infinity, the first is example 5; clean the data",
        f"train.losses.main: {wrong}",
    ]


def test_labels_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    target = np.zeros((60, 3), np.float32)
    target[3, 1] = np.nan
    losses = {"main": {"kind": "mean_squared_error"}}
    arrays = {"x": MARKED["x"], "label": target}
    assert problems(DataError, tmp_path, arrays, train={"losses": losses, "metrics": {}}) == [
        "data.source: field 'label': 1 of 40 train examples hold NaN or infinity, the first is example 3; clean the "
        "data"
    ]


def test_a_batch_larger_than_the_training_part_is_refused(tmp_path: Path) -> None:
    assert problems(ConfigError, tmp_path, train={"batch_size": 41}) == [
        "train.batch_size: 41 is more than the 40 training examples"
    ]


def on_disk(folder: Path, arrays: Values = MARKED, data: dict[str, Any] | None = None, **sections: Any) -> Dataset:
    """Return the data set of the same arrays in .npy files."""
    return dataset(folder, arrays, {"source": write_arrays(folder / "files", arrays), **(data or {})}, **sections)


SPLITS = [{"train": [10, 40], "valid": None, "test": [50, 60]}, {"train": 0.5, "valid": 0.25, "test": 0.25}]


@pytest.mark.parametrize("split", SPLITS)
def test_fields_on_disk_are_split_and_scaled_as_those_in_memory(
    tmp_path: Path, split: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = dataset(tmp_path, data={"split": split, "preprocess": STANDARDIZED})
    monkeypatch.setattr(stored, "CHUNK_VALUES", 28)
    disk = on_disk(tmp_path, data={"split": split, "preprocess": STANDARDIZED})
    for part, arrays in memory.splits.items():
        for name, array in arrays.items():
            assert isinstance(disk.splits[part][name], DiskArray)
            np.testing.assert_array_equal(disk.splits[part][name][:], array)
    for name in ("mean", "spread"):
        expected = fitted(memory)[name]
        np.testing.assert_allclose(fitted(disk)[name], expected, rtol=1e-6)


def test_fields_on_disk_are_paired_as_those_in_memory(tmp_path: Path) -> None:
    section = {"pairs": {"field": "x", "per_example": 4}}
    memory, disk = (make(tmp_path, MARKED, section, network=TOWERS) for make in (dataset, on_disk))
    for part, arrays in memory.splits.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(disk.splits[part][name][:], array)
    assert disk.placement == "streamed"


@pytest.mark.parametrize(
    "split", [{"train": [0, 40], "valid": [40, 50], "test": [50, 60]}, {"train": 0.8, "test": 0.2}]
)
def test_mistakes_in_fields_on_disk_are_reported_as_those_in_memory(
    tmp_path: Path, split: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = MARKED["x"].copy()
    x[[7, 9, 33, 35], 2] = np.nan
    messages = problems(DataError, tmp_path, {**MARKED, "x": x}, {"split": split})
    monkeypatch.setattr(stored, "CHUNK_VALUES", 28)
    source = write_arrays(tmp_path / "files", {**MARKED, "x": x})
    assert problems(DataError, tmp_path, data={"split": split, "source": source}) == messages
    label = MARKED["label"].copy()
    label[45] = 3
    source = write_arrays(tmp_path / "files", {**MARKED, "label": label})
    assert "1 of 10 examples have a label that is not allowed, the first is 3 (example 5)" in str(
        problems(DataError, tmp_path, data={"source": source})
    )


def test_the_digest_of_fields_on_disk_changes_with_a_sampled_value_and_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = MARKED["x"].copy()
    changed[59, 3] += 1
    split = {"split": {"train": 0.6, "test": 0.4, "seed": 1}}
    first = on_disk(tmp_path).digest
    assert len({first, on_disk(tmp_path, {**MARKED, "x": changed}).digest, on_disk(tmp_path, data=split).digest}) == 3
    assert on_disk(tmp_path).digest == first
    read: list[int] = []
    span = MappedArray.span
    monkeypatch.setattr(MappedArray, "span", lambda self, *ends: (read.append(ends[1] - ends[0]), span(self, *ends))[1])
    monkeypatch.setattr(datasets, "SAMPLES", 3)
    monkeypatch.setattr(datasets, "SAMPLE_BYTES", 32)
    datasets._digest({"train": {"x": on_disk(tmp_path).splits["train"]["x"]}})
    assert read[-3:] == [2, 2, 2]


def test_auto_streams_what_is_on_disk_or_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dataset(tmp_path).placement == "resident"
    assert on_disk(tmp_path).placement == "streamed"
    for placement in ("resident", "streamed"):
        assert dataset(tmp_path, data={"placement": placement}).placement == placement
        assert on_disk(tmp_path, data={"placement": placement}).placement == placement
    monkeypatch.setattr(datasets, "RESIDENT_FRACTION", 0.0)
    assert dataset(tmp_path).placement == "streamed"


def test_a_plain_memory_map_of_a_source_of_ones_own_stays_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_arrays(tmp_path, MARKED)
    maps = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in MARKED}
    monkeypatch.setattr("expkit.kinds.sources.arrays.Npz.load", lambda self: maps)
    loaded = dataset(tmp_path)
    assert isinstance(loaded.splits["train"]["x"], DiskArray)
    assert loaded.placement == "streamed"
