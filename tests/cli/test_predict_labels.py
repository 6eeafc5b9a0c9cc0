"""Scores of ``predict`` where labels stand beside the examples, as scikit-learn computes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import mean_absolute_error, precision_recall_fscore_support, r2_score, root_mean_squared_error

from expkit.errors import DataError
from expkit.export.examples import open_examples
from support.command_line import Done, call
from support.experiments import config_of, run

HEADER = "a,b,kind,room,price\n"
NETWORK = {
    "inputs": {"x": {"shape": [2]}},
    "layers": {
        "logits": {"kind": "dense", "input": "x", "units": 3},
        "rooms": {"kind": "dense", "input": "x", "units": 2},
        "value": {"kind": "dense", "input": "x", "units": 1},
    },
    "outputs": {"logits": "logits", "rooms": "rooms", "value": "value"},
}
LOSSES = {
    "main": {"kind": "sparse_softmax_cross_entropy", "output": "logits", "labels": "kind"},
    "rooms": {"kind": "sparse_softmax_cross_entropy", "output": "rooms", "labels": "room"},
    "value": {"kind": "mean_squared_error", "output": "value", "labels": "price"},
}


def rows(seed: int, count: int) -> list[list[Any]]:
    draw = np.random.default_rng(seed)
    kinds = draw.choice(["ja", "nein", "so, so"], count)
    shift = {"ja": 0.0, "nein": 0.9, "so, so": 1.8}
    numbers = [(draw.normal(shift[kind], 0.5), draw.normal()) for kind in kinds.tolist()]
    return [
        [f"{a:.3f}", f"{b:.3f}", kind, int(b > 0), f"{a + b + draw.normal() / 9:.3f}"]
        for kind, (a, b) in zip(kinds.tolist(), numbers, strict=True)
    ]


def write(file: Path, content: list[list[Any]]) -> None:
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([HEADER.strip().split(","), *content])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with two heads of classes, one of names and one of numbers, and one of a number."""
    folder = tmp_path_factory.mktemp("heads")
    write(folder / "table.csv", rows(0, 90))
    columns = {"x": ["a", "b"], "kind": "kind", "room": "room", "price": "price"}
    data = {
        "source": {"kind": "table", "path": str(folder / "table.csv"), "columns": columns},
        "split": {"train": 0.7, "valid": None, "test": 0.3},
    }
    train = {"steps": 60, "losses": LOSSES, "metrics": {}}
    run(config_of(folder, network=NETWORK, data=data, train=train), folder / "run")
    return folder / "run"


def predicted(run: Path, table: Path, output: str = "out.csv") -> tuple[Done, list[dict[str, str]]]:
    done = call("predict", run, table.name, "--output", output, cwd=table.parent)
    assert (done.code, done.err) == (0, "")
    return done, list(csv.DictReader((table.parent / output).open(newline="")))


def test_a_labelled_table_is_scored_as_scikit_learn_scores_it(trained: Path, tmp_path: Path) -> None:
    content = rows(1, 3000)
    write(tmp_path / "new.csv", content)
    done, table = predicted(trained, tmp_path / "new.csv")
    kinds, rooms, prices = (np.array([str(row[place]) for row in content]) for place in (2, 3, 4))
    assert [row["kind"] for row in table] == kinds.tolist()
    assert [*table[0]] == [
        *("example", "logits", "kind", "logits/ja", "logits/nein", "logits/so, so"),
        *("rooms", "room", "rooms/0", "rooms/1", "value/0", "price"),
    ]
    lines = done.out.splitlines()
    for output, column, true in (("logits", "kind", kinds), ("rooms", "room", rooms)):
        guess = np.array([row[output] for row in table])
        right = int((guess == true).sum())
        at = lines.index(f"{output} by {column}: accuracy {right / 3000:.4f} ({right:,} of 3,000)")
        names = sorted(set(true.tolist()))
        wanted = precision_recall_fscore_support(true, guess, labels=names, zero_division=0)
        assert lines[at + 1].split() == ["class", "precision", "recall", "F1", "support"]
        for line, name, *values in zip(lines[at + 2 :], names, *wanted, strict=False):
            *ratios, support = values
            assert line.split()[-4:] == [*(f"{value:.4f}" for value in ratios), f"{support:,}"]
            assert line.startswith(name)
    true, guess = prices.astype(float), np.array([float(row["value/0"]) for row in table])
    root, mean = root_mean_squared_error(true, guess), mean_absolute_error(true, guess)
    assert f"value by price: RMSE {root:.6g}  MAE {mean:.6g}  R2 {r2_score(true, guess):.4f}  (3,000 examples)" in lines
    beside = next(line for line in lines if line.startswith("example  logits"))
    assert beside.split() == ["example", "logits", "kind", "probability"]


def test_labels_that_training_never_saw_and_missing_ones_are_counted_apart(trained: Path, tmp_path: Path) -> None:
    content = rows(2, 40)
    for place, kind in ((3, "vielleicht"), (5, "vielleicht"), (8, "nie\x1b[31m"), (9, "")):
        content[place][2] = kind
    content[7][4] = ""
    write(tmp_path / "new.csv", content)
    pq.write_table(pa.csv.read_csv(tmp_path / "new.csv"), tmp_path / "new.parquet")
    for name in ("new.csv", "new.parquet"):
        done, table = predicted(trained, tmp_path / name)
        right = sum(row["logits"] == row["kind"] for row in table)
        assert table[3]["kind"] == "vielleicht"
        lines = done.out.splitlines()
        at = lines.index("1 example has no label in 'kind', left out of the score")
        assert lines[at + 1 : at + 3] == [
            "3 examples have a label in 'kind' that training never saw, left out of the score: 'vielleicht' 2, "
            "'nie\\x1b[31m' 1",
            f"logits by kind: accuracy {right / 36:.4f} ({right} of 36)",
        ]
        assert "1 example has no label in 'price', left out of the score" in lines
        assert lines[-2].endswith("(39 examples)")


