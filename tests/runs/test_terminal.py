"""What the terminal shows: the bar in a terminal, nothing of it elsewhere, tables, the summary."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from expkit.export.parity import Difference
from expkit.export.run import Frozen
from expkit.result import Result
from expkit.runs.terminal import Bar, metrics_table, parity_table, summary
from expkit.training.execution import Execution, ExecutionChoice
from expkit.training.loop import Trained

CHOICE = ExecutionChoice(Execution(7), "as configured")


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=160, color_system=None), text


def test_the_bar_shows_steps_loss_accuracy_and_speed_in_a_terminal() -> None:
    screen, text = console(terminal=True)
    with Bar(screen, "units=16") as bar:
        bar.start(Path("runs/a"), (0, 100), "")
        bar.advance(50, {"train/loss": 0.25, "train/accuracy": 0.5, "train/steps_per_second": 1234.5})
        bar.advance(100, {"valid/accuracy": 0.75})
    last = text.getvalue().splitlines()[-2]
    for words in ("units=16", "100/100", "loss 0.2500", "accuracy 0.5000", "1,234 steps/s"):
        assert words in last


def test_without_a_terminal_there_is_a_line_for_the_folder_and_for_each_record() -> None:
    screen, text = console(terminal=False)
    with Bar(screen, "run") as bar:
        bar.start(Path("runs/a"), (40, 1000), "resumed from step 40")
        bar.advance(50, {"train/loss": 0.25, "valid/loss": 0.5})
        bar.advance(60, {"valid/loss": 0.5})
        bar.advance(1000, {"train/loss": 0.125, "train/accuracy": 1.0})
    assert text.getvalue().splitlines() == [
        "run runs/a (resumed from step 40)",
        "step 50 of 1,000: loss 0.2500",
        "step 1,000 of 1,000: loss 0.1250 accuracy 1.0000",
    ]


def test_the_bar_of_a_resumed_run_starts_at_its_step() -> None:
    screen, text = console(terminal=True)
    with Bar(screen, "run") as bar:
        bar.start(Path("runs/a"), (40, 100), "resumed from step 40")
    assert "40/100" in text.getvalue()
    assert "run runs/a (resumed from step 40)" in text.getvalue()


def test_a_quiet_run_prints_nothing() -> None:
    text = io.StringIO()
    with Bar(Console(file=text, quiet=True), "run") as bar:
        bar.start(Path("runs/a"), (0, 100), "")
        bar.advance(50, {"train/loss": 0.25})
    assert text.getvalue() == ""


def test_the_bar_ends_also_when_training_fails() -> None:
    screen, text = console(terminal=True)
    bar = Bar(screen, "run")
    with pytest.raises(ZeroDivisionError), bar:
        bar.advance(1, {"train/loss": 1 / 0})
    assert text.getvalue().endswith("\n\x1b[?25h")  # a line of its own, and the cursor is back


def test_metrics_stand_raw_and_averaged_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    metrics_table({"test/loss": 0.5, "test/auc": 0.25, "test/loss/ema": 0.125})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["metric", "raw", "EMA"],
        ["test/loss", "0.500000", "0.125000"],
        ["test/auc", "0.250000"],
    ]


def test_without_averages_there_is_no_column_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    metrics_table({"test/loss": 0.5})
    assert capsys.readouterr().out.splitlines()[0].split() == ["metric", "raw"]


def test_parity_shows_the_largest_difference_of_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    parity_table([Difference("frozen file", 1.25e-7, 1e-5), Difference("control: raw weights", 0.5, None)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["frozen", "file", "1.25e-07", "1e-05"]
    assert lines[2].split() == ["control:", "raw", "weights", "0.5", "must", "differ"]


def test_the_summary_leaves_out_what_a_run_did_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    screen, text = console(terminal=False)
    run = tmp_path / "runs" / "[x] run"
    summary(
        screen,
        Result(
            folder=run,
            test={"test/loss": 0.5},
            trained=Trained(0.0, None, ()),
            choice=CHOICE,
            checkpoint=run / "checkpoints" / "step-1" / "model",
        ),
    )
    assert text.getvalue().splitlines() == [
        "test loss   0.5000",
        "checkpoint  runs/[x] run/checkpoints/step-1/model",
        "next        expkit evaluate runs/[x] run",
    ]


def test_the_summary_names_the_worst_difference_but_not_the_control(tmp_path: Path) -> None:
    screen, text = console(terminal=False)
    differences = [
        Difference("frozen file", 1e-7, 1e-5),
        Difference("restored graph", 2e-7, 1e-5),
        Difference("control: raw", 0.5, None),
    ]
    frozen = Frozen(
        path=tmp_path / "frozen.pb",
        weights="ema",
        step=7,
        parity=differences,
        metadata={},
        example=tmp_path / "frozen.example.npz",
    )
    test = {"test/accuracy": 0.9, "test/accuracy/ema": 0.95}
    summary(
        screen,
        Result(
            folder=tmp_path,
            test=test,
            trained=Trained(1234.0, None, ()),
            choice=CHOICE,
            checkpoint=tmp_path / "model",
            frozen=frozen,
            tracking="abc (expkit ui)",
            restored="4/6 variables from x",
        ),
    )
    rows = [line.split(maxsplit=1) for line in text.getvalue().splitlines()]
    assert rows[0] == ["test", "accuracy  0.9000   EMA 0.9500"]
    assert rows[1] == ["speed", "1,234 steps/s  (7 steps per execution: as configured)"]
    assert rows[2] == ["restored", "4/6 variables from x (restore.json)"]
    assert rows[4] == ["frozen", f"{tmp_path}/frozen.pb  (ema weights, within 2e-07 of the evaluation graph)"]
    assert rows[5] == ["MLflow", "run     abc (expkit ui)"]
