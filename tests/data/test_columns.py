"""Columns of tables that are probably no features are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expkit.data.columns import category_warnings, column_warnings, identifier
from expkit.data.dataset import load_dataset
from expkit.kinds.sources.strings import string_array
from expkit.preflight import check
from support.experiments import config_of


def test_constant_columns_and_numbers_of_rows_are_reported() -> None:
    order = np.random.default_rng(0).permutation(30)
    columns = {
        "id": order + 7,
        "same": np.full(30, 7.0),
        "few": order % 5,
        "half": order + 0.5,
        "none": np.full(30, np.nan),
        "gap": np.where(order == 3, 4, order),
        "missing": np.where(order == 3, np.nan, order),
    }
    assert list(column_warnings([*columns], np.stack([*columns.values()], axis=1).astype(np.float64))) == [
        "column 'id' numbers the rows, from 7 to 36, and is read as a feature; leave it out unless it means more",
        "column 'same' is the same in all 30 rows, so a network learns nothing from it; leave it out",
        "column 'none' is the same in all 30 rows, so a network learns nothing from it; leave it out",
        "column 'missing' probably identifies the rows: 29 whole numbers from 0 to 29, all different, of which "
        "measurements would repeat some, and is read as a feature; leave it out unless it means more",
    ]
    assert len(list(column_warnings(["id"], order))) == 1
    assert list(column_warnings(["id"], order[order < 19])) == []


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("serial", np.random.default_rng(0).permutation(1500)[:1000], "1,000 whole numbers from "),
        ("number", np.cumsum(np.random.default_rng(0).integers(1, 10**9, 500)), "500 whole numbers in order"),
        ("number", -np.cumsum(np.random.default_rng(0).integers(1, 10**9, 500)), "500 whole numbers in order"),
        ("PassengerId", np.random.default_rng(0).integers(0, 10**12, 500), "as its name says: 500 whole"),
        ("customer_id", np.append(np.random.default_rng(0).integers(0, 10**12, 97), [1, 1, 1]), "98 whole numbers in"),
        ("row ID", 2.0**40 * np.random.default_rng(0).permutation(500), "as its name says: 500 whole"),
        ("UUID", np.random.default_rng(0).integers(2**62, 2**63 - 1, 500), "as its name says: 500 whole"),
        ("body", np.random.default_rng(0).integers(0, 10**12, 500), None),  # A population, in no order.
        ("humid", np.random.default_rng(0).integers(0, 10**12, 500), None),
        ("id", np.random.default_rng(0).integers(0, 50, 500), None),
        ("key", np.random.default_rng(0).normal(size=500), None),
    ],
)
def test_identifiers_are_told_from_measurements(name: str, values: np.ndarray, reason: str | None) -> None:
    found = identifier(name, values)
    assert (reason is None) == (found is None)
    assert reason is None or reason in str(found)
    table = np.stack([values, np.arange(len(values)) % 7], axis=1)
    assert len(list(column_warnings([name, "week"], table))) == (reason is not None)


@pytest.mark.parametrize("rows", [20, 100, 1000])
def test_random_whole_numbers_are_measurements_whatever_their_range(rows: int) -> None:
    draw = np.random.default_rng(rows)
    for exponent in range(1, 40):
        high = int(1.5**exponent) + 1
        for values in (draw.integers(0, high, rows), draw.normal(0, high, rows).round(), draw.exponential(high, rows)):
            assert identifier("count", values) is None


def test_a_category_of_its_own_in_nearly_every_row_is_told() -> None:
    numbers = np.random.default_rng(0).permutation(100)
    tickets = string_array("t", np.array([f"A/{max(1, number)}" for number in numbers.tolist()]))
    assert list(category_warnings(["ticket"], tickets)) == [
        "column 'ticket' probably identifies the rows: 99 different values in 100 rows, read as categories, which tell "
        "nothing about other rows; leave it out"
    ]
    assert list(category_warnings(["ticket"], tickets[:19])) == []
    assert list(category_warnings(["city"], string_array("c", np.array(["a", "b"] * 50)))) == []
    both = np.stack([np.arange(100), np.arange(100) % 9], axis=1)
    assert [sentence.split("'")[1] for sentence in category_warnings(["row", "nine"], both)] == ["row"]


def test_only_columns_of_inputs_are_looked_at(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 7},1,2,{i % 3}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("id,a,b,c,label\n" + rows)
    columns = {"x": ("id", "a", "b", "c"), "label": "label"}
    source = {"kind": "table", "path": str(tmp_path / "t.csv"), "columns": columns}
    config = config_of(tmp_path, data={"source": source})
    warnings = load_dataset(config, check(config).spec).warnings
    assert [sentence.split("'")[1] for sentence in warnings if sentence.startswith("column")] == ["id", "b", "c"]


def test_texts_of_many_words_are_no_categories(tmp_path: Path) -> None:
    rows = "".join(f"word{i} again,word{i},{i % 5},{i % 3}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("text,name,a,label\n" + rows)
    columns = {"x": ("a",), "text": "text", "name": "name", "label": "label"}
    words = [{"kind": "lowercase"}, {"kind": "split"}, {"kind": "vocabulary"}, {"kind": "pad", "length": 2}]
    names = [{"kind": "lowercase"}, {"kind": "vocabulary"}, {"kind": "one_hot", "depth": 62}]
    network = {
        "inputs": {"x": {"shape": [1]}, "text": {"shape": [2], "dtype": "int32"}, "name": {"shape": [62]}},
        "layers": {
            "numbers": {"kind": "cast", "input": "text", "dtype": "float32"},
            "joined": {"kind": "concat", "input": ["x", "numbers", "name"]},
            "logits": {"kind": "dense", "input": "joined", "units": 3},
        },
        "outputs": {"logits": "logits"},
    }
    source = {"kind": "table", "path": str(tmp_path / "t.csv"), "columns": columns}
    data = {"source": source, "preprocess": {"text": words, "name": names}}
    config = config_of(tmp_path, network=network, data=data)
    warnings = load_dataset(config, check(config).spec).warnings
    assert [sentence.split("'")[1] for sentence in warnings if sentence.startswith("column")] == ["name"]
