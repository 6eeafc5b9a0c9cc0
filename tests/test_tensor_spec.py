"""The one value of shape and dtype: of a tensor with its batch, and of a variable without."""

from __future__ import annotations

import pytest

from expkit.tensor_spec import TensorSpec


def test_the_text_of_a_spec_shows_the_batch_of_a_tensor_and_none_of_a_variable() -> None:
    assert str(TensorSpec((None, 3), "int32")) == "[batch, ?, 3] int32"
    assert str(TensorSpec((3,), batched=False)) == "[1, 3] float32"
    assert str(TensorSpec.of_variable([2, 3])) == "[2, 3] float32"
    assert str(TensorSpec.of_variable((), "int64")) == "[] int64"


def test_a_variable_is_never_equal_to_a_tensor_of_its_shape() -> None:
    assert TensorSpec.of_variable((3,)) == TensorSpec.of_variable([3], "float32")
    assert TensorSpec.of_variable((3,)) != TensorSpec((3,))


def test_sizes_are_those_of_a_complete_shape() -> None:
    assert TensorSpec.of_variable((2, 3)).sizes == (2, 3)
    with pytest.raises(AssertionError, match=r"\[batch, \?\] float32 has an unknown size"):
        _ = TensorSpec((None,)).sizes
