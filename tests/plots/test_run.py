"""Plots of a run: their content, their files."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import Finished
from expkit.evaluation import evaluate
from expkit.experiment import Experiment
from expkit.plots.axis_scale import is_logarithmic, number_text
from expkit.plots.confusion import MAX_CLASSES, confusion_matrix, matrix_of
from expkit.plots.curves import Line, learning_curves, learning_rate, lines_of
from expkit.plots.data import Histogram, PlotData
from expkit.plots.head import Head, HeadCounter
from expkit.plots.misclassified import image_of, worst_mistakes
from expkit.plots.run import draw_run
from expkit.plots.weights import weight_histograms
from expkit.report.page import page
from expkit.report.runs import read_sweep
from expkit.run_folder import RunFolder

POINTS = [
    {"step": 10, "train/loss": 2.0, "train/learning_rate": 0.1, "train/steps_per_second": 9.0},
    {"step": 20, "train/loss": 1.0, "train/learning_rate": 0.001, "valid/loss": 1.5, "valid/loss/ema": 1.25},
    {"step": 20, "test/loss": 1.0, "test/accuracy": 0.5},
]
PNG = b"\x89PNG\r\n\x1a\n"


def head(classes: int, pairs: list[list[int]], **more: object) -> Head:
    worst = [[n, a, b] for n, (a, b, _) in enumerate(pairs) if a != b]
    arrays = {"pairs": np.array(pairs), "worst": np.array(worst), "certainty": np.full(len(worst), 0.75)}
    return Head(classes=classes, **arrays, **more)


def test_lines_differ_by_split_metric_and_ema() -> None:
    assert lines_of(POINTS) == [
        Line(split="train", metric="loss", ema=False, steps=(10, 20), values=(2.0, 1.0)),
        Line(split="valid", metric="loss", ema=False, steps=(20,), values=(1.5,)),
        Line(split="valid", metric="loss", ema=True, steps=(20,), values=(1.25,)),
        Line(split="test", metric="loss", ema=False, steps=(20,), values=(1.0,)),
        Line(split="test", metric="accuracy", ema=False, steps=(20,), values=(0.5,)),
    ]


def test_curves_have_a_panel_a_metric_and_ema_is_dashed() -> None:
    points = [{"step": s, "train/loss": 1 / s, "valid/loss": 2 / s, "valid/loss/ema": 3 / s} for s in range(1, 90)]
    figure = learning_curves(points, "a run")
    assert figure is not None
    (axes,) = figure.axes
    assert (axes.get_ylabel(), axes.get_xlabel(), axes.get_yscale()) == ("loss", "step", "log")
    assert [(line.get_label(), line.get_linestyle()) for line in axes.lines] == [
        ("train", "-"),
        ("valid", "-"),
        ("valid, EMA", "--"),
    ]
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [3 / s for s in range(1, 90)])
    assert "a run" in [text.get_text() for text in figure.texts]


def test_the_learning_rate_is_logarithmic_where_it_falls_far() -> None:
    figure = learning_rate(POINTS, "a run")
    assert figure is not None
    assert np.asarray(figure.axes[0].lines[0].get_xydata()).tolist() == [[10, 0.1], [20, 0.001]]
    assert figure.axes[0].get_yscale() == "log"
    assert learning_rate([{"step": 1, "test/loss": 1.0}], "a run") is None


def test_the_learning_rate_of_every_phase_has_a_line() -> None:
    points = [{"step": step, "train/learning_rate/d": 0.1, "train/learning_rate/g": 0.2 / step} for step in (1, 2)]
    figure = learning_rate(points, "a run")
    assert figure is not None
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines == {"d": [0.1, 0.1], "g": [0.2, 0.1]}
    assert lines_of(points) == []
    assert learning_curves([], "a run") is None


def test_a_confusion_matrix_holds_its_numbers() -> None:
    figure = confusion_matrix(head(3, [[0, 0, 7], [0, 2, 2], [1, 1, 1234], [2, 2, 5]]), "a run", "said")
    (axes,) = figure.axes
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares, [[7 / 9, 0, 2 / 9], [0, 1, 0], [0, 0, 1]])
    assert [text.get_text() for text in axes.texts] == ["7", "2", "1,234", "5"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")


def test_of_very_many_classes_the_most_confused_are_shown() -> None:
    pairs = [[n, n, 5] for n in range(1000)] + [[n, 999, n] for n in range(900, 999)]
    classes, matrix = matrix_of(head(1000, pairs))
    assert classes == list(range(1000 - MAX_CLASSES, 1000))
    assert matrix[0].tolist() == [5, *[0] * (MAX_CLASSES - 2), 1000 - MAX_CLASSES]
    said = [text.get_text() for text in confusion_matrix(head(1000, pairs), "a", "said").texts]
    assert "the 40 of 1000 classes most often" in " ".join(said)


def test_images_are_stretched_together_and_bytes_are_not() -> None:
    images = np.array([0, 4, 8, 16], np.float32).reshape(2, 1, 2, 1)
    assert image_of(images, 0)[0, :, 0].tolist() == [0, 0.25]
    assert image_of(images, 1)[0].tolist() == [[0.5] * 3, [1.0] * 3]
    colors = np.array([[[[255, 0, 51, 9]]]], np.uint8)
    assert image_of(colors, 0).tolist() == [[[1.0, 0.0, 0.2]]]


def test_errors_show_every_image_of_the_example_with_both_classes() -> None:
    images = {"left": np.zeros((2, 4, 4, 1)), "right": np.ones((2, 6, 5, 3))}
    figure = worst_mistakes(head(3, [[0, 1, 1], [2, 0, 1]], images=images), "a run", "said")
    assert figure is not None
    (axes,) = figure.axes
    assert [np.asarray(image.get_array()).shape for image in axes.images] == [(6, 10, 3)] * 2
    assert [text.get_text() for text in axes.texts] == ["0 taken for 1\n75%, no. 0", "2 taken for 0\n75%, no. 1"]
    assert worst_mistakes(head(3, [[0, 1, 1]]), "a run", "said") is None


def test_histograms_are_shares_and_say_where_nothing_is_finite() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    shown = {
        "layer/kernel": Histogram(edges, {"raw": np.array([3, 1]), "ema": np.array([4, 0])}),
        "layer/bias": Histogram(edges, {"raw": np.array([0, 0])}),
    }
    figure = weight_histograms(shown, "a run", "said")
    assert figure is not None
    kernel, bias = figure.axes
    assert [patch.get_data().values.tolist() for patch in kernel.patches] == [[0.75, 0.25], [1, 0]]
    assert [text.get_text() for text in bias.texts] == ["no finite value"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.001, "0.001"),
        (0.1 + 0.2, "0.3"),
        (1e-5, "1e-5"),
        (2500.0, "2,500"),
        (0.98333, "0.9833"),
        (3e36, "3e36"),
        (-0.00012345, "-0.000123"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_written_short(value: float, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.01, 0.001], True),
        ([16, 32, 64, 128], True),
        ([16, 32, 48], False),
        ([1, 40], True),
        ([0.01, 0.2, 0.5, 0.7, 0.99], False),
        ([0, 1, 1000], False),
        ([5, 5], False),
        ([1, 2], False),
    ],
)
def test_when_an_axis_is_logarithmic(values: list[float], expected: bool) -> None:
    assert is_logarithmic(values) is expected


def test_a_finished_run_has_all_its_pictures(digits_run: Finished) -> None:
    folder = RunFolder(digits_run.folder)
    names = [
        "confusion_matrix.png",
        "examples.png",
        "learning_curves.png",
        "learning_rate.png",
        "weights.png",
        "worst_mistakes.png",
    ]
    assert sorted(file.name for file in folder.plots.iterdir()) == sorted(
        [*names, "classes.csv", "evidence.npz", "examples.npz", "network.svg"]
    )
    for name in names:
        content = (folder.plots / name).read_bytes()
        assert content.startswith(PNG)
        assert 5_000 < len(content) < 300_000, name
    assert "layer1" in (folder.plots / "network.svg").read_text()


def test_the_table_of_classes_has_the_numbers_of_evaluate(digits_run: Finished) -> None:
    (table,) = evaluate(Experiment.open(RunFolder(digits_run.folder))).classes["test"]
    text = (digits_run.folder / "plots/classes.csv").read_text()
    head, *lines = csv.reader(io.StringIO(text))
    assert head == ["class", "precision EMA", "recall EMA", "F1 EMA", "support"]
    assert [line[0] for line in lines] == list(table.names)
    np.testing.assert_allclose([[*map(float, line[1:4])] for line in lines], table.values["ema"], rtol=1e-12)
    assert [int(line[4]) for line in lines] == table.support.tolist()
    sweep = read_sweep(digits_run.folder)
    shown = page(sweep, {}, {})
    assert "<h2>Classes</h2>" in shown
    assert f'<p class="m">logits, {table.support.sum()} test examples (EMA weights of step 60)</p>' in shown
    precision, recall, f1 = table.values["ema"][3]
    assert (
        f"<tr><td>3</td><td class=n>{precision:.4f}</td><td class=n>{recall:.4f}</td><td class=n>{f1:.4f}</td>"
        f"<td class=n>{table.support[3]}</td></tr>"
    ) in shown


def counted(logits: np.ndarray, labels: np.ndarray, size: int = 1000) -> Head:
    counter = HeadCounter()
    for start in range(0, len(labels), size):
        counter.add(logits[start : start + size], labels[start : start + size])
    return counter.head({})


def test_one_logit_and_one_hot_labels_have_the_classes_that_accuracy_compares() -> None:
    logits = np.array([[2.0], [-1.0], [0.0], [3.0]])
    binary = counted(logits, np.array([1.0, 1.0, 0.0, 0.0]))
    assert (binary.classes, binary.pairs.tolist()) == (2, [[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    rows = counted(np.eye(3), np.eye(3)[[0, 2, 2]])
    assert (rows.classes, rows.pairs.tolist()) == (3, [[0, 0, 1], [2, 1, 1], [2, 2, 1]])


@pytest.mark.parametrize("right", [False, True])
def test_all_examples_are_counted_and_the_worst_found_whatever_the_size_of_batches(right: bool) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(12_345, 4)).round(1)  # Many are equal: of those the first come first.
    labels = logits.argmax(axis=1) if right else draw.integers(0, 4, 12_345)
    whole, batches = counted(logits, labels, 12_345), counted(logits, labels, 100)
    assert whole.examples == 12_345
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (labels, logits.argmax(axis=1)), 1)
    for head in (whole, batches):
        assert [n for *_, n in head.pairs.tolist()] == expected[expected > 0].tolist()
        np.testing.assert_array_equal(head.worst, whole.worst)
        np.testing.assert_array_equal(head.certainty, whole.certainty)
    true = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(12_345), labels]
    shown = np.flatnonzero((logits.argmax(axis=1) == labels) == right)
    np.testing.assert_allclose(true[whole.worst[:, 0]], np.sort(true[shown])[:24])


def test_a_run_whose_data_of_plots_is_damaged_has_a_report(digits_run: Finished, tmp_path: Path) -> None:
    copy = shutil.copytree(digits_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    (copy / "plots/evidence.npz").write_bytes(b"PK nothing")
    assert "evidence.npz: not readable: " in page(read_sweep(copy), {}, {})


def test_equal_data_gives_equal_pictures(digits_run: Finished, tmp_path: Path) -> None:
    copy = shutil.copytree(digits_run.folder, tmp_path / "run")
    for file in (copy / "plots").glob("*.png"):
        file.unlink()
    for file in draw_run(copy):
        assert file.read_bytes() == (digits_run.folder / "plots" / file.name).read_bytes()


def test_a_run_that_failed_early_shows_what_there_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.update(name="broken", status="FAILED")
    assert draw_run(tmp_path) == []
    folder.log_metrics(10, {"train/loss": float("inf"), "train/accuracy": 0.1})
    folder.log_metrics(20, {"train/loss": float("nan"), "train/accuracy": 0.1})
    assert [file.name for file in draw_run(tmp_path)] == ["learning_curves.png"]


def test_names_of_classes_stand_in_the_matrix_and_in_the_file(tmp_path: Path) -> None:
    pairs = np.array([[0, 0, 3], [0, 1, 1], [1, 1, 2]])
    named = Head(
        classes=2, pairs=pairs, worst=np.array([[4, 0, 1]]), certainty=np.array([0.9]), names=("cat", "a dog " * 9)
    )
    ticks = confusion_matrix(named, "title", "caption").axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["cat", "a dog a dog a dog…"]
    assert [named.name_of(number) for number in (0, 2)] == ["cat", "2"]
    data = PlotData(step=1, weights="raw", variables=0, heads={"logits": named}, histograms={})
    data.save(tmp_path / "evidence.npz")
    assert PlotData.load(tmp_path / "evidence.npz").heads["logits"].names == named.names
