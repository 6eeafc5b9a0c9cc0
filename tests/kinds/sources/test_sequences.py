"""Generated sequences: each field is what the others and the definition of the task say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from expkit.kinds.sources.sequences import Sequences

TASKS = {"copy": lambda row: row, "reverse": lambda row: row[::-1], "sort": sorted}


@pytest.mark.parametrize("task", TASKS)
def test_a_target_is_the_task_of_its_input_and_the_end(task: Any) -> None:
    fields = Sequences(task=task, examples=200, symbols=5, min_length=2, max_length=6, seed=4).load()
    assert {name: (array.shape, array.dtype.name) for name, array in fields.items()} == {
        "input": ((200, 6), "int32"),
        "input_length": ((200,), "int32"),
        "previous": ((200, 7), "int32"),
        "target": ((200, 7), "int64"),
        "target_length": ((200,), "int32"),
    }
    for index in range(200):
        length = fields["input_length"][index]
        row, target = list(fields["input"][index, :length]), list(TASKS[task](list(fields["input"][index, :length])))
        assert fields["target_length"][index] == length
        assert list(fields["input"][index]) == [*row, *[5] * (6 - length)]
        assert list(fields["target"][index]) == [*target, *[5] * (7 - length)]
        assert list(fields["previous"][index]) == [6, *fields["target"][index, :-1]]
    assert set(fields["target_length"]) == {2, 3, 4, 5, 6}
    assert set(fields["input"].ravel()) == {0, 1, 2, 3, 4, 5}


def test_repeated_symbols_stand_in_a_row_as_in_speech() -> None:
    fields = Sequences(task="copy", examples=100, symbols=4, max_length=5, repeats=(2, 3)).load()
    assert fields["input"].shape == (100, 15)
    for row, frames, target, length in zip(
        fields["input"], fields["input_length"], fields["target"], fields["target_length"], strict=True
    ):
        assert 2 * length <= frames <= 3 * length
        assert (row[frames:] == 4).all()
        # Some split of the frames into runs of 2 or 3 gives the target: equal neighbours may join.
        at = {0}
        for symbol in target[:length]:
            at = {start + n for start in at for n in (2, 3) if (row[start : start + n] == symbol).all()}
        assert frames in at


def test_the_same_seed_gives_the_same_sequences_and_another_one_others() -> None:
    first, again, other = (Sequences(examples=50, seed=seed).load() for seed in (1, 1, 2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert (first["input"] != other["input"]).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_length": 9}, "min_length 9 is larger than max_length 8"),
        ({"repeats": (3, 2)}, "repeats gives the smallest number first, got [3, 2]"),
    ],
)
def test_ranges_that_are_none_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sequences(**fields)
    assert message in str(caught.value)
