"""Rows of a sweep: their differences, their order, the objective."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Finished
from expkit.errors import RunError
from expkit.plots.axis_scale import value_texts
from expkit.report.configurations import as_latex, as_markdown, configurations_table
from expkit.report.importance import MIN_RUNS, importance_of
from expkit.report.plots.slices import slices
from expkit.report.runs import read_sweep
from expkit.report.table import Table, as_csv, table_of
from support.sweeps_by_hand import curve, write_run, write_sweep


def test_finished_runs_come_first_the_best_on_top_and_failed_ones_are_there(tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tmp_path))
    assert (sweep.metric, sweep.objective.mode, sweep.name) == ("valid/accuracy", "max", "made sweep")
    assert [row.folder.name[0] for row in sweep.finished] == ["7", "8", "6", "5", "1", "2", "0"]
    assert [(row.folder.name[0], row.state.status) for row in sweep.unfinished] == [("3", "FAILED"), ("4", "FAILED")]
    assert sweep.best is sweep.rows[0]
    assert sweep.score(sweep.rows[0]) == pytest.approx(0.82)


def test_runs_are_labelled_by_differing_values_and_shared_ones_are_listed_once(tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tmp_path))
    assert sweep.varied == ("network.layers.first.units", "optimizer.learning_rate")
    assert list(sweep.names.values()) == ["units", "learning_rate"]
    assert sweep.constant == ("train.steps=20",)
    assert sweep.rows[0].label == "units=64, learning_rate=0.01"
    assert sweep.rows[0].command == (
        "expkit train network.layers.first.units=64 optimizer.learning_rate=0.01 train.steps=20"
    )


def test_seconds_are_those_of_the_steps(tmp_path: Path) -> None:
    write_run(tmp_path / "0_a", {}, [*curve(0.1, 0.2, rate=50.0), {"step": 20, "test/accuracy": 0.5}])
    row = read_sweep(tmp_path).rows[0]
    assert (row.seconds, row.state.step) == (pytest.approx(20 / 50), 20)
    assert row.curve("valid/accuracy/ema") == ([10, 20], [0.05, 0.1])


def test_a_metric_can_be_chosen_and_brings_its_mode(tmp_path: Path) -> None:
    points = [{"step": 1, "valid/loss": 0.5, "valid/accuracy": 0.9, "valid/far/ema": 3.0, "custom": 1.0}]
    write_run(tmp_path / "0_a", {"x": 1}, points)
    write_run(tmp_path / "1_a", {"x": 2}, [{**points[0], "valid/loss": 0.25}])
    assert read_sweep(tmp_path, "valid/loss").objective.mode == "min"
    assert [row.values["x"] for row in read_sweep(tmp_path, "valid/loss").rows] == [2, 1]
    assert [row.values["x"] for row in read_sweep(tmp_path, "valid/loss", "max").rows] == [1, 2]
    assert read_sweep(tmp_path, "valid/far/ema").objective.mode == "min"
    assert read_sweep(tmp_path, "valid/accuracy").objective.mode == "max"


def test_the_objective_of_the_sweep_comes_before_the_best_metric(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    kept = {
        "name": "mine",
        "objective": "valid/accuracy/ema",
        "mode": "min",
        "runs": {"0_made": {"label": "first", "digest": "d"}},
    }
    (tmp_path / "sweep.json").write_text(json.dumps(kept))
    sweep = read_sweep(tmp_path)
    assert (sweep.name, sweep.metric, sweep.objective.mode) == ("mine", "valid/accuracy/ema", "min")
    assert sweep.best is not None
    assert sweep.best.label == "first"


def test_an_unknown_metric_lists_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        read_sweep(write_sweep(tmp_path), "valid/acuracy")
    assert str(caught.value) == (
        "--metric: no run has a metric 'valid/acuracy'; did you mean 'valid/accuracy'? allowed: train/loss, "
        "valid/accuracy, valid/accuracy/ema"
    )


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"contains no run \(a run has config.yaml and run.json\); give the folder of a"):
        read_sweep(tmp_path)
    with pytest.raises(RunError, match="nosuch: does not exist"):
        read_sweep(tmp_path / "nosuch")


def test_one_run_and_runs_without_the_objective_are_a_sweep_too(tmp_path: Path) -> None:
    write_run(tmp_path / "0_a", {"x": 1}, curve(0.5))
    alone = read_sweep(tmp_path)
    assert (len(alone.rows), alone.varied, alone.constant) == (1, (), ("x=1",))
    write_run(tmp_path / "1_a", {"x": 2}, [{"step": 10, "train/loss": 1.0}])
    write_run(tmp_path / "2_a", {"x": 3}, [{"step": 10, "valid/accuracy": float("nan")}])
    both = read_sweep(tmp_path)
    assert [row.values["x"] for row in both.finished] == [1]
    assert [row.values["x"] for row in both.unfinished] == [2, 3]
    assert table_of(both).lines[1][0] == ""


def test_groups_and_keys_of_some_runs_only_are_labels(tmp_path: Path) -> None:
    write_run(tmp_path / "0_a", {"optimizer.kind": "sgd"}, curve(0.5))
    write_run(tmp_path / "1_a", {"optimizer.kind": "momentum", "optimizer.momentum": 0.9}, curve(0.6))
    for name, group in (("0_a", "sgd"), ("1_a", "momentum")):
        (tmp_path / name / "overrides.yaml").write_text(f"[optimizer={group}, +optimizer.momentum=0.9]")
    sweep = read_sweep(tmp_path)
    assert sweep.varied == ("optimizer",)
    assert {row.label for row in sweep.rows} == {"optimizer=sgd", "optimizer=momentum"}


def test_runs_collected_by_hand_are_labelled_by_their_configurations(tmp_path: Path) -> None:
    for name, units in (("one", 16), ("two", 32)):
        write_run(tmp_path / name, {"network.units": units}, curve(units / 100))
        (tmp_path / name / "overrides.yaml").write_text("[]")
    assert read_sweep(tmp_path).varied == ("network.units",)


def test_an_unreadable_configuration_is_reported_with_its_run(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    (tmp_path / "5_made" / "config.yaml").write_text("{")
    (row,) = (row for row in read_sweep(tmp_path).rows if row.folder.name == "5_made")
    assert str(row.state.error).startswith("its configuration cannot be read: ")


def test_the_table_has_what_differs_and_nothing_else(tmp_path: Path) -> None:
    table = table_of(read_sweep(write_sweep(tmp_path)))
    assert table.columns == (
        "", "valid/accuracy", "valid/accuracy/ema", "units", "learning_rate", "seconds", "parameters", "ended", "run",
    )  # fmt: skip
    assert table.lines[0] == ("1", "0.8200", "0.4100", "64", "0.01", "0.2", "", "finished", "7_made")
    assert table.lines[-1] == ("", "", "", "32", "0.01", "", "", "failed", "4_made")
    assert table.numeric == (True, True, True, True, True, True, True, False, False)


def test_the_csv_is_not_rounded_and_has_every_run(tmp_path: Path) -> None:
    lines = as_csv(read_sweep(write_sweep(tmp_path))).splitlines()
    assert lines[0].startswith("run,status,network.layers.first.units,optimizer.learning_rate,seconds,parameters,")
    assert lines[1].startswith("7_made,FINISHED,64,0.01,0.2,,0.5,")
    assert len(lines) == 10
    assert "the loss became nan" in lines[8]


def test_importance_finds_what_matters(tmp_path: Path) -> None:
    for number in range(16):
        a, b, word = number % 4, number // 4, "xyz"[number % 3]
        write_run(tmp_path / f"{number}_made", {"a": a, "b": 10.0**-b, "word": word}, curve(0.1 + 0.2 * a))
    found = importance_of(read_sweep(tmp_path))
    assert found is not None
    assert next(iter(found.fractions)) == "a"
    assert found.fractions["a"] > 0.9
    assert sum(found.fractions.values()) == pytest.approx(1)
    assert (found.configurations, found.explained > 0.8) == (16, True)


def test_importance_of_few_equal_or_unexplained_runs_is_not_guessed(tmp_path: Path) -> None:
    noise = [0.3, 0.9, 0.1, 0.7, 0.2, 0.8, 0.4, 0.6]
    for number in range(8):
        write_run(tmp_path / "enough" / f"{number}_made", {"a": number}, curve(0.1 * number))
        write_run(tmp_path / "noise" / f"{number}_made", {"a": number}, curve(noise[number]))
        write_run(tmp_path / "equal" / f"{number}_made", {"a": number}, curve(0.5))
    assert importance_of(read_sweep(tmp_path / "enough")) is not None
    assert importance_of(read_sweep(tmp_path / "noise")) is None
    assert importance_of(read_sweep(tmp_path / "equal")) is None
    for number in range(9 - MIN_RUNS):
        (tmp_path / "enough" / f"{number}_made" / "run.json").write_text('{"status": "KILLED"}')
    assert importance_of(read_sweep(tmp_path / "enough")) is None


def test_importance_leaves_out_seeds_and_counts_configurations(tmp_path: Path) -> None:
    for number in range(24):
        a, seed = number // 3, number % 3
        write_run(tmp_path / f"{number}_made", {"a": a, "run.seed": seed}, curve(0.1 * a + 0.3 * seed))
    found = importance_of(read_sweep(tmp_path))
    assert found is not None
    assert (list(found.fractions), found.configurations) == (["a"], 8)


def test_values_that_differ_far_behind_the_point_are_different_configurations(tmp_path: Path) -> None:
    rates = {0.00012345678: 0.9, 0.00012345679: 0.7, 0.5: 0.8}
    for number in range(6):
        rate = [*rates][number // 2]
        values = {"optimizer.learning_rate": rate, "run.seed": number % 2}
        write_run(tmp_path / f"{number}_made", values, curve(rates[rate] + 0.01 * (number % 2)))
    sweep = read_sweep(tmp_path)
    lines = configurations_table(sweep).lines
    assert [(line[0], line[1][:6], line[6]) for line in lines] == [
        ("1", "0.9050", "0.00012345678"),
        ("2", "0.8050", "0.5"),
        ("3", "0.7050", "0.00012345679"),
    ]
    assert [item.label.partition("=")[2] for item in sweep.standing.ranked] == [line[6] for line in lines]
    figure = slices(sweep, "made")
    assert figure is not None
    ring = figure.axes[0].lines[-1]
    assert (ring.get_xdata(), ring.get_ydata()) == ([0.00012345678], [pytest.approx(0.905)])


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.001, 0.01], ["0.001", "0.01"]),
        ([1.00001, 1.00002, 2], ["1.00001", "1.00002", "2"]),
        ([None, "none", True, "true"], ["None", "'none'", "True", "'true'"]),
        ([1e-5, 1e-5], ["1e-5", "1e-5"]),
    ],
)
def test_every_value_has_a_text_of_its_own(values: list[object], texts: list[str]) -> None:
    assert [*map(value_texts(values), values)] == texts


def test_seeds_are_replicates_of_a_configuration(tmp_path: Path) -> None:
    for number in range(6):
        rate, seed = (0.1, 0.01)[number % 2], number // 2
        values = {"optimizer.learning_rate": rate, "run.seed": seed}
        score = 0.5 + rate + 0.01 * seed
        failed = number == 5
        write_run(
            tmp_path / f"{number}_made",
            values,
            curve(score),
            "FAILED" if failed else "FINISHED",
            "gone" if failed else None,
        )
    sweep = read_sweep(tmp_path)
    assert (sweep.varied, list(sweep.replicates)) == (("optimizer.learning_rate",), ["run.seed"])
    assert [item.label for item, _ in sweep.configurations] == ["learning_rate=0.1", "learning_rate=0.01"]
    assert [row.folder.name for row in sweep.rows] == ["0_made", "2_made", "4_made", "1_made", "3_made", "5_made"]
    table = configurations_table(sweep)
    replicated = ("", "valid/accuracy (95 %)", "n", "sd", "median", "worst")
    assert table.columns == (*replicated, "learning_rate", "against the best", "without a value")
    assert table.lines[0][:8] == ("1", "0.6100 ± 0.0248", "3", "0.0100", "0.6100", "0.6000", "0.1", "best mean")
    assert table.lines[1][:7] == ("2", "0.5150 ± 0.0635", "2", "0.0071", "0.5150", "0.5100", "0.01")
    assert table.lines[1][8] == "seed=2 failed"
    assert as_markdown(table).splitlines()[2].startswith("| 1 | 0.6100 ± 0.0248 | 3 |")
    latex = as_latex(table).splitlines()
    assert latex[:2] == ["\\begin{tabular}{rrrrrrrll}", "\\toprule"]
    assert latex[2].startswith(" & valid/accuracy (95 \\%) & n &")
    assert latex[4].startswith("1 & 0.6100 $\\pm$ 0.0248 & 3 &")


def test_text_in_tables_cannot_leave_its_cell() -> None:
    table = Table(("a|b", "c_d"), (("x & y", "\\input{/etc/passwd} 50%\n$x^2$"),), (False, False))
    assert as_markdown(table).splitlines()[2] == "| x & y | \\\\input{/etc/passwd} 50% $x^2$ |"
    assert as_latex(table).splitlines()[4] == (
        "x \\& y & \\textbackslash{}input\\{/etc/passwd\\} 50\\% \\$x\\textasciicircum{}2\\$ \\\\"
    )


def test_a_real_sweep_tells_parameters_and_why_runs_failed(sweep: Finished) -> None:
    found = read_sweep(sweep.folder)
    assert found.varied == ("network.layers.layer1.units", "optimizer.learning_rate")
    assert sorted((row.values["network.layers.layer1.units"], row.size) for row in found.rows) == [
        (16, 1210), (16, 1210), (32, 2410), (32, 2410),
    ]  # fmt: skip
    assert [row.state.status for row in found.unfinished] == ["FAILED", "FAILED"]
    assert all("the loss became" in str(row.state.error) for row in found.unfinished)
