"""The MLflow model of a graph that reads images and texts: columns of bytes and of strings."""

from __future__ import annotations

import base64
import csv
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.mlflow_models import loaded_model

CONF = {
    "data": """
source: {kind: image_folder, path: FOLDER/photos, labels: labels.csv}
split: {train: 0.6, valid: null, test: 0.4}
duplicates: ignore
preprocess:
  image: [{kind: decode_image}, {kind: resize, size: [4, 4]}, {kind: rescale, scale: 0.01}]
  caption: [{kind: split}, {kind: vocabulary, max_size: 20}, {kind: pad, length: 2}, {kind: one_hot, depth: 22}]
""",
    "network": """
inputs: {image: {shape: [4, 4, 3]}, caption: {shape: [2, 22]}}
layers:
  pixels: {kind: flatten, input: image}
  words: {kind: flatten, input: caption}
  both: {kind: concat, input: [pixels, words]}
  logits: {kind: dense, units: 2}
outputs: {logits: logits}
""",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a model that MLflow loaded, a table of its raw inputs and the outputs of its frozen graph for these."""
    folder = tmp_path_factory.mktemp("files")
    draw = np.random.default_rng(0)
    (folder / "photos").mkdir()
    captions = [f"größer {index % 3} 🙂" for index in range(20)]
    rows = [{"file": f"{i}.png", "caption": text, "label": "ab"[i % 2]} for i, text in enumerate(captions)]
    for row in rows:
        Image.fromarray(draw.integers(0, 255, (6, 5, 3), np.uint8)).save(folder / "photos" / row["file"])
    with (folder / "photos/labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    loaded, frozen = loaded_model(folder, CONF, ["train.steps=2", "train.batch_size=4", "train.best_metric=null"])
    content = [(folder / "photos" / row["file"]).read_bytes() for row in rows]
    given = {"image": np.array([*content, None], object)[:-1], "caption": np.array(captions)}
    pictures = pd.DataFrame({"caption": captions, "image": content})
    return loaded, pictures, frozen.predict(given)["logits"]


def test_bytes_of_files_and_texts_are_columns(model: Any) -> None:
    loaded, table, expected = model
    columns = {item.name: item.type.name for item in loaded.metadata.signature.inputs.inputs}
    assert columns == {"image": "binary", "caption": "string"}
    np.testing.assert_array_equal(loaded.predict(table)["logits"], expected)
    example = loaded.input_example
    assert list(example.columns) == ["image", "caption"]
    assert example["image"][0].startswith(b"\x89PNG")


def test_json_has_files_as_base64(model: Any) -> None:
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    loaded, table, expected = model
    rows = [[text, base64.b64encode(content).decode()] for text, content in zip(*map(table.get, table), strict=True)]
    split = {"dataframe_split": {"columns": [*table], "data": rows}}
    read = infer_and_parse_data(split, loaded.metadata.get_input_schema())
    np.testing.assert_array_equal(loaded.predict(read)["logits"], expected)


def test_what_is_no_such_table_is_reported(model: Any) -> None:
    loaded, table, _ = model
    with pytest.raises(Exception, match="caption"):
        loaded.predict(table[["image"]])
    with pytest.raises(Exception, match="image"):
        loaded.predict(table.assign(image=1.5))
    with pytest.raises(Exception, match="Unknown image file format"):
        loaded.predict(table.assign(image=b"no image"))
