"""Labels that training preprocesses are scored as training compares them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.cli.scores import Scores
from expkit.data.dataset import Dataset, load_dataset
from expkit.errors import DataError
from expkit.export.examples import Examples, open_examples
from expkit.export.inside import checked
from expkit.export.labels import class_numbers, labels_read
from expkit.preflight import check
from support.experiments import config_of

SPARSE, SQUARED = "sparse_softmax_cross_entropy", "mean_squared_error"
HEADS: dict[str, tuple[int, str, list[dict[str, Any]]]] = {
    "word": (6, SPARSE, [{"kind": "lowercase"}, {"kind": "vocabulary", "max_size": 4}]),
    "age": (3, SPARSE, [{"kind": "bucketize", "quantiles": 3}]),
    "zone": (6, "softmax_cross_entropy", [{"kind": "vocabulary"}, {"kind": "one_hot", "depth": 6}]),
    "price": (1, SQUARED, [{"kind": "impute", "value": "mean"}, {"kind": "log1p"}, {"kind": "standardize"}]),
}
"""Number of values, loss and preprocessing by label, which is the name of the output, too."""


def content(rows: int) -> list[list[Any]]:
    draw = np.random.default_rng(rows)
    return [
        [
            *(round(float(number), 3) for number in draw.normal(size=2)),
            draw.choice(["Ja", "ja", "NEIN", "so", "weiß nicht", "nie"]),
            int(draw.integers(0, 90)),
            int(draw.integers(10, 14)),
            "" if draw.random() < 0.1 else round(float(draw.exponential(1000)), 2),
        ]
        for _ in range(rows)
    ]


def write(file: Path, rows: list[list[Any]]) -> None:
    file.write_text("\n".join(",".join(map(str, row)) for row in [["a", "b", *HEADS], *rows]) + "\n")


def served(folder: Path, columns: dict[str, Any]) -> tuple[dict[str, Any], Dataset]:
    """Return the metadata that a frozen graph would have, and the data as training sees it."""
    write(folder / "t.csv", content(60))
    heads = {f"out_{name}": {"kind": "dense", "input": "x", "units": units} for name, (units, *_) in HEADS.items()}
    losses = {name: {"kind": loss, "output": f"out_{name}", "labels": name} for name, (_, loss, _) in HEADS.items()}
    config = config_of(
        folder,
        network={"inputs": {"x": {"shape": [2]}}, "layers": heads, "outputs": {name: name for name in heads}},
        data={
            "source": {"kind": "table", "path": str(folder / "t.csv"), "columns": {"x": ["a", "b"], **columns}},
            "preprocess": {name: steps for name, (*_, steps) in HEADS.items()},
        },
        train={"losses": losses, "metrics": {}},
    )
    checked_config = check(config)
    dataset = load_dataset(config, checked_config.spec)
    inputs = {"x": {"tensor": "x:0", "dtype": "float32", "shape": [None, 2]}}
    outputs = {
        f"out_{name}": {"tensor": f"out_{name}:0", "dtype": "float32", "shape": [None, units]}
        for name, (units, *_) in HEADS.items()
    }
    facts = json.loads(json.dumps(labels_read(checked_config, dataset, ["x"])))
    return {"inputs": inputs, "outputs": outputs, "columns": {"x": ["a", "b"]}, **facts}, dataset


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Dataset]:
    return served(tmp_path_factory.mktemp("labels"), {**{name: name for name in HEADS}, "price": ["price"]})


def compared(dataset: Dataset, name: str) -> np.ndarray:
    """Return the labels that training compares, of all rows in the order of the table."""
    return np.concatenate([np.asarray(fields[name][:]) for fields in dataset.splits.values()])


def opened(path: Path, metadata: dict[str, Any]) -> Examples:
    with open_examples([str(path)], metadata) as examples:
        return examples


def test_they_are_what_training_compares(metadata: tuple[dict[str, Any], Dataset], tmp_path: Path) -> None:
    facts, dataset = metadata
    assert checked(facts)["label_steps"] == facts["label_steps"]
    parts = {name: np.concatenate([np.asarray(raw[name][:]) for raw in dataset.raw.values()]) for name in HEADS}
    features = np.concatenate([np.asarray(fields["x"][:]) for fields in dataset.splits.values()])
    rows = [
        [*x, word.decode(), age, zone, "" if np.isnan(price) else price]
        for x, word, age, zone, price in zip(
            features.tolist(), parts["word"], parts["age"], parts["zone"], parts["price"].reshape(-1), strict=True
        )
    ]
    write(tmp_path / "new.csv", rows)
    np.savez(tmp_path / "new.npz", x=features, **{**parts, "word": np.array([word.decode() for word in parts["word"]])})
    for file in ("new.csv", "new.npz"):
        examples = opened(tmp_path / file, facts)
        assert (examples.notes, [*examples.inputs]) == ((), ["x"])
        for name, (_, loss, _) in HEADS.items():
            given, expected = examples.labels[f"out_{name}"], compared(dataset, name)
            assert given.column == f"{name}, preprocessed"
            if loss == SQUARED:
                missing = np.isnan(parts[name])
                assert 0 < missing.sum() < 20
                assert np.isnan(given.values[:][missing]).all()  # Training imputes them, but nobody knows them.
                np.testing.assert_allclose(given.values[:][~missing], expected[~missing], rtol=1e-6)
            else:
                assert given.classes is not None
                found = class_numbers(given.values[:], given.classes)
                assert found.tolist() == (expected.argmax(axis=1) if expected.ndim == 2 else expected).tolist()


def test_they_are_scored_with_a_word_that_says_so(metadata: tuple[dict[str, Any], Dataset], tmp_path: Path) -> None:
    facts, _ = metadata
    write(tmp_path / "new.csv", [[0, 0, "nie", 20, 99, 50.0], [0, 0, "", "", 10, ""], [0, 0, "?", 20, 10, 80]])
    examples = opened(tmp_path / "new.csv", facts)
    scores = Scores(examples.labels)
    scores.add({f"out_{name}": np.zeros((3, units), np.float32) for name, (units, *_) in HEADS.items()})
    lines = [line for line in scores.lines() if "preprocessed" in line]
    assert [line.partition(":")[0] for line in lines] == [
        "1 example has no label in 'word, preprocessed', left out of the score",
        "out_word by word, preprocessed",
        "1 example has no label in 'age, preprocessed', left out of the score",
        "out_age by age, preprocessed",
        "out_zone by zone, preprocessed",
        "1 example has no label in 'price, preprocessed', left out of the score",
        "out_price by price, preprocessed",
    ]
    assert lines[-1].endswith("(2 examples)")


def test_labels_in_a_file_of_arrays_are_scored_without_preprocessing_too(tmp_path: Path) -> None:
    outputs = {name: {"tensor": f"{name}:0", "dtype": "float32", "shape": [None, 3]} for name in ("a", "b", "c")}
    facts: dict[str, Any] = {
        "inputs": {"x": {"tensor": "x:0", "dtype": "float32", "shape": [None, 2]}},
        "outputs": {**outputs, "value": {**outputs["a"], "shape": [None, 1]}},
        "classes": {"a": ["cat", "dog", "eel"]},
        "labels": {"a": ["name"], "b": ["number"], "c": ["rows"], "value": ["price"]},
        "predicts": {"a": "classes", "b": "classes", "c": "classes", "value": "numbers"},
    }
    arrays = {
        "x": np.zeros((3, 2), np.float32),
        "name": np.array(["cat", "dog", ""]),
        "number": np.array([0, 2, 1]),
        "rows": np.eye(3)[[2, 0, 1]] * [[1], [1], [0]],
        "price": np.array([1.5, np.nan, 2]),
        "more": np.zeros(3),
    }
    np.savez(tmp_path / "new.npz", **arrays)
    examples = opened(tmp_path / "new.npz", facts)
    assert ([*examples.inputs], examples.notes) == (["x", "more"], ())  # What nothing reads is told by the graph.
    found = {name: item.values[:].tolist() for name, item in examples.labels.items()}
    assert found["a"] == [b"cat", b"dog", b""]
    assert found["b"] == [b"0", b"2", b"1"]
    assert found["c"] == [b"2", b"0", b""]
    np.testing.assert_array_equal(found["value"], arrays["price"])
    np.savez(tmp_path / "short.npz", **{**arrays, "name": arrays["name"][:2]})
    examples = opened(tmp_path / "short.npz", facts)
    assert examples.notes == ("no score of a: array 'name' has the shape [2], not one per example",)
    assert [*examples.labels] == ["b", "c", "value"]


STEP = {
    "kind": "standardize",
    "fitted": {"mean": {"dtype": "<f4", "values": 0.0}, "spread": {"dtype": "<f4", "values": 1}},
}


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([{"kind": "decode_image", "fitted": {}}], "does not say which labels"),
        ([{"kind": "vocabulary", "file": "/etc/passwd", "fitted": {}}], "a step reads a file"),
        ([{"kind": "one_hot", "depth": 10**9, "fitted": {}}], None),
        ([{**STEP, "fitted": {}}], None),
        ([7], "does not say which labels"),
        ([STEP], None),
    ],
)
def test_steps_in_files_of_others_read_nothing_and_end_in_a_message(
    steps: Any, problem: str | None, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("x,y\n1,2\n3,4\n")
    facts = {
        "inputs": {"x": {"tensor": "x:0", "dtype": "float32", "shape": [None]}},
        "outputs": {"out": {"tensor": "out:0", "dtype": "float32", "shape": [None]}},
        "labels": {"out": ["y"]},
        "predicts": {"out": "numbers"},
        "label_steps": {"out": {"dtype": "float32", "shape": [], "steps": steps}},
    }
    if problem is not None:
        with pytest.raises(DataError, match=f"INPUT: .*{problem}"):
            opened(tmp_path / "new.csv", facts)
        return
    examples = opened(tmp_path / "new.csv", facts)
    if steps == [STEP]:
        assert examples.labels["out"].values[:].tolist() == [2, 4]
    else:
        assert examples.labels == {}
        assert examples.notes[0].startswith("no score of out: the labels cannot be preprocessed as in training: ")
