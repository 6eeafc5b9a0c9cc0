"""The verb ``checkpoint``: its tables, the files that it writes, and its errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Finished
from support.command_line import Done, call
from support.experiments import checkpoint_values, write_checkpoint

W = np.arange(6, dtype=np.float32).reshape(2, 3)
EMA = "/ExponentialMovingAverage"
TRAINED: dict[str, Any] = {
    "a/w": W,
    "a/w/Adam": W + 10,
    f"a/w{EMA}": W + 20,
    "b/moving_mean": np.float32([1, 2]),
    "b/w": W + 30,
    "b/w/Adam": W + 40,
    "global_step": np.int64(7),
}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Return the working folder, with a checkpoint ``old``."""
    write_checkpoint(tmp_path / "old", TRAINED)
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def done(cwd: Path, *words: str | Path) -> str:
    """Return what the verb prints when all is well."""
    result = call("checkpoint", *words, cwd=cwd)
    assert (result.code, result.err) == (0, "")
    return result.out


def same(found: dict[str, np.ndarray], wanted: dict[str, Any]) -> None:
    assert sorted(found) == sorted(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_dry_run_prints_the_same_table_and_writes_nothing(trained: Path) -> None:
    words = ("rename", "old", "new", "a/w", "b/w", "b/w", "a/w")
    before = files(trained)
    dry = done(trained, *words, "--dry-run")
    assert files(trained) == before
    assert dry == (
        "from                          to\n"
        "a/w                           b/w\n"
        "a/w/Adam                      b/w/Adam\n"
        "a/w/ExponentialMovingAverage  b/w/ExponentialMovingAverage\n"
        "b/w                           a/w\n"
        "b/w/Adam                      a/w/Adam\n"
        "2 of 7 names unchanged\n"
        "would write new: 7 variables\n"
    )
    assert done(trained, *words) == dry.replace("would write", "wrote")
    found = checkpoint_values(trained / "new")
    same(found, {
        "a/w": W + 30, "a/w/Adam": W + 40, "b/w": W, "b/w/Adam": W + 10, f"b/w{EMA}": W + 20,
        "b/moving_mean": TRAINED["b/moving_mean"], "global_step": 7,
    })  # fmt: skip


def test_emas_are_written_in_place_of_the_variables(trained: Path) -> None:
    out = done(trained, "bake-ema", "old", "new")
    assert "a/w/ExponentialMovingAverage  a/w\n" in out
    assert out.endswith("without an EMA, unchanged: b/moving_mean, b/w\n")
    wanted = {name: value for name, value in TRAINED.items() if EMA not in name} | {"a/w": W + 20}
    same(checkpoint_values(trained / "new"), wanted)
    again = call("checkpoint", "bake-ema", "new", "newer", cwd=trained)
    assert (again.code, again.errors) == (
        2,
        [
            "error: new: holds no EMA: no name ends in /ExponentialMovingAverage; names: a/w, a/w/Adam, "
            "b/moving_mean, b/w, b/w/Adam, global_step"
        ],
    )


def test_slots_and_an_ema_of_another_dtype_under_a_scope_follow_their_variable(tmp_path: Path) -> None:
    half, whole = np.float16([1.5, 3]), np.float32([0.25, 2.125])
    values = {"w": half, "avg/w/ExponentialMovingAverage": whole, "train/w/Adam": whole, "w/Adam_1": whole}
    write_checkpoint(tmp_path / "old", values)
    done(tmp_path, "rename", "old", "new", "w", "v")
    same(checkpoint_values(tmp_path / "new"), {name.replace("w", "v"): value for name, value in values.items()})
    done(tmp_path, "bake-ema", "old", "baked")
    baked = {"w": np.float16([0.25, 2.125]), "train/w/Adam": whole, "w/Adam_1": whole}
    same(checkpoint_values(tmp_path / "baked"), baked)
    assert call("checkpoint", "remove", "old", "none", "w", cwd=tmp_path).errors == [
        "error: remove: nothing would be left of the 4 variables"
    ]


def test_variables_are_removed_and_copied_from_any_source(trained: Path) -> None:
    assert "a/w/Adam" in done(trained, "remove", "old", "without", "a/w", ".*/Adam")
    same(
        checkpoint_values(trained / "without"),
        {name: TRAINED[name] for name in ("b/moving_mean", "b/w", "global_step")},
    )
    np.savez(trained / "arrays.npz", x=W, y=W + 1)
    out = done(trained, "copy", "arrays.npz", "two", "--only", "x", "x", "z")
    assert out == "from  to\nx     z\ny     (left out)\n1 of 2 names unchanged\nwrote two: 2 variables\n"
    same(checkpoint_values(trained / "two"), {"x": W, "z": W})


def test_the_mean_of_checkpoints_is_written(trained: Path) -> None:
    write_checkpoint(trained / "later", {**TRAINED, "a/w": W + 1, "global_step": np.int64(9)})
    out = done(trained, "average", "old", "later", "mean")
    assert "a/w                           mean of 2\n" in out
    assert "global_step                   as in later\n" in out
    same(checkpoint_values(trained / "mean"), {**TRAINED, "a/w": W + 0.5, "global_step": 9})
    write_checkpoint(trained / "other", {"a/w": W[:1]})
    for words, said in (
        (("old", "new"), "average: one checkpoint, old; give two or more, then OUTPUT"),
        (("other", "old", "new"), "average: 'a/w' is [1, 3] float32 in other, [2, 3] float32 in old"),
    ):
        refused = call("checkpoint", "average", *words, cwd=trained)
        assert refused.code == 2
        assert refused.errors[0] == f"error: {said}"


def test_differences_are_reported_by_exit_code_table_and_json(trained: Path) -> None:
    assert done(trained, "diff", "old", "old") == "7 of 7 variables are equal bit for bit\n"
    changed = {**TRAINED, "b/w": W + 30.5, "new": np.float32(1)}
    del changed["global_step"]
    write_checkpoint(trained / "other", changed)
    differs = call("checkpoint", "diff", "old", "other", cwd=trained)
    assert (differs.code, differs.err) == (1, "")
    assert differs.out == (
        "variable     differs in\n"
        "global_step  gone        [] int64\n"
        "new          added       [] float32\n"
        "b/w          values      6 of 6, by at most 0.5 (0.014 of the largest)\n"
        "5 of 8 variables are equal bit for bit\n"
    )
    told = json.loads(call("checkpoint", "diff", "old", "other", "--json", "b/w", "new", cwd=trained).out)
    assert told == {
        "differs": True, "gone": [], "added": ["new"], "shapes": {}, "dtypes": {}, "same": [],
        "values": {"b/w": {"numbers": 6, "maximum": 0.5, "relative": 0.5 / 35}},
    }  # fmt: skip
    assert call("checkpoint", "diff", "old", "absent", cwd=trained).code == 2


def test_a_run_is_listed_with_kinds_and_owners_of_its_variables(digits_run: Finished) -> None:
    folder = digits_run.folder.relative_to(digits_run.cwd)
    lines = done(digits_run.cwd, "list", folder).splitlines()
    assert lines[0].split() == ["checkpoint", "step", *lines[0].split()[2:-1], "size"]
    assert [line.split()[1] for line in lines[1:]] == ["20", "40", "60"]
    assert [line.endswith("  latest") for line in lines[1:]] == [False, False, True]
    told = json.loads(done(digits_run.cwd, "list", folder, "--json"))
    assert [item["step"] for item in told] == [20, 40, 60]
    assert told[-1]["metrics"]["valid/accuracy"] > 0.5
    assert told[-1]["bytes"] > 300_000
    shown = done(digits_run.cwd, "show", folder, "layer1/bias.*", "global_step")
    assert "layer1/bias/Adam_1                    [256]  float32         256  slot Adam_1 of layer1/bias\n" in shown
    assert shown.endswith("/step-00000060/model (V2): 1 variable of 256 parameters, 2 slots of 512 parameters, "
                          "1 EMA variable of 256 parameters, 1 counter of 1 parameter\n")  # fmt: skip
    (only,) = json.loads(done(digits_run.cwd, "show", folder, "--json", "logits/bias/Adam"))["variables"]
    assert only == {
        "name": "logits/bias/Adam", "shape": [10], "dtype": "float32", "parameters": 10,
        "kind": "slot", "of": "logits/bias",
    }  # fmt: skip


def test_statistics_are_printed_as_table_bars_and_json_and_drawn(trained: Path) -> None:
    spread = np.r_[np.zeros(90), np.linspace(-1, 1, 9), np.nan].astype(np.float32)
    np.savez(trained / "x.npz", spread=spread, text=np.array(["a"]))
    out = done(trained, "stats", "x.npz", "--plot", "x.png")
    heading, row = out.splitlines()[:2]
    assert heading == "variable  shape  mean     std  min  max  NaN  from min to max"
    assert row == "spread    [100]     0  0.1946   -1    1    1  ▁ ▁  ▁ ▁  █ ▁  ▁ ▁ ▁"
    assert any(line.split() == ["0", "█" * 50, "91"] for line in out.splitlines())
    assert out.endswith("without numbers: text\nwrote x.png\n")
    assert (trained / "x.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(done(trained, "stats", "x.npz", "spread", "--json"))["spread"]
    assert (told["nans"], told["zeros"], sum(told["counts"])) == (1, 91, 99)
    nothing = call("checkpoint", "stats", "x.npz", "text", cwd=trained)
    assert nothing.errors == ["error: stats: no variable of real numbers among 1 in x.npz"]
    wrong = call("checkpoint", "stats", "x.npz", "--plot", "x.pdf", cwd=trained)
    assert wrong.errors == ["error: --plot: cannot write x.pdf; give a file that ends in .png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rename", "old", "new", "a/w"], "rename: 'a/w' has no new name: give names in pairs, OLD NEW OLD NEW"),
        (
            ["rename", "old", "new", "b/w", "a/w"],
            "rename: 'a/w' and 'b/w' would both be 'a/w'; give one of them another name",
        ),
        (["remove", "old", "new", "nosuch"], "remove: 'nosuch' matches no name; names: a/w, a/w/Adam, "),
        (["copy", "old", "old"], "OUTPUT: old already exists; give the prefix of a new checkpoint"),
        (["copy", "absent", "new"], "absent: no checkpoint at absent; allowed: "),
        (["show", "old", "nosuch"], "old: 'nosuch' matches no name; names: "),
        (["list", "absent"], "absent: no checkpoint at absent; allowed: "),
    ],
)
def test_mistakes_are_reported_and_nothing_is_written(trained: Path, words: list[str], said: str) -> None:
    before = files(trained)
    refused: Done = call("checkpoint", *words, cwd=trained)
    assert (refused.code, refused.out) == (2, "")
    assert refused.errors[0].startswith(f"error: {said}")
    assert files(trained) == before


def test_a_damaged_source_leaves_nothing_behind(trained: Path) -> None:
    data = trained / "old.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-40])
    before = files(trained)
    refused = call("checkpoint", "rename", "old", "new", "a/w", "c", cwd=trained)
    assert refused.code == 2
    assert refused.errors[0].startswith("error: old: old is damaged or incomplete: ")
    assert files(trained) == before
