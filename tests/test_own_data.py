"""Data of a user's own, from files to a frozen graph that reads them as they are."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data import kept
from expkit.data.dataset import load_dataset
from expkit.errors import ConfigError, DataError
from expkit.export.freeze import read_frozen
from expkit.kinds.sources.on_disk import DiskArray
from expkit.plugins import load_plugins
from expkit.preflight import check
from expkit.registry import _FAMILIES, rebuild_sections
from support.command_line import call
from support.experiments import config_of, run

COLORS = {"blue": (30, 40, 200), "green": (40, 180, 60), "red": (220, 30, 40)}
DRAW = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "expkit" / "preprocessed"


def write_image(path: Path, color: Sequence[int], size: tuple[int, int]) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(hash(path.name) % 2**32).integers(-20, 20, (*size, 3))
    Image.fromarray(np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 60 images of three colors, of sizes that differ, as PNG, JPEG and BMP."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(20):
        for name, color in COLORS.items():
            ending = ("png", "jpg", "bmp")[index % 3]
            write_image(folder / name / f"{index:02}.{ending}", color, (10 + index, 14 + index % 4))
    return folder


PIXELS = [
    {"kind": "decode_image"},
    {"kind": "resize", "size": [8, 8]},
    {"kind": "rescale", "scale": 1 / 255},
    {"kind": "standardize", "per": "channel"},
]


def dense(**inputs: Any) -> dict[str, Any]:
    """Return a network of one dense layer on all inputs, flattened."""
    layers: dict[str, Any] = {f"flat_{name}": {"kind": "flatten", "input": name} for name in inputs}
    if len(inputs) > 1:
        layers["all"] = {"kind": "concat", "input": list(layers)}
    layers["logits"] = {"kind": "dense", "units": 3}
    return {"inputs": inputs, "layers": layers, "outputs": {"logits": "logits"}}


def photo_config(folder: Path, photos: Path, steps: Any = PIXELS, **data: Any) -> Config:
    section = {
        "source": {"kind": "image_folder", "path": str(photos)},
        "split": {"train": 0.6, "valid": 0.2, "test": 0.2},
        "preprocess": {"image": steps},
        **data,
    }
    return config_of(folder, network=dense(image={"shape": [8, 8, 3]}), data=section, train={"steps": 40})


def problems_of(config: Config) -> list[str]:
    with pytest.raises((ConfigError, DataError)) as caught:
        load_dataset(config, check(config).spec)
    return [str(problem) for problem in caught.value.problems]


def test_photographs_become_a_graph_that_reads_files(tmp_path: Path, photos: Path) -> None:
    result = run(photo_config(tmp_path, photos), tmp_path / "run")
    assert result.test["test/accuracy"] == 1
    assert result.frozen is not None
    names = [item.name for item in result.frozen.parity]
    assert "frozen file, preprocessed inputs" in names
    metadata = read_frozen(result.frozen.path).metadata
    assert metadata["classes"] == {"logits": ["blue", "green", "red"]}
    assert metadata["inputs"]["image"] == {"tensor": "image:0", "dtype": "string", "shape": [None]}
    assert metadata["preprocessed"]["image"]["shape"] == [None, 8, 8, 3]
    kept_of_run = json.loads((tmp_path / "run/preprocess.json").read_text())
    assert [step["kind"] for step in kept_of_run["preprocess"]["image"]] == [step["kind"] for step in PIXELS]
    done = call("predict", tmp_path / "run", photos / "red/00.png", photos / "blue/01.jpg", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0] == ["example", "logits", "probability"]
    assert [row[1] for row in rows[1:]] == ["red", "blue"]
    (tmp_path / "page.png").write_text("<html>")
    done = call("predict", "run", photos / "red/00.png", "page.png", cwd=tmp_path)
    (said,) = done.errors
    assert (done.code, said.partition(": Unknown image")[0]) == (2, "error: predict: ./page.png cannot be computed")


WITHOUT_EXPKIT = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
assert not any(name.startswith("expkit") for name in sys.modules)
graph = tf.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default() as built:
    tf.import_graph_def(graph, name="")
given = np.load(sys.argv[2], allow_pickle=True)
with tf.Session(graph=built) as session:
    feed = {f"{name}:0": given[name] for name in given.files}
    doors = [op.name for op in built.get_operations() if op.name.startswith("preprocessed/")]
    found = {name.split("/")[1]: session.run(f"{name}:0", feed) for name in doors}
np.savez(sys.argv[3], **found)
"""


