"""The verb ``init``: what it finds in data, the files that it writes, and that they train and freeze."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expkit.config.load import load
from expkit.kinds.sources.base import EMBEDDED
from expkit.preflight import check
from support.command_line import call
from support.experiments import run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of images of two classes in three parts; one image is larger than the others."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for part, count in (("train", 30), ("valid", 6), ("test", 6)):
        for name, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "My photos" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                size = (20, 30) if index else (50, 40)
                pixels = draw.integers(level - 30, level + 30, size, np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return tmp_path / "My photos"


def trained(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the accuracy of a short training of a written experiment, which is frozen with proof."""
    monkeypatch.chdir(folder)
    config = load([f"experiment={name}", "train.steps=60", "tracking=none", f"run.folder={folder / 'runs'}"])
    done = run(config, folder / "run")
    assert done.frozen is not None
    return done.test["test/accuracy"]


def test_a_folder_of_images_becomes_an_experiment(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos.parent
    done = call("init", "My photos", cwd=folder)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "84 images of 20 to 50 x 30 to 40 pixels, gray",
        "2 classes: dark 42, light 42",
        "resized to 64 x 64, because sizes differ or are large",
        "a ready-made split: train, valid, test",
        "",
        "written: conf/data/my_photos.yaml",
        "written: conf/network/my_photos.yaml",
        "written: conf/experiment/my_photos.yaml",
        "",
        "next: expkit train experiment=my_photos",
    ]
    assert trained(folder, "my_photos", monkeypatch) == 1
    again = call("init", "My photos", cwd=folder)
    assert (again.code, again.out) == (2, "")
    assert again.errors == [
        "error: --name: conf/data/my_photos.yaml, conf/network/my_photos.yaml, conf/experiment/my_photos.yaml exist "
        "already and are not overwritten; give another --name"
    ]


def write_visits(folder: Path) -> None:
    draw = np.random.default_rng(1)
    lines = ["number,country,age,weight,note,same,level"]
    for index in range(240):
        level = int(draw.integers(3))
        age = "" if index % 9 == 0 else f"{20 + 20 * level + draw.normal():.1f}"
        words = " ".join(draw.choice(["came", "left", "saw", "asked"], 3))
        lines.append(f"{index},{('ch', 'it', 'at')[level]},{age},{draw.normal():.2f},he {words},x,{level + 3}")
    (folder / "visits.csv").write_text("\n".join(lines) + "\n")


def test_a_table_becomes_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_visits(tmp_path)
    done = call("init", "visits.csv", "--label", "level", "--name", "first", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[2:5] == [
        "features: 2 numbers (some are missing), 1 categories, 1 texts",
        "'number' is left out: it numbers the rows",
        "'same' is left out: it has one value",
    ]
    assert trained(tmp_path, "first", monkeypatch) == 1
    rows = call("predict", "run", "visits.csv", cwd=tmp_path).out.splitlines()
    assert {row.split()[1] for row in rows[1:21]} <= {"3", "4", "5"}


def test_iris_from_its_table_is_split_by_class_and_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "iris.csv").write_bytes((EMBEDDED / "iris.csv").read_bytes())
    assert call("init", "iris.csv", "--label", "species", cwd=tmp_path).code == 0
    assert "seed: 0, stratify: label}" in (tmp_path / "conf/data/my_iris.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    done = run(load(["experiment=my_iris", "tracking=none"]), tmp_path / "run")
    assert done.test["test/accuracy"] >= 0.93


def test_a_number_is_predicted_by_a_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_visits(tmp_path)
    done = call("init", "visits.csv", "--label", "weight", cwd=tmp_path)
    assert done.code == 0
    monkeypatch.chdir(tmp_path)
    checked = check(load(["experiment=visits", "tracking=none"]))
    assert [loss.kind for loss in checked.config.train.losses.values()] == ["mean_squared_error"]
    assert checked.spec.output_spec("prediction").shape == (1,)


def test_names_that_expkit_ships_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "iris.csv").write_text(
        "a,b,species\n" + "".join(f"{i * 7 % 10}.5,{i % 4}.5,{'xy'[i % 2]}\n" for i in range(40))
    )
    assert call("init", "iris.csv", "--label", "species", cwd=tmp_path).out.splitlines()[-1] == (
        "next: expkit train experiment=my_iris"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent"], "error: absent: no such file or folder; give a folder of images, or a table"),
        (["visits.csv"], "error: --label: which column of visits.csv is to be predicted? give --label COLUMN"),
        (["visits.csv", "--label", "levle"], "error: --label: no column 'levle' in visits.csv; did you mean 'level'? "),
        (["visits.csv", "--label", "age"], "error: --label: 27 of 240 rows have no 'age'; remove these rows first"),
        (["visits.csv", "--label", "level", "--name", "../x"], "error: --name: '../x' is no name for files; allowed: "),
        (["empty"], "error: data.source.path: "),
        (
            ["empty", "--label", "x"],
            "error: --label: empty is a folder, whose sub-folders are the classes; leave --label",
        ),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(words: list[str], said: str, tmp_path: Path) -> None:
    write_visits(tmp_path)
    (tmp_path / "empty").mkdir()
    done = call("init", *words, cwd=tmp_path)
    assert (done.code, done.out, len(done.errors)) == (2, "", 1)
    assert done.errors[0].startswith(said)
    assert not (tmp_path / "conf").exists()
