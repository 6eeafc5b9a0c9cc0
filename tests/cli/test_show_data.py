"""The verb ``show-data``: a picture of training examples, and what a user may get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from expkit.config.load import load
from expkit.data.dataset import load_dataset
from expkit.plots.examples_data import DRAWS, ExampleSheet, collect_examples
from expkit.preflight import check
from support.command_line import call


def test_a_picture_has_what_is_read_and_what_epochs_see(tmp_path: Path) -> None:
    augment = "+data.augment.image=[{kind: flip, horizontal: true}, {kind: mixup, probability: 0.5}]"
    done = call("show-data", "experiment=digits_cnn", augment, "--examples", "3", "--output", "s.png", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out == "wrote s.png: 3 of 1,258 training examples\n"
    picture = imread(tmp_path / "s.png")
    assert picture.shape[0] < picture.shape[1]
    assert (picture[..., :3] < 0.5).any()
    assert [file.name for file in tmp_path.iterdir()] == ["s.png"]


def test_a_sheet_holds_the_pixels_of_training(tmp_path: Path) -> None:
    config = load(["experiment=digits_cnn", "+data.augment.image=[{kind: flip, horizontal: true, probability: 1.0}]"])
    checked = check(config)
    dataset = load_dataset(config, checked.spec)
    sheet = collect_examples(config, checked.spec, dataset, 4)
    assert sheet.columns == ["image, as read", "image, preprocessed", *(f"image, epoch {n}" for n in range(DRAWS))]
    for row in sheet.rows:
        np.testing.assert_array_equal(row.images[2], row.images[1][:, ::-1])
        number, digit = row.label.split("\n")
        index = int(number.removeprefix("no. "))
        assert digit == f"label {dataset.splits['train']['label'][index]}"
        raw = dataset.raw["train"]["image"][index]
        assert np.corrcoef(row.images[0][..., 0].reshape(-1), raw.reshape(-1))[0, 1] > 0.99
    sheet.save(tmp_path / "sheet.npz")
    again = ExampleSheet.load(tmp_path / "sheet.npz")
    assert again.columns == sheet.columns
    assert [row.label for row in again.rows] == [row.label for row in sheet.rows]


def test_a_table_is_lines_of_text_with_class_names(tmp_path: Path) -> None:
    done = call("show-data", "experiment=iris", "--examples", "2", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    label, features = [line for line in done.out.splitlines() if not line.startswith("note: ")][:2]
    assert label.split(", ")[-1] in ("setosa", "versicolor", "virginica")
    read, preprocessed = features.removeprefix("  features: ").split(" → ")
    assert len([float(number) for number in read.split()]) == 4
    assert len([float(number) for number in preprocessed.split()]) == 4
    assert done.out.endswith("wrote examples.png: 2 of 105 training examples\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--examples", "0"], "error: --examples: needs 1 to 100, got 0"),
        (["--output", "a.jpg"], "error: --output: a.jpg does not end in .png; give FILE.png"),
        (["data.sauce=1"], "error: data.sauce: unknown field; did you mean 'source'?"),
    ],
)
def test_wrong_words_are_one_message(tmp_path: Path, words: list[str], message: str) -> None:
    done = call("show-data", *words, cwd=tmp_path)
    assert done.code == 2
    assert len(done.errors) == 1
    assert done.errors[0].startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    done = call("show-data", "--output", "no/s.png", cwd=tmp_path)
    assert done.errors == [
        f"error: --output: no/s.png: there is no folder {tmp_path}/no; give FILE.png in a folder that exists"
    ]
