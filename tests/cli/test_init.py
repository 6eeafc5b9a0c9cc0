"""The verb ``init``: what it finds in data, the files that it writes, and that they train and freeze."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expkit.config.load import load
from expkit.data.dataset import load_dataset
from expkit.data.split import split_fields
from expkit.kinds.sources.base import EMBEDDED
from expkit.kinds.sources.table import Table
from expkit.preflight import check
from expkit.starter import images
from expkit.starter.draft import name_of
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


def test_images_that_cannot_be_decoded_are_named_and_counted(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LOOKED_AT", 2)  # The first and the last; the headers of all are read.
    files = sorted(photos.rglob("*.png"))
    for file in files[2:7]:
        file.write_bytes(file.read_bytes()[:20])
    files[0].write_bytes(files[0].read_bytes()[:-20])
    files[8].write_bytes(files[8].read_bytes()[:-20])  # Its header is whole: only training finds it.
    done = call("init", photos.name, cwd=photos.parent)
    names = ", ".join(str(files[place].relative_to(photos.parent)) for place in (0, 2, 3))
    assert (done.code, done.err) == (
        2,
        f"error: data.source.path: 6 of {len(files)} images cannot be decoded: {names} and 3 more; mend or remove them "
        "(the headers of all and 2 whole images were looked at)\n",
    )


def test_folders_of_parts_may_have_other_names(photos: Path) -> None:
    for old, new in (("train", "Training"), ("valid", "Val"), ("test", "TEST")):
        (photos / old).rename(photos / new)
    done = call("init", "My photos", cwd=photos.parent)
    assert "a ready-made split: Training, Val, TEST" in done.out.splitlines()
    content = (photos.parent / "conf/data/my_photos.yaml").read_text()
    assert "split: {train: 'Training', valid: 'Val', test: 'TEST'}   # folders" in content


def test_a_folder_of_training_images_alone_is_split(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("valid", "test"):
        shutil.rmtree(photos / part)
    assert call("init", "My photos", cwd=photos.parent).code == 0
    monkeypatch.chdir(photos.parent)
    data = load(["experiment=my_photos", "tracking=none"]).data
    parts = split_fields(data.source.load(), data.split)
    assert {name: len(part["label"]) for name, part in parts.items()} == {"train": 42, "valid": 6, "test": 12}


def test_a_table_beside_images_may_have_several_labels(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = photos.parent / "flat"
    flat.mkdir()
    rows = []
    for number, file in enumerate(sorted(photos.glob("*/*/*.png"))):
        shutil.copy(file, flat / f"{number}.png")
        rows.append(f"{number}.png,{file.parent.name},{number % 3},{number / 7:.3f}")
    (flat / "known.csv").write_text("file,kind,room,depth\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(photos.parent)
    expected = {"kind": ("logits", 2), "room": ("logits", 3), "depth": ("prediction", 1)}
    for label, (output, units) in expected.items():
        done = call("init", "flat", "--label", label, "--name", f"by_{label}", cwd=photos.parent)
        assert (done.code, done.err) == (0, "")
        checked = check(load([f"experiment=by_{label}", "tracking=none"]))
        assert checked.spec.output_spec(output).shape == (units,)
        assert [list(reader.data_fields.values()) for reader in checked.config.train.readers.values()] == [[label]] * 2
        assert checked.config.data.split.stratify == (label if output == "logits" else None)
    wrong = [call("init", "flat", *words, cwd=photos.parent).errors for words in ((), ("--label", "knd"))]
    assert wrong == [
        ["error: --label: which column of flat/known.csv is to be predicted? give --label COLUMN"],
        ["error: --label: no column 'knd' in flat/known.csv; did you mean 'kind'? columns: kind, room, depth"],
    ]


def test_several_labels_beside_images_are_heads_that_are_trained(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = photos.parent / "flat"
    flat.mkdir()
    rows = []
    for number, file in enumerate(sorted(photos.glob("train/*/*.png"))):
        shutil.copy(file, flat / f"{number}.png")
        room = "cellar" if number in (7, 31, 50) else ("attic", "kitchen")[number % 2]
        rows.append(f"{number}.png,{file.parent.name},{room},{100 * (file.parent.name == 'light') + number / 99:.3f}")
    (flat / "known.csv").write_text("file,kind,room,depth (m)\n" + "\n".join(rows) + "\n")
    done = call("init", "flat", "--label", "kind", "--label", "room", "--label", "depth (m)", cwd=photos.parent)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1:4] == [
        "2 classes of 'kind': dark 30, light 30",
        "3 classes of 'room': attic 29, kitchen 28, cellar 3",
        "'depth (m)' is a number from 0 to 100.596",
    ]
    monkeypatch.chdir(photos.parent)
    checked = check(load(["experiment=flat", "tracking=none"]))
    sizes = {name: checked.spec.output_spec(name).shape for name in ("kind", "room", "depth_m")}
    assert sizes == {"kind": (2,), "room": (3,), "depth_m": (1,)}
    losses = checked.config.train.losses
    assert {name: (item.kind, item.output, item.labels) for name, item in losses.items()} == {
        "kind": ("sparse_softmax_cross_entropy", "kind", "kind"),
        "room": ("sparse_softmax_cross_entropy", "room", "room"),
        "depth_m": ("mean_squared_error", "depth_m", "depth (m)"),
    }
    assert [*checked.config.train.metrics] == ["kind_accuracy", "room_accuracy", "depth_m_mae"]
    parts = split_fields(checked.config.data.source.load(), checked.config.data.split)
    depths = parts["train"]["depth (m)"][:]
    assert losses["depth_m"].weight.value == pytest.approx(1 / np.var(depths), rel=0.01)
    initial = checked.config.network.layers["depth_m"].initializer
    assert initial["bias"].value == pytest.approx(np.mean(depths), rel=0.01)
    assert initial["kernel"].stddev == pytest.approx(0.15 * np.std(depths), rel=0.01)
    short = ["train.steps=4", "train.jit_compile=false", "train.parallelism=intra_op", "tracking=none"]
    result = run(load(["experiment=flat", *short, f"run.folder={photos.parent / 'runs'}"]), photos.parent / "run")
    assert result.frozen is not None
    assert result.frozen.metadata["labels"] == {"kind": ["kind"], "room": ["room"], "depth_m": ["depth (m)"]}


def test_several_labels_of_a_table_are_heads_that_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    rows = [
        f"{draw.normal():.3f},{('a', 'b')[i % 2]},{'rare' if i in (1, 2, 4) else ('no', 'yes')[i % 2]},{i % 3},{i % 7}"
        for i in range(60)
    ]
    (tmp_path / "t.csv").write_text("size,city,Y,hidden,grade\n" + "\n".join(rows) + "\n")
    words = [word for name in ("Y", "city", "hidden") for word in ("--label", name)]
    done = call("init", "t.csv", *words, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "features: 2 numbers, 0 categories, 0 texts" in done.out
    monkeypatch.chdir(tmp_path)
    data = load(["experiment=t"]).data
    assert data.source.columns_of_fields() == {
        "numbers": ("size", "grade"),
        "head_y": ("Y",),
        "city": ("city",),
        "head_hidden": ("hidden",),
    }
    short = ["train.steps=4", "train.jit_compile=false", "train.parallelism=intra_op", "tracking=none"]
    result = run(load(["experiment=t", *short, f"run.folder={tmp_path / 'runs'}"]), tmp_path / "run")
    assert result.frozen is not None
    assert result.frozen.metadata["classes"] == {
        "head_y": ["no", "rare", "yes"],
        "city": ["a", "b"],
        "head_hidden": ["0", "1", "2"],
    }


def test_numbers_in_the_hundred_thousands_are_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{3e5 + 6e4 * a + 2e4 * b:.0f}" for a, b in draw.normal(size=(200, 2)).tolist()]
    (tmp_path / "t.csv").write_text("size,age,price\n" + "\n".join(rows) + "\n")
    assert call("init", "t.csv", "--label", "price", cwd=tmp_path).code == 0
    monkeypatch.chdir(tmp_path)
    short = ["train.steps=300", "train.jit_compile=false", "train.parallelism=intra_op", "tracking=none", "export=none"]
    result = run(load(["experiment=t", *short, f"run.folder={tmp_path / 'runs'}"]), tmp_path / "run")
    assert result.test["test/mae"] < 2e4  # The mean of all is 5e4 away from a price on average.


def test_a_class_that_no_training_example_has_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{i / 7:.2f},{'ab'[i % 2]},{'xy'[i % 2]}" for i in range(40)]
    (tmp_path / "t.csv").write_text("size,city,kind\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    assert call("init", "t.csv", "--label", "city", "--label", "kind", cwd=tmp_path).code == 0
    config = load(["experiment=t"])
    parts = split_fields(Table(path="t.csv").load(), config.data.split.model_copy(update={"stratify": "city"}))
    outside = sorted({*parts["valid"]["size"][:].tolist(), *parts["test"]["size"][:].tolist()})[:3]
    for place, row in enumerate(rows):
        if float(row.split(",")[0]) in outside:
            rows[place] = row[:-1] + "z"
    (tmp_path / "t.csv").write_text("size,city,kind\n" + "\n".join(rows) + "\n")
    assert call("init", "t.csv", "--label", "city", "--label", "kind", "--name", "u", cwd=tmp_path).code == 0
    assert "\n  'kind': ['x', 'y', 'z']\n" in (tmp_path / "conf/data/u.yaml").read_text()
    config = load(["experiment=u"])
    assert load_dataset(config, check(config).spec).classes["kind"].names == ("x", "y", "z")


def test_categories_and_words_of_a_table_are_those_of_its_training_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{('oslo', 'rome', '')[i % 3]},a note about item{i} and more,{('x', 'y')[i % 2]}" for i in range(60)]
    rows[7] = f"oslo,{'a note about all ' * 10_000},y"  # Python's csv reads 128 KiB of a cell by default.
    (tmp_path / "t.csv").write_text("\n".join(["city,note,kind", *rows]) + "\n")
    assert call("init", "t.csv", "--label", "kind", cwd=tmp_path).code == 0
    config = load(["experiment=t"])
    assert load_dataset(config, check(config).spec).warnings == ()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("2024.csv", "my_2024"),
        ("2024 sales.v2.csv", "my_2024_sales"),
        ("null.csv", "my_null"),
        ("Größe & Zahl.csv", "gr_e_zahl"),
        ("数据.csv", "data"),
        (".hidden", "data"),
        ("iris.csv", "my_iris"),
    ],
)
def test_a_name_of_files_is_made_of_that_of_the_data(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


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
    german = (tmp_path / "visits.csv").read_text().replace(",", ";").replace(".", ",").replace(";;", ";NA;")
    (tmp_path / "visits.csv").write_text(german, encoding="utf-16")
    done = call("init", "visits.csv", "--label", "level", "--name", "first", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1] == (
        "the table is written with missing: ['', 'NA'], delimiter: ';', encoding: 'utf-16', decimal: 'comma'"
    )
    assert done.out.splitlines()[3:6] == [
        "features: 2 numbers (some are missing), 1 categories, 1 texts",
        "'number' is left out: it numbers the rows, from 0 to 239",
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


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        ("a;b;y\n{i},5;{i}{i};{c}\n", ["delimiter: ';'", "decimal: 'comma'"]),
        ("a\tb\ty\n{i}.5\t1.{i}00,5\t{c}\n", ['delimiter: "\\t"']),
        ("a,b,y\n{i}.5,1'00{i},{c}\n", ["thousands: 'apostrophe'"]),
        ('a,b,y\n"1,00{i}",{i},{c}\n', ["thousands: 'comma'"]),
        ("a|b|y\n1.00{i}|1.00{i},5|{c}\n", ["delimiter: '|'", "decimal: 'comma'", "thousands: 'point'"]),
        ("a,b,y\n{i},{n},{c}\n", ["missing: ['', '?']"]),
        ("a,b,y\n{i},u{n},{c}\n", []),
    ],
)
def test_how_a_table_is_written_is_found(content: str, settings: list[str], tmp_path: Path) -> None:
    header, row, _ = content.split("\n")
    rows = [row.format(i=i % 10, c="xy"[i % 2], n="?" if i % 9 == 0 else i % 7) for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    done = call("init", "t.csv", "--label", "y", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    lines = (tmp_path / "conf/data/t.yaml").read_text().splitlines()
    assert lines[4 : lines.index("  columns:")] == [f"  {setting}" for setting in settings]


def test_nested_columns_and_infinities_are_left_out(tmp_path: Path) -> None:
    rows = range(30)
    columns = {"a": [i % 7 for i in rows], "l": [[i] for i in rows], "inf": [float("inf")] * 30, "y": ["u", "v"] * 15}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    done = call("init", "t.parquet", "--label", "y", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[3:5] == [
        "'l' is left out: it is of type list<element: int64>",
        "'inf' is left out: 30 rows hold infinity",
    ]


def test_fields_have_the_names_of_their_columns_and_dates_and_amounts_are_no_categories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = "City,city,null,label,note,note_words,day,price,share,size,visited,y"
    rows = [
        f"{'abc'[i % 3]},d{i % 4},n{i % 2},l{i % 2},he came {'xyz'[i % 3]},w{i % 3},"
        f"2024-{1 + i % 12:02}-{1 + i % 28:02},$ {i}.5,{i} %,{i} cm,{1 + i % 28}/{1 + i % 12}/24 10:00,{'uv'[i % 2]}"
        for i in range(60)
    ]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    done = call("init", "t.csv", "--label", "y", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    dates = "write dates as numbers, such as the month"
    amounts = "write numbers without sign or unit"
    assert done.out.splitlines()[2:8] == [
        "features: 0 numbers, 5 categories, 1 texts",
        f"'day' is left out: it has text such as '2024-01-01'; {dates}",
        *(
            f"'{name}' is left out: it has text such as '{text}'; {amounts}"
            for name, text in (("price", "$ 0.5"), ("share", "0 %"), ("size", "0 cm"))
        ),
        f"'visited' is left out: it has text such as '1/1/24 10:00'; {dates}",
    ]
    monkeypatch.chdir(tmp_path)
    assert check(load(["experiment=t"])).config.data.source.columns_of_fields() == {
        "city": ("City",),
        "column_1": ("city",),  # of another column already
        "column_2": ("null",),  # YAML's word
        "column_3": ("label",),  # the field that is predicted
        "note": ("note",),
        "column_5": ("note_words",),  # a layer of the text's words
        "label": ("y",),
    }


def test_what_could_be_a_feature_or_a_class_if_it_were_written_otherwise_is_said(tmp_path: Path) -> None:
    row = "{c},${i},{i}.5 %,EUR {i},2024-01-{i:02},2024-01-{i:02}T10:00:00Z,({i}),{y}.0\n"
    rows = [row.format(i=i, c=i % 7, y=i % 2) for i in range(1, 31)]
    (tmp_path / "t.csv").write_text("a,price,share,cost,day,time,id,y\n" + "".join(rows))
    done = call("init", "t.csv", "--label", "y", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    sign, time = "write numbers without sign or unit", "write dates as numbers, such as the month"
    assert done.out.splitlines()[1:9] == [
        "'y' is a number from 0 to 1; written as 1 in place of 1.0, its few whole numbers would name classes",
        "features: 1 numbers, 0 categories, 0 texts",
        f"'price' is left out: it has text such as '$1'; {sign}",
        f"'share' is left out: it has text such as '1.5 %'; {sign}",
        f"'cost' is left out: it has text such as 'EUR 1'; {sign}",
        f"'day' is left out: it has text such as '2024-01-01'; {time}",
        f"'time' is left out: it has text such as '2024-01-01T10:00:00Z'; {time}",
        "'id' is left out: 30 different values name the rows",
    ]


def test_names_in_the_data_are_text_whatever_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "${oc.env:HOME}",
        "???",
        "a\\${b",
        "it's",
        "\x1b[31m",
        "*",
        "kind\noutputs: {evil: x}",
        "number of the row",
        "y",
    ]
    columns = [[float(i * k % 7) for i in range(30)] for k in range(1, 7)]
    texts = [["u", "v"] * 15, [f"n{i}" for i in range(30)], ["\x1b[31m", "w"] * 15]
    pq.write_table(pa.table(dict(zip(names, [*columns, *texts], strict=True))), tmp_path / "t.parquet")
    done = call("init", "t.parquet", "--label", "y", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1:5] == [
        r"2 classes of 'y': \x1b[31m 15, w 15",
        "features: 5 numbers, 1 categories, 0 texts",
        "'*' is left out: as a column it stands for all others; give it another name",
        "'number of the row' is left out: 30 different values name the rows",
    ]
    monkeypatch.chdir(tmp_path)
    config = check(load(["experiment=t"])).config
    assert config.data.source.columns_of_fields()["numbers"] == tuple(names[:5])
    assert config.network.outputs.keys() == {"logits"}


def test_the_smallest_images_have_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for index in range(20):
        (tmp_path / "dots" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (1, 1), 9 * index).save(tmp_path / "dots" / "ab"[index % 2] / f"{index}.png")
    assert call("init", "dots", cwd=tmp_path).code == 0
    monkeypatch.chdir(tmp_path)
    assert check(load(["experiment=dots"])).spec.inputs["image"].shape == (1, 1, 1)


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
        (["absent"], "error: absent: no such file or folder; give a folder of images or texts, or a table"),
        (["pipe", "--label", "y"], "error: pipe: no regular file; give a folder of images or texts, or a table"),
        (["visits.csv"], "error: --label: which column of visits.csv is to be predicted? give --label COLUMN"),
        (["visits.csv", "--label", "levle"], "error: --label: no column 'levle' in visits.csv; did you mean 'level'? "),
        (
            ["visits.csv", "--label", "level,age"],
            "error: --label: no column 'level,age' in visits.csv; give --label level --label age",
        ),
        (
            ["visits.csv", "--label", "level", "--label", "level"],
            "error: --label: column 'level' is named twice; name each column once",
        ),
        (["visits.csv", "--label", "age"], "error: --label: 27 of 240 rows have no 'age'; remove these rows first"),
        (
            ["visits.csv", "--label", "level", "--name", "../x"],
            "error: --name: '../x' is not a name for files; allowed: ",
        ),
        (["empty"], "error: empty: holds no image and no text: no file that ends in .png, "),
        (["one.csv", "--label", "y"], "error: one.csv: 1 row; a first training needs 10"),
        (["same.csv", "--label", "y"], "error: same.csv: all examples are of one class, u; two are needed"),
        (
            ["rare.csv", "--label", "y"],
            "error: rare.csv: 14 of 15 values of 'y' are in fewer than 3 examples, too few for the 3 parts: c0 1, "
            "c1 1, c2 1, c3 1, c4 1 and 9 more; remove or join rare classes, or predict something else",
        ),
        (
            ["latin.csv", "--label", "y"],
            "error: data.source.path: latin.csv is not text in utf-8 (byte 0xe9: invalid continuation byte); give its "
            "encoding, such as --encoding latin-1 or cp1252",
        ),
        (
            ["latin.csv", "--label", "y", "--encoding", "latin1x"],
            "error: --encoding: unknown encoding 'latin1x'; did you mean 'latin-1'? such as utf-8, ",
        ),
        (
            ["ragged.csv", "--label", "y"],
            "error: data.source.path: ragged.csv line 3 ('1,2,3'): 3 columns, the header has 2 (x, y); put a cell that "
            "holds a ',' into quotes, or remove what is too much",
        ),
        (
            ["empty", "--label", "x"],
            "error: --label: empty holds no table; a column is of one table beside the images, which names them in a "
            "column 'file'; leave --label out where sub-folders are the classes",
        ),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(words: list[str], said: str, tmp_path: Path) -> None:
    write_visits(tmp_path)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "one.csv").write_text("x,y\n1,2\n")
    (tmp_path / "same.csv").write_text("x,y\n" + "".join(f"{i * i},u\n" for i in range(20)))
    (tmp_path / "rare.csv").write_text(
        "x,y\n" + "".join(f"{i * i},c{i if i < 14 else 'x'}\n" for i in range(40)), encoding="utf-8"
    )
    (tmp_path / "latin.csv").write_bytes(b"x,y\n" + b"1,\xe9\n" * 20)
    (tmp_path / "ragged.csv").write_text("x,y\n1,2\n1,2,3\n")
    done = call("init", *words, cwd=tmp_path)
    assert (done.code, done.out, len(done.errors)) == (2, "", 1)
    assert done.errors[0].startswith(said)
    assert not (tmp_path / "conf").exists()