def test_a_table_without_labels_or_with_unreadable_ones_is_predicted(trained: Path, tmp_path: Path) -> None:
    content = rows(3, 4)
    with (tmp_path / "bare.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows([["a", "b"], *(row[:2] for row in content)])
    done, table = predicted(trained, tmp_path / "bare.csv")
    assert "accuracy" not in done.out
    assert "RMSE" not in done.out
    assert [*table[0]] == [
        *("example", "logits", "logits/ja", "logits/nein", "logits/so, so"),
        *("rooms/0", "rooms/1", "value/0"),
    ]
    content[2][4] = "ask"
    write(tmp_path / "ask.csv", content)
    done = call("predict", trained, "ask.csv", cwd=tmp_path)
    assert done.code == 0
    assert "accuracy" not in done.out
    (note,) = done.errors
    assert note.startswith("note: no score: ")
    assert "'ask'" in note
    assert "price" in note
    (tmp_path / "strange.csv").write_text("a,b,kind,price\n1,2,nie,\n")
    done = call("predict", trained, "strange.csv", cwd=tmp_path)
    assert "logits by kind: no score, because no example has a label that training saw" in done.out
    assert "value by price: no score, because no example has a label" in done.out


def test_info_names_the_columns_of_labels(trained: Path, tmp_path: Path) -> None:
    content = json.loads(call("info", "--json", trained, cwd=tmp_path).out)
    assert content["labels"] == {"logits": ["kind"], "rooms": ["room"], "value": ["price"]}
    assert content["predicts"] == {"logits": "classes", "rooms": "classes", "value": "numbers"}


PHOTOS: Mapping[str, Any] = {
    "inputs": {"image": {"tensor": "image:0", "dtype": "string", "shape": [None]}},
    "outputs": {"logits": {"tensor": "logits:0", "dtype": "float32", "shape": [None, 2]}},
    "classes": {"logits": ["cat", "dog"]},
    "labels": {"logits": ["label"]},
    "predicts": {"logits": "classes"},
}
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)


def labels_in(folder: Path, metadata: Mapping[str, Any]) -> dict[str, list[Any]]:
    with open_examples([str(folder)], metadata) as examples:
        (array,) = examples.inputs.values()
        assert examples.name_of is not None
        assert examples.name_of(0).startswith(str(folder))
        return {name: item.values[: len(array)].tolist() for name, item in examples.labels.items()}


def test_a_folder_has_the_labels_of_its_classes_or_of_its_table(tmp_path: Path) -> None:
    fill(tmp_path / "classes", "cat/1.png", "dog/2.PNG", "dog/deeper/3.png", "wolf/4.png")
    assert labels_in(tmp_path / "classes", PHOTOS) == {"logits": [b"cat", b"dog", b"dog", b"wolf"]}
    fill(tmp_path / "flat", "1.png", "2.png")
    assert labels_in(tmp_path / "flat", PHOTOS) == {}
    (tmp_path / "flat/notes.csv").write_text("file,weather\n1.png,fine\n")  # It has no labels of the run.
    assert labels_in(tmp_path / "flat", PHOTOS) == {}
    (tmp_path / "flat/known.csv").write_text("file,label,room,depth\n2.png,dog,1,2.5\n1.png,,0,\n")
    heads = {
        **PHOTOS,
        "outputs": dict.fromkeys(("logits", "room", "depth"), PHOTOS["outputs"]["logits"]),
        "labels": {"logits": ["label"], "room": ["room"], "depth": ["depth"]},
        "predicts": {"logits": "classes", "room": "classes", "depth": "numbers"},
    }
    found = labels_in(tmp_path / "flat", heads)
    assert (found["logits"], found["room"], found["depth"][0]) == ([b"dog", b""], [b"1", b"0"], 2.5)
    assert np.isnan(found["depth"][1])
    (tmp_path / "flat/more.csv").write_text("file,label\n2.png,dog\n")
    with pytest.raises(DataError, match=r"INPUT: several tables in .*flat have labels: known.csv, more.csv; move all"):
        labels_in(tmp_path / "flat", PHOTOS)


def test_a_folder_of_texts_has_the_labels_of_its_classes(tmp_path: Path) -> None:
    for name, text in (("good/1.txt", "schön"), ("bad/2.txt", "öde")):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(text, encoding="latin-1")
    texts = {"inputs": {"text": PHOTOS["inputs"]["image"]}, "encoding": "latin-1"}
    assert labels_in(tmp_path / "texts", {**PHOTOS, **texts}) == {"logits": [b"bad", b"good"]}


@pytest.mark.parametrize("labels", [3, {"logits": 7}, {"logits": [[]]}])
def test_metadata_of_others_that_names_no_columns_is_reported(labels: Any, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("image\nx\n")
    with pytest.raises(DataError, match="INPUT: ") as caught:
        with open_examples([str(tmp_path / "new.csv")], {**PHOTOS, "labels": labels}):
            pass
    assert "Traceback" not in str(caught.value)