def served(frozen: Path, raw: Mapping[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Return what the network reads of raw examples, by a process without expkit."""
    np.savez(folder / "given.npz", **raw)
    files = [str(frozen), str(folder / "given.npz"), str(folder / "found.npz")]
    subprocess.run([sys.executable, "-c", WITHOUT_EXPKIT, *files], check=True, cwd=folder)
    with np.load(folder / "found.npz") as found:
        return dict(found)


def write_table(path: Path, count: int = 1700) -> None:
    draw = np.random.default_rng(1)
    cities = ["Basel", "Zürich", "Genève", "Bern, alt", ""]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["age", "city", "comment", "kind"])
        for _ in range(count):
            kind = int(draw.integers(3))
            words = " ".join([("good", "bad", "so-so")[kind], *draw.choice(["the", "A", "Thing!", "überall"], 3)])
            age = "" if draw.random() < 0.1 else f"{draw.normal(30 + 10 * kind, 3):.2f}"
            rows.writerow([age, cities[int(draw.integers(5))], words, ("low", "mid", "high")[kind]])


TABLE = {
    "age": [{"kind": "impute", "value": "median"}, {"kind": "standardize"}],
    "city": [{"kind": "vocabulary", "max_size": 3}, {"kind": "one_hot", "depth": 5}],
    "comment": [
        {"kind": "lowercase"},
        {"kind": "regex_replace", "pattern": r"[^\w\s]", "to": " "},
        {"kind": "split"},
        {"kind": "vocabulary"},
        {"kind": "pad", "length": 6},
        {"kind": "one_hot", "depth": 12},
    ],
}


def table_config(folder: Path, **data: Any) -> Config:
    write_table(folder / "table.csv")
    inputs = {"age": {"shape": []}, "city": {"shape": [5]}, "comment": {"shape": [6, 12]}}
    network = dense(**inputs)
    network["layers"]["flat_age"] = {"kind": "reshape", "shape": [1], "input": "age"}
    section = {
        "source": {"kind": "table", "path": str(folder / "table.csv")},
        "split": {"train": 0.6, "valid": 0.2, "test": 0.2},
        "preprocess": TABLE,
        **data,
    }
    losses = {"main": {"kind": "sparse_softmax_cross_entropy", "labels": "kind"}}
    metrics = {"accuracy": {"kind": "accuracy", "labels": "kind"}}
    train = {"steps": 100, "batch_size": 16, "losses": losses, "metrics": metrics}
    return config_of(
        folder, network=network, data=section, train=train, optimizer={"kind": "adam", "learning_rate": 0.1}
    )


def test_a_table_of_numbers_and_text_trains_and_is_predicted_from_a_table(tmp_path: Path) -> None:
    config = table_config(tmp_path)
    result = run(config, tmp_path / "run")
    assert result.test["test/accuracy"] > 0.97
    data = load_dataset(config, check(config).spec)
    raw = data.first("train", 1000, raw=True)
    assert len(raw["age"]) == 1000
    found = served(tmp_path / "run/frozen.pb", {name: raw[name] for name in TABLE}, tmp_path)
    kept_values = data.first("train", 1000)
    mean, spread = (data.preprocessing["age"].in_step[0].fitted[name] for name in ("mean", "spread"))
    np.testing.assert_array_equal(found["age"], ((kept_values["age"] - mean) / spread).astype(np.float32))
    np.testing.assert_array_equal(found["city"], np.eye(5, dtype=np.float32)[kept_values["city"]])
    np.testing.assert_array_equal(found["comment"], np.eye(12, dtype=np.float32)[kept_values["comment"]])
    median = np.nanmedian(data.first("train", data.size("train"), raw=True)["age"])
    assert (kept_values["age"][np.isnan(raw["age"])] == median).all()
    done = call("predict", tmp_path / "run", tmp_path / "table.csv", "--output", "out.csv", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    predicted = [row["logits"] for row in csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))]
    wanted = [row["kind"] for row in csv.DictReader((tmp_path / "table.csv").open(encoding="utf-8"))]
    assert np.mean([one == other for one, other in zip(predicted, wanted, strict=True)]) > 0.97


def test_lines_of_text_are_classified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.csv").write_text(
        "text;label\n" + "".join(f"{word} {n % 7};{word[0]}\n" for n in range(60) for word in ("yes", "no", "maybe"))
    )
    steps = [{"kind": "split"}, {"kind": "vocabulary"}, {"kind": "pad", "length": 2}, {"kind": "one_hot", "depth": 12}]
    data = {
        "source": {"kind": "table", "path": str(tmp_path / "notes.csv"), "delimiter": ";", "encoding": "latin-1"},
        "split": {"train": 0.7, "valid": None, "test": 0.2},
        "preprocess": {"text": steps},
    }
    config = config_of(tmp_path, network=dense(text={"shape": [2, 12]}), data=data, train={"steps": 200})
    run(config, tmp_path / "run")
    (tmp_path / "new.csv").write_bytes("id;text\n1;yes 1\n2;no ü\n".encode("latin-1"))
    done = call("predict", tmp_path / "run", "new.csv", cwd=tmp_path)
    assert [line.split()[1] for line in done.out.splitlines()[1:]] == ["y", "n"]
    (tmp_path / "new.csv").write_text("text\n")
    done = call("predict", tmp_path / "run", "new.csv", cwd=tmp_path)
    assert (done.code, done.errors) == (2, ["error: INPUT: new.csv has no rows after its header"])
    lines = io.TextIOWrapper(io.BytesIO(b"no 3\nmaybe 1\nyes 2\n"))
    with monkeypatch.context() as context:
        context.setattr(sys, "stdin", lines)
        done = call("predict", tmp_path / "run", "-", cwd=tmp_path)
    assert [line.split()[2] for line in done.out.splitlines()[1:]] == ["n", "m", "y"]


def test_the_pixels_of_files_are_those_that_training_read_bit_for_bit(tmp_path: Path) -> None:
    for index in range(1020):
        name, ending = list(COLORS)[index % 3], ("png", "jpg", "bmp")[index // 3 % 3]
        write_image(tmp_path / "many" / name / f"{index:04}.{ending}", COLORS[name], (6 + index % 9, 7 + index % 4))
    config = photo_config(tmp_path, tmp_path / "many", split={"train": 0.985, "valid": None, "test": 0.015})
    run(config, tmp_path / "run")
    data = load_dataset(config, check(config).spec)
    raw = data.first("train", 1000, raw=True)["image"]
    assert len(raw) == 1000
    found = served(tmp_path / "run/frozen.pb", {"image": raw}, tmp_path)
    with tf.Graph().as_default(), tf.Session() as session:
        kept_values = tf.constant(data.first("train", 1000)["image"])
        read = session.run(data.preprocessing["image"].connect_in_step(kept_values))
    np.testing.assert_array_equal(found["image"], read)


def test_the_second_run_reads_the_cache_and_a_changed_file_makes_it_anew(
    tmp_path: Path, photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    own = tmp_path / "own"
    shutil.copytree(photos, own)
    config = photo_config(tmp_path, own)
    spec = check(config).spec
    first = load_dataset(config, spec)
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as context:
        context.setattr(kept, "computed", None)  # Nothing is computed.
        again = load_dataset(config, spec)
    for split, fields in first.splits.items():
        np.testing.assert_array_equal(again.splits[split]["image"], fields["image"])
    assert again.preprocessing["image"].plain() == first.preprocessing["image"].plain()
    write_image(own / "red/00.png", (0, 0, 0), (9, 9))
    changed = load_dataset(config, spec)
    assert len(list(cache.iterdir())) == 2
    assert any((changed.splits[name]["image"] != first.splits[name]["image"]).any() for name in first.splits)


def test_an_unwritable_cache_is_reported(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (problem,) = problems_of(photo_config(tmp_path, photos))
    assert problem.startswith("data.preprocess.image: cannot write ")


def test_an_entry_of_the_cache_that_cannot_be_read_is_told(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = photo_config(tmp_path, photos)
    load_dataset(config, check(config).spec)

    def refused(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refused)  # Another user's entry is used all the same.
        load_dataset(config, check(config).spec)
    (entry,) = (tmp_path / "cache/expkit/preprocessed").iterdir()
    (entry / "train.npy").write_bytes(b"")
    (problem,) = problems_of(config)
    assert problem.startswith(f"data.preprocess.image: {entry} cannot be read: ")
    assert problem.endswith("; delete it, or the environment variable XDG_CACHE_HOME names another folder")


def damaged(photos: Path, folder: Path) -> Path:
    import shutil

    shutil.copytree(photos, folder)
    for name in ("red/00.png", "blue/03.png", "green/10.jpg"):
        (folder / name).write_bytes((folder / name).read_bytes()[:120])
    return folder


def test_damaged_files_are_counted_and_the_first_are_named(tmp_path: Path, photos: Path) -> None:
    split = {"train": [0, 58], "valid": None, "test": [58, 60]}
    (problem,) = problems_of(photo_config(tmp_path, damaged(photos, tmp_path / "bad"), split=split))
    assert "bad/blue/03.png cannot be preprocessed: " in problem
    assert "; 2 more cannot: " in problem
    others = problem.partition("; 2 more cannot: ")[2]
    assert [name.rpartition("bad/")[2] for name in others.partition(";")[0].split(", ")] == [
        "green/10.jpg",
        "red/00.png",
    ]
    assert problem.endswith("; mend or remove the data, or set on_error: skip in decode_image")


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([], "examples have the shape [12, 12, 3], but network.inputs.image is [8, 8, 3]; change the input, or "),
        ([{"kind": "center_crop", "size": [13, 12]}], "/0.png cannot be preprocessed: it is smaller than the size of "),
        ([{"kind": "pad", "size": [11, 12]}], "/0.png cannot be preprocessed: it is larger than the size of pad; add "),
    ],
)
def test_images_of_other_sizes_than_the_steps_need_are_reported_with_both(
    steps: list[dict[str, Any]], problem: str, tmp_path: Path
) -> None:
    from PIL import Image

    for name in ("0.png", "1.png", "2.png"):
        (tmp_path / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12)).save(tmp_path / "same" / name)
    section = {
        "source": {"kind": "image_folder", "path": str(tmp_path / "same")},
        "split": {"train": [0, 2], "valid": None, "test": [2, 3]},
        "preprocess": {"image": [{"kind": "decode_image"}, *steps]},
    }
    network = dense(image={"shape": [*(steps[0]["size"] if steps else [8, 8]), 3]})
    train = {"batch_size": 1, "losses": {"main": {"kind": "value", "output": "logits"}}, "metrics": {}}
    (said,) = problems_of(config_of(tmp_path, network=network, data=section, train=train))
    assert problem in said


def test_damaged_files_are_left_out_where_that_is_asked(tmp_path: Path, photos: Path) -> None:
    steps = [{"kind": "decode_image", "on_error": "skip"}, *PIXELS[1:]]
    config = photo_config(tmp_path, damaged(photos, tmp_path / "bad"), steps)
    data = load_dataset(config, check(config).spec)
    assert sum(data.size(name) for name in data.splits) == 57
    for fields in data.splits.values():
        assert len(fields["image"]) == len(fields["label"])
    left_out = [text for text in data.warnings if text.endswith("cannot be preprocessed and are left out")]
    assert sum(int(text.split()[0]) for text in left_out) == 3
    whole = load_dataset(photo_config(tmp_path, photos), check(config).spec)
    by_label = {int(label): color for label, color in enumerate(sorted(COLORS))}
    brightest = {"blue": 2, "green": 1, "red": 0}
    for split, fields in data.splits.items():
        assert len(data.raw[split]["image"]) == len(fields["image"])
        for image, label in zip(fields["image"], fields["label"], strict=True):
            assert image.mean(axis=(0, 1)).argmax() == brightest[by_label[int(label)]]
    assert whole.warnings == ()


def test_images_of_other_sizes_need_to_be_resized(tmp_path: Path, photos: Path) -> None:
    config = photo_config(tmp_path, photos, [{"kind": "decode_image"}])
    (problem,) = problems_of(config)
    assert problem.startswith("data.preprocess.image: ")
    assert problem.endswith("add {kind: resize, size: [HEIGHT, WIDTH]}")


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (
            [{"kind": "decode_image"}, {"kind": "resize", "size": [4, 8]}],
            "data.preprocess.image: yields [batch, 4, 8, 3] float32, but network.inputs.image is [batch, 8, 8, 3] "
            "float32; change the steps or the input",
        ),
        (
            [{"kind": "decode_image"}, {"kind": "lowercase"}],
            "data.preprocess.image.1: lowercase needs text, got [batch, ?, ?, 3] uint8",
        ),
    ],
)
def test_what_the_network_does_not_read_is_known_without_data(tmp_path: Path, steps: Any, problem: str) -> None:
    config = photo_config(tmp_path, tmp_path / "absent", steps)
    with pytest.raises(ConfigError) as caught:
        check(config)
    assert [str(item) for item in caught.value.problems] == [problem]


def labels_config(folder: Path, labels: Sequence[str], **data: Any) -> Config:
    rows = "".join(f"{index * 7 % 13},{label}\n" for index, label in enumerate(labels))
    (folder / "labels.csv").write_text("x,label\n" + rows)
    section = {
        "source": {"kind": "table", "path": str(folder / "labels.csv"), "columns": {"x": ["x"], "label": "label"}},
        "split": {"train": [0, 6], "valid": None, "test": [6, 8]},
        **data,
    }
    return config_of(folder, network=dense(x={"shape": [1]}), data=section, train={"batch_size": 4})


def test_text_labels_are_numbered_in_sorted_order_or_as_listed(tmp_path: Path) -> None:
    labels = ["pear", "apple", "fig", "fig", "pear", "apple", "fig", "pear"]
    config = labels_config(tmp_path, labels)
    data = load_dataset(config, check(config).spec)
    assert data.classes["label"].names == ("apple", "fig", "pear")
    assert data.splits["train"]["label"].tolist() == [2, 0, 1, 1, 2, 0]
    assert data.classes["label"].counts == (2, 2, 2)
    listed = labels_config(tmp_path, labels, classes={"label": ["pear", "fig", "apple"]})
    assert load_dataset(listed, check(listed).spec).splits["train"]["label"].tolist() == [0, 2, 1, 1, 0, 2]


def test_text_is_no_target_of_a_regression(tmp_path: Path) -> None:
    config = labels_config(tmp_path, ["a", "b", "c", "a", "b", "c", "a", "b"])
    losses = {"main": {"kind": "mean_squared_error"}}
    config = config.model_copy(update={"train": config_of(tmp_path, train={"losses": losses, "metrics": {}}).train})
    assert problems_of(config) == ["train.losses.main.labels: field 'label' holds text, needs numbers"]
    weighted = labels_config(tmp_path, ["a", "b", "c", "a", "b", "c", "a", "b"])
    losses = {"main": {"kind": "sparse_softmax_cross_entropy", "weights": "label"}}
    weighted = weighted.model_copy(update={"train": config_of(tmp_path, train={"losses": losses}).train})
    assert problems_of(weighted) == ["train.losses.main.weights: field 'label' holds text, needs numbers"]


def test_a_label_that_training_never_saw_is_an_error_with_its_count(tmp_path: Path) -> None:
    config = labels_config(tmp_path, ["a", "b", "c", "a", "b", "c", "cc", "cc"])
    assert problems_of(config) == [
        "data.classes.label: 2 of 2 test examples have a label that training never saw, the first is 'cc'; did you "
        "mean 'c'? classes: a, b, c"
    ]
    listed = labels_config(tmp_path, ["a", "b", "c", "a", "b", "d", "a", "b"], classes={"label": ["a", "b", "c"]})
    assert problems_of(listed) == [
        "data.classes.label: 1 of 6 train examples have a label that data.classes does not list, the first is 'd'; "
        "classes: a, b, c"
    ]


def test_names_of_classes_that_nothing_reads_are_an_error(tmp_path: Path) -> None:
    labels = ["a", "b", "a", "a", "b", "a", "a", "b"]
    assert problems_of(labels_config(tmp_path, labels, classes={"labels": ["a", "b"]})) == [
        "data.classes.labels: no loss or metric reads a field 'labels'; did you mean 'label'? allowed: label"
    ]
    assert problems_of(labels_config(tmp_path, list("01010101"), classes={"label": ["a", "b"]})) == [
        "data.classes.label: field 'label' holds no text, so its classes have no names; leave them out, or read it as "
        "text"
    ]
    with pytest.raises(ConfigError, match=r"data.classes: 'label' has the class 'a' twice; every class has one number"):
        labels_config(tmp_path, labels, classes={"label": ["a", "b", "a"]})


def test_labels_that_differ_in_case_and_rare_classes_are_warnings(tmp_path: Path) -> None:
    labels = ["caf\u00e9", "cafe\u0301", "b"] * 3
    data = load_dataset(config := labels_config(tmp_path, labels), check(config).spec)
    assert data.warnings == (
        "classes of 'label' differ only in case, white space or encoding of letters: 'cafe\\u0301', 'caf\\xe9'; clean "
        "the labels",
    )
    labels = ["a"] * 200 + ["A ", "b"]
    config = labels_config(tmp_path, [*labels, "a", "a"], split={"train": [0, 202], "valid": None, "test": [202, 204]})
    data = load_dataset(config, check(config).spec)
    assert data.warnings == (
        "classes of 'label' differ only in case or white space: 'A ', 'a'; clean the labels",
        "classes of 'label' are unbalanced: 200 training examples of 'a', 1 of 'A '; class_weights of a loss, or more "
        "examples, balance them",
    )


PLUGIN = '''
from typing import Literal
import numpy as np
import expkit
from expkit import tf1 as tf

@expkit.register
class Largest(expkit.Preprocess):
    """Values divided by the largest of the training examples."""
    kind: Literal["largest_is_one"] = "largest_is_one"
    fits = True

    def output_spec(self, spec):
        return expkit.TensorSpec(spec.shape, "float32")

    def fit(self, values):
        return {"largest": np.float32(max(batch.max() for batch in values))}

    def apply(self, values, fitted):
        return tf.cast(values, tf.float32) / fitted["largest"]
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[None]:
    """Register the kinds of a plugin for the time of a test."""
    family = _FAMILIES["preprocess"]
    before = dict(family)
    (tmp_path / "my_steps.py").write_text(PLUGIN)
    load_plugins(["my_steps.py"], [tmp_path])
    yield
    family.clear()
    family.update(before)
    rebuild_sections()


@pytest.mark.usefixtures("plugin")
def test_a_step_of_a_plugin_is_one_class(tmp_path: Path) -> None:
    data = {
        "preprocess": {"x": [{"kind": "largest_is_one"}]},
        "source": {"kind": "npz", "path": str(tmp_path / "data.npz")},
        "split": {"train": [0, 40], "valid": [40, 50], "test": [50, 60]},
    }
    config = config_of(tmp_path, data=data)
    result = run(config, tmp_path / "run")
    assert result.frozen is not None
    found = load_dataset(config, check(config).spec)
    raw = found.raw["train"]["x"][:]
    np.testing.assert_array_equal(found.splits["train"]["x"], raw / raw.max())


def test_large_results_are_read_from_the_cache_by_index(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = photo_config(tmp_path, photos)
    spec = check(config).spec
    held = load_dataset(config, spec)
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    mapped = load_dataset(config, spec)
    assert (held.placement, mapped.placement) == ("resident", "streamed")
    for split, fields in held.splits.items():
        assert isinstance(mapped.splits[split]["image"], DiskArray)
        np.testing.assert_array_equal(mapped.splits[split]["image"][:], fields["image"])
    assert run(config, tmp_path / "run").test["test/accuracy"] == 1


def test_the_cache_has_a_limit(tmp_path: Path, photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_CACHED", 1)
    (cache / "partial-other").mkdir(parents=True)  # Another process is writing it.
    for method in ("bilinear", "nearest", "area"):
        steps = [{"kind": "decode_image"}, {"kind": "resize", "size": [8, 8], "method": method}]
        load_dataset(config := photo_config(tmp_path, photos, steps), check(config).spec)
        assert len(list(cache.iterdir())) == 1 + 1
        assert (cache / "partial-other").is_dir()
