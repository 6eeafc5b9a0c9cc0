"""The verb ``verify-resume``: equal for what is a function of seed and step, different for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import call, run

FORGETFUL = '''\
"""A layer whose noise does not come from the seed and the step."""

from typing import Any, Literal

from expkit import tf1 as tf
from expkit.kinds.layers.base import Layer
from expkit.registry import register


@register
class Forgetful(Layer):
    """Adds noise that nobody can draw again."""

    kind: Literal["forgetful"] = "forgetful"

    def output_spec(self, inputs: Any) -> Any:
        """Return the input's shape."""
        return inputs[0]

    def apply(self, variables: Any, inputs: Any, call: Any) -> Any:
        """Add the noise."""
        return inputs[0] + tf.random.uniform(tf.shape(inputs[0]))
'''


def test_a_run_that_goes_on_is_proven_equal_and_leaves_nothing(tmp_path: Path) -> None:
    words = ["experiment=ptb", "network.settings.dropout=0.5", "network.settings.hidden_size=4", "tracking.register=m"]
    words += ["data.source.length=6000", "train.evaluation_batch_size=5"]  # 15 steps are an epoch.
    done = run("verify-resume", "--at", "7", *words, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines == [
        ["14", "steps", "in", "one", "process;", "7", "steps,", "and", "7", "more", "in", "another"],
        ["values", "equal"],
        ["variables", "7", "7"],
        ["EMA", "7", "7"],
        ["slots", "and", "steps", "17", "17"],
        ["state", "4", "4"],
        ["equal,", "bit", "for", "bit"],
    ]
    assert list(tmp_path.iterdir()) == []


def test_noise_that_is_no_function_of_seed_and_step_is_found_and_the_runs_are_left_where_asked(tmp_path: Path) -> None:
    (tmp_path / "own_noise.py").write_text(FORGETFUL)
    noise = ["plugins=[own_noise.py]", "+network.layers.noise={kind: forgetful, input: layer1}"]
    words = ["verify-resume", "--at", "4", "--folder", "kept", *noise, "+network.layers.dropout.input=noise"]
    done = run(*words, cwd=tmp_path)
    assert (done.code, done.err) == (1, "")
    assert "differs: layer1/kernel, " in done.out
    assert done.out.splitlines()[-1] == "different"
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["halves", "whole"]
    again = run(*words, cwd=tmp_path)
    assert (again.code, again.errors) == (2, ["error: --folder: kept is not empty; give a new folder"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", "0"], ["error: --at: needs at least 1 step, got 0"]),
        (["--at", "2", "optimizer.learning_rate=x"], None),
        (
            ["--at", "2", "data=npz", "data.source.path=absent.npz"],
            None,
        ),
    ],
)
def test_wrong_input_is_reported_as_by_train(tmp_path: Path, words: list[str], said: list[str] | None) -> None:
    done = call("verify-resume", *words, cwd=tmp_path)
    assert done.code == 2
    assert done.out == ""
    if said is None:
        expected = call("train", *words[2:], "tracking=none", cwd=tmp_path)
        assert expected.code == 2
        said = expected.errors
    assert done.errors == said
