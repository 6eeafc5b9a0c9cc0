"""Comparison of two runs: differences, relevance, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Finished
from expkit.report.compare import ValuePair, compare_runs
from expkit.run_folder import RunFolder
from support.command_line import call


@pytest.fixture
def copy(digits_run: Finished, tmp_path: Path) -> RunFolder:
    """A copy of the finished run, to be changed."""
    return RunFolder(shutil.copytree(digits_run.folder, tmp_path / "copy"))


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert text.count(before) >= 1
    file.write_text(text.replace(before, after))


def test_a_run_is_the_same_as_itself_wherever_it_lies_and_however_fast_it_was(
    digits_run: Finished, copy: RunFolder
) -> None:
    change(copy.config_file, "folder: runs", "folder: elsewhere")
    lines = [{**line, "train/steps_per_second": 1.5} for line in copy.metrics()]
    copy.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = call("diff", digits_run.folder, copy.path, cwd=digits_run.cwd)
    assert (done.code, done.err) == (0, "")
    assert "configuration  the same, " in done.out
    assert "variables  the same, 4" in done.out
    assert "train/steps_per_second" in done.out


def test_what_differs_is_shown_in_its_section(digits_run: Finished, copy: RunFolder) -> None:
    change(copy.config_file, "units: 256", "units: 128")
    change(copy.config_file, "learning_rate: 0.001", "learning_rate: 0.01")
    copy.log_metrics(60, {"test/accuracy": 0.5, "new": float("nan")})
    found = compare_runs(RunFolder(digits_run.folder), copy).as_dict()
    assert found["configuration"] == {
        "network.layers.layer1.units": [256, 128],
        "optimizer.learning_rate": [0.001, 0.01],
    }
    assert found["variables"] == {
        "layer1/kernel": ["[64, 256] float32", "[64, 128] float32"],
        "layer1/bias": ["[256] float32", "[128] float32"],
        "logits/kernel": ["[256, 10] float32", "[128, 10] float32"],
    }
    assert list(found["metrics"]) == ["test/accuracy", "new"]
    assert found["metrics"]["new"] == [None, None]
    done = call("diff", digits_run.folder, copy.path, "--json", cwd=digits_run.cwd)
    assert done.code == 1
    answer = json.loads(done.out)
    assert answer == {"runs": [digits_run.folder.as_posix(), copy.path.as_posix()], "same": False, **found}


def test_variables_that_one_run_alone_has_have_no_other_side(digits_run: Finished, copy: RunFolder) -> None:
    change(copy.config_file, "    layer1:", "    first:")
    done = call("diff", digits_run.folder, copy.path, cwd=digits_run.cwd)
    assert done.code == 1
    lines = [line.split() for line in done.out.splitlines()]
    assert ["layer1/bias", "[256]", "float32", "-"] in lines
    assert ["first/bias", "-", "[256]", "float32"] in lines


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [(1, 1, True), (1, 2, False), (float("nan"), float("nan"), True), (None, 1, False), ("a", None, False)],
)
def test_pairs(first: object, second: object, same: bool) -> None:
    assert ValuePair(name="name", first=first, second=second).equal is same


def test_a_run_that_is_none_is_wrong_input(digits_run: Finished) -> None:
    done = call("diff", digits_run.folder, "nosuch", cwd=digits_run.cwd)
    assert done.code == 2
    assert done.errors[0].startswith("error: nosuch: does not exist; runs: ")
