"""Transforms: the predicted shape is that of the result, and a transform that does not fit is reported."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from expkit.checkpoints.restore.transforms import apply, fitting, joined, transformed
from expkit.config.sections.restore import RenameRule, RestoreConfig, Transform
from expkit.tensor_spec import TensorSpec

SPEC = TensorSpec.of_variable((2, 3, 4), "float32")
VALUE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def transform(**fields: Any) -> Transform:
    return Transform.model_validate_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"transpose": [2, 0, 1]}, VALUE.transpose(2, 0, 1)),
        ({"reshape": [4, 6]}, VALUE.reshape(4, 6)),
        ({"reshape": [-1]}, VALUE.reshape(-1)),
        ({"slice": [None, [1, 3], [2, None]]}, VALUE[:, 1:3, 2:]),
        ({"pad": [[0, 0], [1, 2], [0, 1]]}, np.pad(VALUE, [(0, 0), (1, 2), (0, 1)])),
        ({"scale": 0.5}, VALUE * np.float32(0.5)),
        ({"cast": "float64"}, VALUE.astype(np.float64)),
        ({"cast": "int32"}, VALUE.astype(np.int32)),
    ],
    ids=lambda item: next(iter(item)) if isinstance(item, dict) else "",
)
def test_a_transform_does_what_its_name_says_and_predicts_shape_and_dtype(
    fields: dict[str, Any], wanted: np.ndarray
) -> None:
    step = transform(**fields)
    made = apply(step, VALUE)
    np.testing.assert_array_equal(made, wanted, strict=True)
    assert transformed(SPEC, step) == TensorSpec.of_variable(made.shape, made.dtype.name)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"transpose": [1, 0]}, "transpose [1, 0] is not an order of the 3 dimensions of [2, 3, 4]"),
        ({"transpose": [0, 1, 1]}, "transpose [0, 1, 1] is not an order of the 3 dimensions of [2, 3, 4]"),
        ({"reshape": [5, -1]}, "reshape [5, -1] does not hold the 24 values of [2, 3, 4]"),
        ({"reshape": [-1, -1]}, "reshape [-1, -1] does not hold the 24 values of [2, 3, 4]"),
        ({"reshape": [0, -1]}, "reshape [0, -1] does not hold the 24 values of [2, 3, 4]"),
        ({"slice": [None]}, "slice [null] is for 1 dimensions, the shape is [2, 3, 4]"),
        ({"slice": [None, [1, 4], None]}, "slice [null, [1, 4], null] reaches outside [2, 3, 4]"),
        ({"slice": [None, [2, 2], None]}, "slice [null, [2, 2], null] reaches outside [2, 3, 4]"),
        ({"pad": [[0, 1]]}, "pad [[0, 1]] is for 1 dimensions, the shape is [2, 3, 4]"),
    ],
)
def test_a_transform_that_does_not_fit_the_shape_is_reported(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is compared
        transformed(SPEC, transform(**fields))
    assert str(caught.value) == said


def test_a_transform_that_does_not_fit_the_dtype_is_reported() -> None:
    for fields, dtype, said in (
        ({"scale": 2.0}, "int32", "scale 2 requires floating-point values, not int32"),
        ({"cast": "float32"}, "string", "cast float32 cannot convert text"),
        ({"cast": "float32"}, "complex64", "cast float32 would drop the imaginary part of complex64"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is compared
            transformed(TensorSpec.of_variable((), dtype), transform(**fields))
        assert str(caught.value) == said


def test_bfloat16_is_cast_both_ways() -> None:
    wide = apply(transform(cast="float32"), apply(transform(cast="bfloat16"), VALUE))
    np.testing.assert_array_equal(wide, VALUE)


@pytest.mark.parametrize("wanted", [(2, 3, 4), (1, 3, 6), (5, 5, 5), (1, 1, 1)])
def test_fitting_a_shape_keeps_the_corner_and_pads_with_zeros(wanted: tuple[int, ...]) -> None:
    made = VALUE
    for step in fitting(VALUE.shape, wanted):
        made = apply(step, made)
    expected = np.zeros(wanted, np.float32)
    corner = tuple(slice(min(have, want)) for have, want in zip(VALUE.shape, wanted, strict=True))
    expected[corner] = VALUE[corner]
    np.testing.assert_array_equal(made, expected, strict=True)


def test_shapes_are_joined_along_a_dimension() -> None:
    specs = [TensorSpec.of_variable(shape, "float32") for shape in ((2, 3), (2, 4), (2, 1), (2, 8))]
    assert joined(specs[:3], 1) == specs[3]


@pytest.mark.parametrize(
    ("model", "raw", "said"),
    [
        (Transform, {}, "a transform is one of transpose, reshape, slice, pad, scale, cast; got none"),
        (
            Transform,
            {"scale": 2.0, "cast": "float32"},
            "a transform is one of transpose, reshape, slice, pad, scale, cast; got scale, cast",
        ),
        (Transform, {"scale": None}, "a transform is one of transpose, reshape, slice, pad, scale, cast; got none"),
        (
            RenameRule,
            {"name": "a", "prefix": "b", "to": "c"},
            "a rename rule needs exactly one of 'name' (exact), 'prefix' and 'pattern' (regular expression)",
        ),
        (
            RenameRule,
            {"prefix": "a", "to": "c", "concat": ["b"]},
            "a rule with 'concat' needs 'to', and 'name' or 'pattern' in place of 'prefix'",
        ),
        (
            RenameRule,
            {"pattern": "(", "to": "c"},
            "'(' -> 'c' is not a regular expression rule: missing ), unterminated subpattern at position 0",
        ),
        (
            RenameRule,
            {"pattern": "b.*", "to": r"\2"},
            r"'b.*' -> '\2' is not a regular expression rule: invalid group reference 2 at position 1",
        ),
        (
            RenameRule,
            {"pattern": "(b)", "to": r"\1", "concat": [r"\2"]},
            r"'(b)' -> '\2' is not a regular expression rule: invalid group reference 2 at position 1",
        ),
        (
            RestoreConfig,
            {"keep_initial": ["("]},
            "keep_initial: '(' is not a regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            RestoreConfig,
            {"exclude": ["*"]},
            "exclude: '*' is not a regular expression: nothing to repeat at position 0",
        ),
        (
            RestoreConfig,
            {"sources": {"head": {"from": "x"}}},
            "'sources' are files besides 'from', which is null; give the first file as 'from'",
        ),
        (RestoreConfig, {"from": "x", "sources": {"head": {}}}, "every source needs 'from'; lacking in: head"),
    ],
)
def test_contradictory_fields_are_reported(model: Any, raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(raw))
    [problem] = caught.value.errors()
    assert problem["msg"].removeprefix("Value error, ") == said
