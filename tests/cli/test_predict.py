"""The verbs on frozen graphs: ``predict`` and ``info``."""

from __future__ import annotations

import csv
import json
import os
import weakref
from pathlib import Path

import numpy as np
import pytest

from conftest import Finished
from expkit.cli.predictions import Labels, Shown, writing
from expkit.errors import DataError
from expkit.export.freeze import read_frozen
from expkit.export.output_file import writing_arrays
from support.command_line import call


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    image = draw.integers(0, 17, size=(5, 64)).astype(np.float32)
    np.savez(folder / "good.npz", image=image)
    np.savez(folder / "missing.npz", picture=image)
    np.savez(folder / "extra.npz", image=image, weight=np.arange(5))
    np.savez(folder / "shape.npz", image=image.reshape(5, 8, 8))
    np.savez(folder / "dtype.npz", image=image.astype(np.complex64))
    np.save(folder / "one.npy", image)
    os.mkfifo(folder / "fifo.npz")
    np.savez(folder / "objects.npz", image=np.array([{}, {}], dtype=object))
    (folder / "text.npz").write_text("no archive")
    (folder / "cut.npz").write_bytes((folder / "good.npz").read_bytes()[:200])
    (folder / "empty.pb").write_bytes(b"")
    return folder


def test_predict_computes_what_the_frozen_graph_gives(digits_run: Finished, images: Path, tmp_path: Path) -> None:
    done = call("predict", digits_run.folder, images / "good.npz", "--output", "out.npz", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    with np.load(images / "good.npz") as inputs:
        expected = read_frozen(digits_run.folder / "frozen.pb").predict(dict(inputs))
    with np.load(tmp_path / "out.npz") as written:
        assert written.files == ["logits"]
        np.testing.assert_array_equal(written["logits"], expected["logits"])
    lines = done.out.splitlines()
    assert lines[0] == "logits float32 [5, 10]"
    assert lines[-2:] == [f"logits largest at {expected['logits'].argmax(axis=1)}", "written to out.npz"]


def test_predict_reads_a_file_as_it_reads_its_run(digits_run: Finished, images: Path, tmp_path: Path) -> None:
    of_run = call("predict", digits_run.folder, images / "good.npz", cwd=tmp_path)
    of_file = call("predict", digits_run.folder / "frozen.pb", images / "good.npz", cwd=tmp_path)
    assert of_run == of_file
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("nosuch.npz", ["{}: no such file; give a .npz file with one array per input"]),
        ("one.npy", ["{}: a .npy file: its array has no name; give a .npz file with one array per input"]),
        ("fifo.npz", ["{}: not a regular file; give a .npz file with one array per input"]),
        ("text.npz", ["{}: not a readable .npz file: "]),
        ("cut.npz", ["{}: not a readable .npz file: "]),
        (
            "objects.npz",
            ["{}: not a readable .npz file: array 'image.npy' holds pickled Python objects"],
        ),
        (
            "missing.npz",
            ["input image: missing; arrays given: picture", "input picture: unknown; the graph reads: image"],
        ),
        ("extra.npz", ["input weight: unknown; the graph reads: image"]),
        ("shape.npz", ["input image: the graph reads shape [?, 64], got [5, 8, 8]"]),
        ("dtype.npz", ["input image: the graph reads float32, got complex64"]),
    ],
)
def test_arrays_that_do_not_fit(file: str, said: list[str], digits_run: Finished, images: Path, tmp_path: Path) -> None:
    done = call("predict", digits_run.folder, images / file, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert len(done.errors) == len(said)
    for line, words in zip(done.errors, said, strict=True):
        assert line.startswith(f"error: {words.replace('{}', str(images / file))}")


@pytest.mark.parametrize("verb", ["predict", "info"])
@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("nosuch.pb", "no such file; `expkit freeze RUN` writes the frozen graph of a run"),
        ("good.npz", "a file of variables, not a graph; `expkit checkpoint show "),
        ("empty.pb", "not a graph of TensorFlow: it has no operations"),
    ],
)
def test_files_that_are_no_frozen_graph(verb: str, file: str, said: str, images: Path, tmp_path: Path) -> None:
    inputs = [images / "good.npz"] if verb == "predict" else []
    done = call(verb, images / file, *inputs, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    (line,) = done.errors
    assert line.startswith(f"error: {images / file}: {said}")


def test_a_run_without_a_frozen_graph_says_how_to_make_one(images: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    done = call("predict", "run", images / "good.npz", cwd=tmp_path)
    assert done.code == 2
    assert done.errors == ["error: run/frozen.pb: no such file; `expkit freeze RUN` writes the frozen graph of a run"]


def test_outputs_that_cannot_be_written_are_named(digits_run: Finished, images: Path, tmp_path: Path) -> None:
    done = call("predict", digits_run.folder, images / "good.npz", "--output", "no/out.npz", cwd=tmp_path)
    assert (done.code, done.errors) == (2, ["error: --output: cannot write no/out.npz (No such file or directory)"])


def test_info_says_what_a_frozen_graph_is(digits_run: Finished, tmp_path: Path) -> None:
    done = call("info", digits_run.folder / "frozen.pb", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    state = json.loads((digits_run.folder / "run.json").read_text())
    assert lines[:4] == ["name: digits_mlp", "weights: ema", "step: 60", f"config_sha256: {state['digest']}"]
    assert f"mlflow_run_id: {state['mlflow_run_id']}" in lines
    assert lines[lines.index("inputs:") + 1] == "  image: image:0 float32 [batch, 64]"
    assert lines[lines.index("outputs:") + 1] == "  logits: logits:0 float32 [batch, 10]"
    assert lines[-4] == f"bytes: {(digits_run.folder / 'frozen.pb').stat().st_size}"
    assert lines[-3].startswith("fitted (")
    assert [line.split()[:3] for line in lines[-2:]] == [
        ["image:", "standardize", "mean"],
        ["image:", "standardize", "spread"],
    ]


def test_info_as_json_says_the_same(digits_run: Finished, tmp_path: Path) -> None:
    done = call("info", "--json", digits_run.folder / "frozen.pb", cwd=tmp_path)
    content = json.loads(done.out)
    assert (content["name"], content["weights"], content["step"]) == ("digits_mlp", "ema", 60)
    assert content["inputs"] == {"image": {"tensor": "image:0", "dtype": "float32", "shape": [None, 64]}}
    assert content["operations"] == len(read_frozen(digits_run.folder / "frozen.pb").graph_def.node)
    assert {"python", "tensorflow", "numpy"} <= set(content["versions"])


@pytest.fixture(scope="module")
def many(images: Path) -> Path:
    """Return a file of more examples than a batch holds."""
    image = np.random.default_rng(1).integers(0, 17, size=(2500, 64)).astype(np.float32)
    np.savez(images / "many.npz", image=image)
    return images / "many.npz"


def test_files_of_outputs_hold_what_the_graph_gives_in_all_batches(
    digits_run: Finished, many: Path, tmp_path: Path
) -> None:
    with np.load(many) as inputs:
        expected = read_frozen(digits_run.folder / "frozen.pb").predict(dict(inputs))["logits"]
    for ending in ("npz", "csv", "json", "jsonl"):
        done = call("predict", digits_run.folder, many, "--output", f"out.{ending}", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        lines = done.out.splitlines()
        assert (lines[0], lines[-2]) == (
            "logits float32 [2500, 10]",
            "... and 2,480 more; --output FILE.csv writes all",
        )
    with np.load(tmp_path / "out.npz", allow_pickle=False) as written:
        np.testing.assert_array_equal(written["logits"], expected)
    names = ["example", *(f"logits/{place}" for place in range(10))]
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    objects = json.loads((tmp_path / "out.json").read_text())
    assert objects == [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for table in (rows, objects):
        assert [*table[0]] == names
        values = np.array([[float(row[name]) for name in names] for row in table])
        np.testing.assert_array_equal(values, np.column_stack([np.arange(2500), expected]))
    assert len(list(tmp_path.iterdir())) == 4


def test_outputs_are_written_batch_by_batch(tmp_path: Path) -> None:
    """Nothing of an earlier batch is in memory when a later one arrives: its arrays are freed."""
    for ending in ("npz", "csv", "json", "jsonl"):
        shown = Shown(labels := Labels({"kind": ["a", "b"]}, None))
        with writing(tmp_path / f"out.{ending}", labels) as write:
            for _ in range(50):
                batch = np.ones((100, 2), np.float32)
                alive = weakref.ref(batch)
                for take in (shown.add, write):
                    take({"kind": batch})
                del batch
                assert alive() is None
        assert "... and 4,980 more; --output FILE.csv writes all" in list(shown.lines())
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5000


def test_an_example_whose_outputs_are_nan_has_no_class_and_is_reported(tmp_path: Path) -> None:
    shown = Shown(labels := Labels({"kind": ["a", "b"]}, None))
    with writing(tmp_path / "out.csv", labels) as write:
        for take in (shown.add, write):
            take({"kind": np.array([[2, 1], [np.nan, np.nan], [0, 3]])})
    assert [line.split() for line in shown.lines()][1:] == [
        ["0", "a", "0.7311"],
        ["1", "-", "nan"],
        ["2", "b", "0.9526"],
    ]
    assert list(shown.notes()) == [
        "'kind' is NaN for 1 of 3 examples, the first is 1; is a value missing that data.preprocess does not impute?"
    ]
    assert (tmp_path / "out.csv").read_text().splitlines()[2] == "1,,nan,nan"


def test_strings_of_any_length_come_back_from_a_file(tmp_path: Path) -> None:
    def strings(*values: bytes) -> dict[str, np.ndarray]:
        return {"word": np.array([*values, None], object)[:-1]}

    with writing_arrays(tmp_path / "a.npz") as write:
        write(strings(b"a", b""))
        write(strings(b"longer", b"\xff"))
    with writing_arrays(tmp_path / "b.npz") as write:
        write(strings(b"ab"))
        write(strings(b"a\0"))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert found["word"].tolist() == [b"a", b"", b"longer", b"\xff"]
    with np.load(tmp_path / "b.npz", allow_pickle=False) as found:
        assert [bytes(value) for value in found["word"]] == [b"ab", b"a\0"]


@pytest.mark.parametrize("ending", ["npz", "csv", "json", "jsonl"])
def test_a_failure_halfway_leaves_the_old_file_alone(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"out.{ending}"
    file.write_text("old")

    def interrupted() -> None:
        with writing(file, Labels({}, None)) as write:
            write({"out": np.ones((3, 2))})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_what_json_and_tables_cannot_hold(tmp_path: Path) -> None:
    with writing(tmp_path / "out.json", Labels({}, None)) as write:
        write({"out": np.array([1.5, np.nan, np.inf])})
    assert [row["out"] for row in json.loads((tmp_path / "out.json").read_text())] == [1.5, None, None]
    with writing(tmp_path / "none.json", Labels({}, None)):
        pass
    assert json.loads((tmp_path / "none.json").read_text()) == []
    for array in (np.ones((2, 2, 2)), np.float32(1)):
        with writing(tmp_path / "kept.csv", Labels({}, None)) as write:
            with pytest.raises(DataError, match=r"output 'out' has the shape \[.*\]; write it as .npz"):
                write({"out": np.asarray(array)})
