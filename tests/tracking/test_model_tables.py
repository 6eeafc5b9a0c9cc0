"""The MLflow model of graphs that read tables, text and files: its signature, and pandas tables as its input."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.mlflow_models import loaded_model

ROWS = [
    f"{'' if i % 7 == 0 else 20 + i % 30},{i % 5 * 1.5},{('bern', 'rome', '')[i % 3]},{('low', 'high')[i % 2]}"
    for i in range(60)
]
CONF = {
    "data": """
source: {kind: table, path: FOLDER/t.csv, columns: {numbers: [age, size], city: city, label: level}}
split: {train: 0.7, valid: 0.1, test: 0.2, stratify: label}
duplicates: ignore
preprocess:
  numbers: [{kind: impute, value: median}, {kind: standardize}]
  city: [{kind: vocabulary, max_size: 2}, {kind: one_hot, depth: 4}]
""",
    "network": """
inputs: {numbers: {shape: [2]}, city: {shape: [4]}}
layers:
  both: {kind: concat, input: [numbers, city]}
  logits: {kind: dense, units: 2}
outputs: {logits: logits}
""",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a model that MLflow loaded, the table of its training and the outputs of its frozen graph."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "t.csv").write_text("\n".join(["age,size,city,level", *ROWS]) + "\n")
    loaded, frozen = loaded_model(folder, CONF, ["train.steps=4"])
    return loaded, pd.read_csv(folder / "t.csv"), frozen


def expected(frozen: Any, table: pd.DataFrame) -> np.ndarray:
    city = np.array(["" if value != value else value for value in table["city"]], object)
    return np.asarray(frozen.predict({"numbers": table[["age", "size"]].to_numpy(np.float64), "city": city})["logits"])


def test_the_signature_has_the_columns_of_the_table(model: Any) -> None:
    loaded, _, _ = model
    columns = {item["name"]: item["type"] for item in loaded.metadata.signature.inputs.to_dict()}
    assert columns == {"age": "any", "size": "any", "city": "string"}


def test_a_pandas_table_with_missing_values_gives_the_numbers_of_the_graph(model: Any) -> None:
    loaded, table, frozen = model
    shuffled = table[["city", "level", "size", "age"]]
    np.testing.assert_array_equal(loaded.predict(shuffled)["logits"], expected(frozen, table))


@pytest.mark.parametrize(
    "types",
    [
        {"age": "Int64", "size": "int64", "city": "string"},
        {"age": "float32", "size": "bool", "city": "object"},
        {"age": "Float64", "size": "boolean", "city": "str"},
        {"age": "object", "size": "int32", "city": "string"},
        {"age": "str", "size": "uint64", "city": "string"},
    ],
)
def test_numbers_and_texts_of_any_dtype_are_read_alike(model: Any, types: dict[str, str]) -> None:
    loaded, _, frozen = model
    table = pd.DataFrame({"age": [30.0, np.nan, 41.0], "size": [1, 0, 1], "city": ["bern", np.nan, "rome"]})
    given = table.astype(types)
    if types["city"] != "str":
        given.loc[1, "city"] = pd.NA
    np.testing.assert_array_equal(loaded.predict(given)["logits"], expected(frozen, table))


def test_times_are_no_numbers(model: Any) -> None:
    loaded, table, _ = model
    with pytest.raises(ValueError, match="column 'age' has times, and the graph reads numbers"):
        loaded.predict(table.assign(age=pd.Timestamp("2026-01-01")))


def test_json_as_a_server_reads_it_gives_the_numbers_of_the_graph(model: Any) -> None:
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    loaded, table, frozen = model
    split = table[["age", "size", "city"]].to_json(orient="split", index=False)
    read = infer_and_parse_data({"dataframe_split": json.loads(split)}, loaded.metadata.get_input_schema())
    np.testing.assert_array_equal(loaded.predict(read)["logits"], expected(frozen, table))


def test_a_column_that_is_not_there_is_named(model: Any) -> None:
    loaded, table, _ = model
    with pytest.raises(Exception, match="age"):
        loaded.predict(table[["size", "city"]])


def test_the_example_is_a_row(model: Any) -> None:
    loaded, _, _ = model
    example = loaded.input_example
    assert list(example.columns) == ["age", "size", "city"]
