"""The digits as a folder of PNG files: an experiment without a line by hand, and the accuracy of the embedded ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from expkit.config.load import load
from expkit.data.dataset import load_dataset
from expkit.preflight import check
from support.command_line import call
from support.experiments import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``digits/CLASS/INDEX.png``, as docs/own-data.md makes it."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = found / "digits" / str(label) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((15 * image).astype(np.uint8)).save(path)
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_folder_of_digits_is_learned_without_a_line_by_hand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call("init", "digits", cwd=folder)
    assert (done.code, done.err) == (0, "")
    command = done.out.splitlines()[-1]
    assert command == "next: expkit train experiment=my_digits"
    monkeypatch.chdir(folder)
    result = run(load([command.split()[-1], "tracking=none", f"run.folder={folder}"]), folder / "run")
    assert result.test["test/accuracy"] >= 0.96
    assert result.frozen is not None


def test_the_files_give_the_accuracy_of_the_embedded_digits_on_the_same_split(folder: Path) -> None:
    files = sorted((folder / "digits").rglob("*.png"), key=lambda path: path.name)
    with (folder / "digits" / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label"])
        rows.writerows([[f"{path.parent.name}/{path.name}", path.parent.name] for path in files])
    words = ["experiment=digits_cnn", "train.steps=400", "tracking=none", f"run.folder={folder}"]
    embedded = load(words)
    split = {name: getattr(embedded.data.split, name) for name in ("train", "valid", "test", "seed")}
    steps = "[{kind: decode_image, channels: 1}, {kind: rescale, scale: 0.004166666666666667}]"
    own = load(
        [
            *words,
            "data=image_folder",
            "~data.source.flat",
            f"data.source.path={folder / 'digits'}",
            "data.source.labels=labels.csv",
            *(f"data.split.{name}={value}" for name, value in split.items()),
            f"+data.preprocess.image={steps}",
        ]
    )
    one, other = (load_dataset(config, check(config).spec) for config in (embedded, own))
    for name, fields in one.splits.items():
        np.testing.assert_array_equal(other.splits[name]["label"][:], fields["label"][:])
        pixels = other.splits[name]["image"][:] / np.float32(240)
        np.testing.assert_allclose(pixels.reshape(-1), fields["image"][:].reshape(-1) / fields["image"][:].max(), 1e-6)
    accuracies = [run(config, folder / name).test["test/accuracy"] for config, name in ((embedded, "a"), (own, "b"))]
    assert abs(accuracies[0] - accuracies[1]) <= 0.01
    assert min(accuracies) >= 0.97
