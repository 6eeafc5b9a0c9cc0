"""The report's page and plots: complete, without external resources."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from conftest import Finished
from expkit.errors import RunError
from expkit.report.page import page
from expkit.report.plots.bands import band_of
from expkit.report.plots.cost import cost_against_score
from expkit.report.plots.curves import children_curves, panels_of
from expkit.report.plots.parallel import parallel_coordinates
from expkit.report.plots.slices import slices
from expkit.report.runs import read_sweep
from expkit.report.write import REPORT, draw_report
from expkit.sweeps.objective import Mode
from support.command_line import call
from support.sweeps_by_hand import curve, write_run, write_sweep

PICTURES = {"parallel_coordinates.png", "slices.png", "importance.png", "learning_curves.png", "cost.png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep made by hand, and its report."""
    folder = write_sweep(tmp_path_factory.mktemp("sweep"))
    written = draw_report(read_sweep(folder), folder / REPORT)
    assert written[0] == folder / "report" / "report.html"
    assert {file.name for file in written} == {"report.html", "table.csv", *PICTURES}
    return folder


def test_pictures_are_there(folder: Path) -> None:
    for name in PICTURES:
        content = (folder / "report" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert 8_000 < len(content) < 300_000, name


def test_the_page_needs_nothing_from_elsewhere(folder: Path) -> None:
    text = (folder / "report" / "report.html").read_text()
    assert re.findall(r"https?:|<script|<link|@import|url\(", text) == []
    sources = re.findall(r'src="([^"]{,30})', text)
    assert sources == ["data:image/png;base64,iVBORw0K"] * 5


def test_the_page_holds_every_run_and_escapes_what_they_say(folder: Path) -> None:
    text = (folder / "report" / "report.html").read_text()
    assert text.count("<tr") == 10
    assert "<b>0.82</b> units=64, learning_rate=0.01" in text
    assert "failed: train: the loss became nan &lt;b&gt;at&lt;/b&gt; once" in text
    assert "<b>at</b>" not in text
    assert "Shared by all runs: <code>train.steps=20</code>" in text


def test_names_are_escaped(tmp_path: Path) -> None:
    write_run(tmp_path / "0_a", {"x": "<script>alert(1)</script>"}, curve(0.5))
    write_run(tmp_path / "1_a", {"x": "b & c"}, curve(0.6))
    text = page(read_sweep(tmp_path), {}, {"cost": "a < b"})
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "b &amp; c" in text
    assert "a &lt; b" in text


def test_parallel_coordinates_have_a_line_a_run(folder: Path) -> None:
    sweep = read_sweep(folder)
    figure = parallel_coordinates(sweep, "mine")
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    assert len(lines) == 9
    assert [line.get_linestyle() for line in lines].count(":") == 2
    ends = sorted(float(np.asarray(line.get_ydata())[-1]) for line in lines)
    scores = sorted(sweep.score(row) for row in sweep.finished)
    np.testing.assert_allclose(ends[2:], (np.array(scores) - scores[0]) / (scores[-1] - scores[0]))
    assert ends[1] < 0  # those that failed end below the axis
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert {"units", "learning_rate", "valid/accuracy", "0.001", "16", "not finished"} <= set(shown)


def test_slices_show_the_objective_of_every_run_and_mark_failed_ones(folder: Path) -> None:
    sweep = read_sweep(folder)
    figure = slices(sweep, "mine")
    assert figure is not None
    units, rate = figure.axes
    assert (units.get_xlabel(), rate.get_xlabel(), units.get_ylabel()) == ("units", "learning_rate", "valid/accuracy")
    assert (units.get_xscale(), rate.get_xscale()) == ("log", "log")
    points = next(line for line in rate.lines if line.get_marker() == "o" and line.get_markersize() == 5)
    expected = [[row.values["optimizer.learning_rate"], sweep.score(row)] for row in sweep.finished]
    assert np.asarray(points.get_xydata()).tolist() == expected
    crosses = next(line for line in rate.lines if line.get_marker() == "x")
    assert np.asarray(crosses.get_xdata()).tolist() == [0.1, 0.01]


def test_words_are_positions_on_the_axis(tmp_path: Path) -> None:
    for number, word in enumerate(["adam", "sgd", "adam"]):
        write_run(tmp_path / f"{number}_a", {"optimizer.kind": word, "x": number}, curve(0.5 + number / 10))
    figure = slices(read_sweep(tmp_path), "mine")
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["adam", "sgd"]


def test_curves_of_all_runs_are_raw_solid_ema_dashed_failed_dotted(folder: Path) -> None:
    sweep = read_sweep(folder)
    assert panels_of(sweep) == ["valid/accuracy", "train/loss"]
    figure = children_curves(sweep, "mine")
    assert figure is not None
    looks = [line.get_linestyle() for line in figure.axes[0].lines if line.get_marker() != "x"]
    assert {look: looks.count(look) for look in ["-", "--", ":"]} == {"-": 7, "--": 7, ":": 2}
    best = max(figure.axes[0].lines, key=lambda line: line.get_linewidth())
    assert best.get_linewidth() > 2


def test_bands_are_drawn_where_all_runs_are_finite(tmp_path: Path) -> None:
    for seed, scores in enumerate([(0.1, 0.2, 0.4), (float("nan"), float("inf"), 0.6)]):
        write_run(tmp_path / f"{seed}_a", {"run.seed": seed}, curve(*scores))
    assert [(step, mean) for step, mean, _, _ in band_of(read_sweep(tmp_path).rows, "valid/accuracy")] == [(30, 0.5)]


def test_few_runs_have_their_names_in_the_picture(tmp_path: Path) -> None:
    for number in range(3):
        write_run(tmp_path / f"{number}_a", {"x": number}, curve(0.5, 0.6 + number / 10))
    figure = children_curves(read_sweep(tmp_path), "mine")
    assert figure is not None
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["x=2  (0.8)", "x=1  (0.7)", "x=0  (0.6)"]


def test_an_objective_of_the_test_part_shows_the_curve_of_the_validation_part(tmp_path: Path) -> None:
    write_run(tmp_path / "0_a", {"x": 1}, [*curve(0.5, 0.6), {"step": 20, "test/accuracy": 0.7}])
    assert panels_of(read_sweep(tmp_path, "test/accuracy")) == ["valid/accuracy", "train/loss"]


@pytest.mark.parametrize(("mode", "expected"), [("max", [(1, 0.5), (3, 0.9)]), ("min", [(1, 0.5), (2, 0.4)])])
def test_the_pareto_front_joins_cheaper_and_better_runs(
    tmp_path: Path, mode: Mode, expected: list[tuple[float, float]]
) -> None:
    for number, (cost, score) in enumerate([(1, 0.5), (2, 0.4), (3, 0.9), (3, 0.8), (4, 0.9)]):
        write_run(tmp_path / f"{number}_a", {"x": number}, curve(score, rate=10 / cost))
    figure = cost_against_score(read_sweep(tmp_path, "valid/accuracy", mode), "mine")
    assert figure is not None
    front = next(line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post")
    np.testing.assert_allclose(front.get_xydata(), expected)


def test_cost_is_seconds_and_parameters_where_they_differ(folder: Path, sweep: Finished) -> None:
    made = cost_against_score(read_sweep(folder), "mine")
    real = cost_against_score(read_sweep(sweep.folder), "mine")
    assert made is not None
    assert real is not None
    assert [axes.get_xlabel() for axes in made.axes] == ["seconds of training steps"]
    assert [axes.get_xlabel() for axes in real.axes] == ["seconds of training steps", "parameters of the network"]


def test_a_sweep_where_nothing_finished_has_a_report_all_the_same(tmp_path: Path) -> None:
    write_run(tmp_path / "0_a", {"x": 1}, [], "FAILED", "gone")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "slices.png").write_text("of a report before")
    assert {file.name for file in draw_report(read_sweep(tmp_path), tmp_path / REPORT)} == {"report.html", "table.csv"}
    text = (tmp_path / "report" / "report.html").read_text()
    assert "No run has finished with this metric." in text
    assert "Needs 5 configurations with different scores" in text
    assert not (tmp_path / "report" / "slices.png").exists()


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (write_sweep(tmp_path) / "report").write_text("a file")
    with pytest.raises(RunError, match=r"^report: cannot write .*/report \("):
        draw_report(read_sweep(tmp_path), tmp_path / REPORT)


def test_the_verb_prints_the_table_and_says_where_the_page_is(sweep: Finished) -> None:
    done = call("report", sweep.folder, cwd=sweep.cwd)
    assert (done.code, done.err) == (0, "")
    assert "units" in done.out
    assert re.search(r"^failed units=16, learning_rate=1e\+?30: train: the loss became", done.out, re.MULTILINE)
    assert f"wrote {sweep.folder / 'report' / 'report.html'} and 5 files beside it" in done.out
    worst = call("report", sweep.folder, "--metric", "valid/loss", "--mode", "max", cwd=sweep.cwd)
    assert worst.code == 0


def test_the_verb_finds_a_sweep_by_an_mlflow_run(sweep: Finished) -> None:
    from expkit.run_folder import RunFolder

    child = next(sweep.folder.glob("0_*"))
    done = call("report", RunFolder(child).state()["mlflow_run_id"], cwd=sweep.cwd)
    assert (done.code, done.err) == (0, "")


def test_a_report_is_uploaded_to_the_run_of_the_sweep_on_request(sweep: Finished, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    done = call("report", sweep.folder, "--metric", "valid/loss", "--log", cwd=sweep.cwd)
    assert (done.code, done.err) == (0, "")
    run_id = json.loads((sweep.folder / "sweep.json").read_text())["mlflow_run_id"]
    assert done.out.splitlines()[-1] == f"{sweep.folder}: MLflow run {run_id}: uploaded 1 records"
    client = MlflowClient(f"sqlite:///{sweep.cwd.resolve() / 'runs' / 'mlflow.db'}")
    copy = Path(client.download_artifacts(run_id, "report/report.html", str(tmp_path)))
    assert "objective <b>valid/loss</b>, smaller is better" in copy.read_text()
    write_sweep(tmp_path / "untracked")
    assert call("report", tmp_path / "untracked", "--log", cwd=tmp_path).errors == [
        f"error: --log: {tmp_path / 'untracked'} is not a sweep recorded in MLflow; omit --log"
    ]


def test_wrong_input_of_the_verb_is_one_message(sweep: Finished, tmp_path: Path) -> None:
    done = call("report", "nosuch", cwd=sweep.cwd)
    assert done.code == 2
    assert done.errors[0].startswith("error: nosuch: does not exist; sweeps: runs/multirun/")
    assert call("report", "0" * 32, cwd=sweep.cwd).errors[0].startswith(f"error: {'0' * 32}: no sweep of this MLflow")
    (tmp_path / "file").write_text("")
    assert call("report", "file", cwd=tmp_path).errors == ["error: file: is a file; give the folder of a sweep"]
    done = call("report", sweep.folder, "--metric", "accuracy", cwd=sweep.cwd)
    assert (done.code, done.errors[0].split(";")[0]) == (2, "error: --metric: no run has a metric 'accuracy'")
