"""The verb ``restore-plan``: assignments, issues and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.command_line import call

NETWORK = """\
inputs: {x: {shape: [4]}}
layers:
  body: {kind: dense, units: 3}
  head: {kind: dense, units: 2}
outputs: {logits: head}
"""


@pytest.fixture
def folder(empty_folder: Path) -> Path:
    """A working folder with a small network, and a file of values that has another head."""
    (empty_folder / "mine/network").mkdir(parents=True)
    (empty_folder / "mine/network/small.yaml").write_text(NETWORK)
    values = {
        "old/kernel": np.ones((4, 3)),
        "old/bias": np.ones(3),
        "head/kernel": np.ones((3, 9)),
        "step": np.ones(()),
    }
    np.savez(empty_folder / "old.npz", **{name: value.astype(np.float32) for name, value in values.items()})
    return empty_folder


WORDS = ("restore-plan", "--config-dir", "mine", "network=small", "restore.from=old.npz")
RULES = "restore.rename=[{prefix: old/, to: body/}, {name: head/kernel, on_shape_mismatch: skip}]"


def test_a_complete_plan_is_a_table_of_all_variables(folder: Path) -> None:
    done = call(*WORDS, RULES, "restore.keep_initial=[head/bias]", cwd=folder)
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()] == [
        ["variable", "shape", "from", "weights", "rule"],
        ["body/kernel", "[4,", "3]", "old/kernel", "raw", "rename[0]"],
        ["body/bias", "[3]", "old/bias", "raw", "rename[0]"],
        ["head/kernel", "[3,", "2]", "(shape", "differs:", "head/kernel)"],
        ["head/bias", "[2]", "(initial", "value)"],
        [],
        ["restore:", "old.npz"],
        ["rename[0]", "'old/'", "->", "'body/':", "4", "values"],
        ["EMA", "variables:", "2"],
        ["restore:", "2", "not", "read:", "head/kernel,", "step"],
        ["complete:", "2/4", "variables", "get", "a", "value"],
    ]


def test_an_incomplete_plan_lists_its_issues_and_the_exit_code_is_1(folder: Path) -> None:
    done = call(*WORDS, "restore.rename=[{name: old/bias, to: body/bias, transform: [{scale: 2.0}]}]", cwd=folder)
    assert (done.code, done.err) == (1, "")
    lines = done.out.splitlines()
    assert [" ".join(line.split()) for line in lines[:5]] == [
        "variable shape from weights rule change",
        "body/kernel [4, 3] NO VALUE",
        "body/bias [3] old/bias raw rename[0] scale 2",
        "head/kernel [3, 2] NO VALUE",
        "head/bias [2] NO VALUE",
    ]
    assert lines[-4:] == [
        "incomplete: 1/4 variables get a value",
        "  restore: variable 'body/kernel' gets no value from the checkpoint; did you mean 'old/kernel'? names: "
        "head/kernel, old/bias, old/kernel, step; add a rename rule, or add it to keep_initial",
        "  restore: variable 'head/kernel' has shape [3, 2], 'head/kernel' in the checkpoint has [3, 9]; make the "
        "network fit, give its rule a transform or on_shape_mismatch, or add 'head/kernel' to keep_initial",
        "  restore: variable 'head/bias' gets no value from the checkpoint; did you mean 'old/bias'? add a rename "
        "rule, or add it to keep_initial",
    ]


def test_the_plan_as_json_is_complete(folder: Path) -> None:
    more = "+restore.sources.head={from: head.npz, weights: ema_if_present}"
    np.savez(folder / "head.npz", **{"head/kernel": np.ones((3, 2), np.float32)})
    rules = "restore.rename=[{prefix: old/, to: body/}, {name: nothing, to: body/kernel}]"
    done = call(*WORDS, rules, more, "restore.exclude=[head/.*]", "ema=none", "--json", cwd=folder)
    plan = json.loads(done.out)
    assert done.code == 1
    assert (plan["complete"], plan["loaded"]) == (False, "3/4")
    assert plan["files"] == {"restore": "old.npz", "restore.sources.head": "head.npz"}
    assert plan["spare"] == {"restore": ["head/kernel", "step"], "restore.sources.head": []}
    assert plan["variables"][0] == {
        "variable": "body/kernel",
        "role": "variable",
        "file": "old.npz",
        "source": ["old/kernel"],
        "weights": "raw",
        "rule": "rename[0] 'old/' -> 'body/'",
        "transform": "",
        "shape": [4, 3],
        "dtype": "float32",
    }
    assert plan["variables"][-1]["rule"] == "same name, no EMA in the file"
    assert [(gap["kind"], gap["about"], gap["path"]) for gap in plan["gaps"]] == [
        ("rule", "restore.rename[1]", "restore.rename[1]"),
        ("missing", "head/bias", "restore"),
    ]


def test_issues_are_reported_with_file_and_line(folder: Path) -> None:
    (folder / "mine/restore").mkdir()
    rules = "  - {prefix: old/, to: body/}\n  - {name: hed/kernel, to: head/kernel, optional: false}\n"
    (folder / "mine/restore/old.yaml").write_text(f"defaults: [none]\nrename:\n{rules}keep_initial: [head/.*]\n")
    told = "mine/restore/old.yaml:4", "restore.rename[1]"
    done = call(*WORDS, "restore=old", cwd=folder)
    assert (done.code, done.out.splitlines()[-1]) == (
        1,
        f"  {told[0]}: {told[1]}: 'hed/kernel' matches no name in the checkpoint; did you mean 'head/kernel'? names: "
        "head/kernel, old/bias, old/kernel, step",
    )
    [gap] = json.loads(call(*WORDS, "restore=old", "--json", cwd=folder).out)["gaps"]
    assert (gap["place"], gap["path"]) == told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("restore.from=null",), "restore.from: nothing to restore; give a checkpoint with restore.from=PATH"),
        (("restore.from=nowhere",), "restore.from: no checkpoint at nowhere; allowed: "),
        (
            ("restore.rename=[{name: a, pattern: b, to: c}]",),
            "restore.rename[0]: a rename rule needs exactly one of 'name' (exact), 'prefix' and 'pattern' (regular",
        ),
        (
            ("restore.rename=[{name: a, transform: [{transpoze: [1, 0]}]}]",),
            "restore.rename[0].transform[0].transpoze: unknown field; did you mean 'transpose'?",
        ),
        (("restore.optimizer=keep",), "restore.optimizer: unknown value 'keep' (text); allowed: reset, restore"),
        (("+restore.sources.head={weights: ema}",), "restore: every source needs 'from'; lacking in: head"),
    ],
)
def test_wrong_input_is_reported_and_the_exit_code_is_2(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = call(*WORDS, *words, cwd=folder)
    assert (done.code, done.out) == (2, "")
    assert done.errors[0].startswith(f"error: {said}"), done.err


def test_suggested_rules_are_ready_to_paste(folder: Path) -> None:
    names = {"net/body/weights": (4, 3), "net/body/biases": (3,), "net/head/weights": (3, 2), "net/head/biases": (2,)}
    np.savez(folder / "same.npz", **{name: np.ones(shape, np.float32) for name, shape in names.items()})
    words = (*WORDS[:-1], "restore.from=same.npz", "--suggest")
    done = call(*words, cwd=folder)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "# same.npz: 4 variables: 4 certain (0 by the same name), 0 ambiguous, 0 missing",
        "restore:",
        "  rename:",
        r"    - {pattern: 'net/(.*)/weights', to: '\1/kernel'}",
        r"    - {pattern: 'net/(.*)/biases', to: '\1/bias'}",
    ]
    told = json.loads(call(*words, "--json", cwd=folder).out)
    assert (told["complete"], told["missing"], told["spare"]) == (True, [], [])
    first = {"variable": "body/kernel", "source": "net/body/weights", "sure": "high", "others": []}
    assert told["proposals"][0] == first
    assert told["restore"]["rename"][0] == {"pattern": "net/(.*)/weights", "to": r"\1/kernel"}


def test_a_guess_or_a_missing_value_has_exit_code_1(folder: Path) -> None:
    done = call(*WORDS, "--suggest", cwd=folder)
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        "# old.npz: 4 variables: 0 certain (0 by the same name), 2 ambiguous, 2 missing",
        "# not used: head/kernel, step",
        "restore:",
        "  # rename:",
        "    # ambiguous: body/kernel may be old/kernel",
        "    # - {name: old/kernel, to: body/kernel}",
        "    # ambiguous: body/bias may be old/bias",
        "    # - {name: old/bias, to: body/bias}",
        "  keep_initial: ['head/.*']",
    ]


def test_an_unchanged_name_that_may_belong_to_another_variable_is_not_certain(folder: Path) -> None:
    shapes = {"body/kernel": (4, 7), "body/bias": (7,), "head/kernel": (7, 2), "head/bias": (2,)}
    np.savez(folder / "wider.npz", **{name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    done = call(*WORDS[:-1], "restore.from=wider.npz", "--suggest", cwd=folder)
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        "# wider.npz: 4 variables: 0 certain (0 by the same name), 1 ambiguous, 3 missing",
        "# not used: body/bias, body/kernel, head/kernel",
        "restore:",
        "    # ambiguous: head/bias may be the same name",
        "  keep_initial: ['body/.*', head/kernel]",
    ]


def test_rules_are_not_suggested_where_there_are_rules(folder: Path) -> None:
    done = call(*WORDS, RULES, "--suggest", cwd=folder)
    said = "error: restore.rename: --suggest finds the rules for one file by itself; leave this out\n"
    assert (done.code, done.out, done.err) == (2, "", said)
