from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import ValidationError

from expkit import registry
from expkit.registry import Kind, KindsOf, Section, kinds, register


class Shape(Kind):
    """A family of this test's own."""

    family: ClassVar[str] = "test_shape"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    registry._FAMILIES.pop("test_shape", None)


def circle() -> type[Kind]:
    class Circle(Shape):
        kind: Literal["circle"] = "circle"
        radius: int

    return Circle


def test_a_registered_kind_is_found_by_its_name() -> None:
    cls = register(circle())
    assert dict(kinds("test_shape")) == {"circle": cls}


def test_a_family_nobody_knows_has_no_kinds() -> None:
    assert dict(kinds("test_shape")) == {}


def test_kinds_cannot_be_changed_from_outside() -> None:
    register(circle())
    with pytest.raises(TypeError, match="does not support item assignment"):
        kinds("test_shape")["square"] = Shape


TWICE = (
    r"test_shape 'circle' is registered twice: circle\.<locals>\.Circle \(.*test_registry\) and "
    r"circle\.<locals>\.Circle \(.*test_registry\); give one another kind"
)


def test_a_kind_registered_twice_names_both() -> None:
    register(circle())
    with pytest.raises(ValueError, match=TWICE):
        register(circle())


def test_a_kind_without_a_name_is_reported_with_the_field() -> None:
    with pytest.raises(ValueError, match="Shape: the field 'kind' needs its name as a default"):
        register(Shape)


def test_kinds_of_picks_the_model_by_kind() -> None:
    cls = register(circle())

    class Drawing(Section):
        shape: Annotated[Shape, KindsOf("test_shape")]

    drawing = Drawing.model_validate({"shape": {"kind": "circle", "radius": 2}})
    assert drawing.shape == cls(radius=2)
    with pytest.raises(ValidationError, match="does not match any of the expected tags: 'circle'"):
        Drawing.model_validate({"shape": {"kind": "square"}})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"radius": 1.5}, "valid integer"),
        ({"radius": "1"}, "valid integer"),
        ({"radius": 1, "colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_a_section_takes_its_fields_as_they_are_and_no_others(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        circle()(**fields)


def test_a_section_is_frozen() -> None:
    made = circle()(radius=1)
    with pytest.raises(ValidationError, match="Instance is frozen"):
        made.radius = 2
