"""Scopes connected again with their averages: names, shapes and mistakes, before any graph exists."""

from __future__ import annotations

import pytest

from expkit.cli.names import table
from expkit.diagram.drawing import Box, Item, drawing
from expkit.errors import ConfigError
from expkit.preflight import CheckedConfig, load_checked, named
from support.networks import problems_of, spec_of

NETWORK = """
inputs: {{x: {{shape: [4]}}, mask: {{shape: [4]}}}}
layers:
  stem: {{kind: dense, input: x, units: 4}}
  student:
    kind: scope
    inputs: {{x: stem, mask: mask}}
    layers:
      masked: {{kind: multiply, input: [x, mask]}}
      norm: {{kind: batch_norm}}
      deep: {{kind: scope, repeat: 2, layers: {{hidden: {{kind: dense, units: 4}}}}}}
      {inside}
    outputs: {{masked: masked}}
  teacher: {{{teacher}}}
  joined: {{kind: concat, input: [student, teacher, teacher/masked, teacher/deep_0]}}
outputs: {{y: joined}}
"""


def network(teacher: str = "kind: ema_of, of: student", inside: str = "") -> str:
    return NETWORK.format(teacher=teacher, inside=inside)


def test_the_layers_of_a_scope_are_connected_to_the_same_inputs_with_the_averages_of_what_is_trained() -> None:
    spec = spec_of(network())
    layers = {layer.path: layer for layer in spec.layers}
    assert layers["teacher/masked"].inputs == ("stem", "mask")
    assert layers["teacher/deep_1/hidden"].inputs == ("teacher/deep_0/hidden",)
    assert layers["joined"].inputs == (
        "student/deep_1/hidden", "teacher/deep_1/hidden", "teacher/masked", "teacher/deep_0/hidden"
    )  # fmt: skip
    norm = layers["teacher/norm"]
    assert norm.bindings == layers["student/norm"].bindings
    assert norm.averaged == ("student/norm/gamma", "student/norm/beta")
    assert [name for name in spec.variables if name.startswith("teacher")] == []
    assert spec.variables["student/norm/gamma"].layers == ("student/norm",)
    assert len(spec.averaged) == 6


def test_it_may_read_other_inputs_stand_first_and_be_connected_several_times() -> None:
    spec = spec_of("""
inputs: {x: {shape: [4]}, other: {shape: [4]}}
layers:
  teacher: {kind: ema_of, of: student, input: other}
  student: {kind: scope, input: x, layers: {hidden: {kind: dense, units: 2}}}
  again: {kind: ema_of, of: student}
  y: {kind: add, input: [student, teacher, again]}
outputs: {y: y}
""")
    assert {layer.path: layer.inputs for layer in spec.layers} == {
        "student/hidden": ("x",),
        "teacher/hidden": ("other",),
        "again/hidden": ("x",),
        "y": ("student/hidden", "teacher/hidden", "again/hidden"),
    }


def test_an_average_inside_an_average_reads_what_stands_beside_it() -> None:
    spec = spec_of("""
inputs: {x: {shape: [4]}, other: {shape: [4]}}
layers:
  student:
    kind: scope
    input: x
    layers:
      code: {kind: scope, layers: {dense: {kind: dense, units: 4}}}
      target: {kind: ema_of, of: code}
      y: {kind: add, input: [code, target]}
  teacher: {kind: ema_of, of: student, input: other}
outputs: {y: teacher, student: student}
""")
    inside = {layer.path: (layer.inputs, layer.averaged) for layer in spec.layers if layer.path.startswith("teacher/")}
    averaged = ("student/code/dense/kernel", "student/code/dense/bias")
    assert inside == {
        "teacher/code/dense": (("other",), averaged),
        "teacher/target/dense": (("other",), averaged),
        "teacher/y": (("teacher/code/dense", "teacher/target/dense"), ()),
    }


OF, TYPE = "network.layers.teacher.of", "network.layers.teacher"


@pytest.mark.parametrize(
    ("teacher", "inside", "path", "message"),
    [
        ("kind: ema_of, of: studnt", "", OF, "no scope 'studnt'; did you mean 'student'? allowed: student, "
         "student/deep_0, student/deep_1"),
        ("kind: ema_of, of: stem", "", OF, "'stem' is a layer of kind 'dense'; ema_of connects scopes and blocks: put "
         "it into a scope"),
        ("kind: ema_of, of: teacher", "", OF, "'teacher' is this layer, or is around it; connect 'teacher' outside of "
         "it"),
        ("kind: ema_of, of: student/deep", "", OF, "'student/deep' is repeated and names the last, 'student/deep_1'; "
         "name one, or put them into a scope"),
        ("kind: ema_of, of: student", "again: {kind: ema_of, of: student}", "network.layers.student.layers.again.of",
         "'student' is this layer, or is around it; connect 'student' outside of it"),
        ("kind: ema_of, of: student", "more: {kind: add, input: [deep, stem]}", OF, "no layer or input 'stem' inside; "
         "if 'student' reads it from outside, give it to both by inputs: {NAME: stem}"),
        ("kind: ema_of, of: student, input: x", "", OF, "no layer or input 'mask' inside; if 'student' reads it from "
         "outside, give it to both by inputs: {NAME: mask}"),
        ("kind: ema_of, of: later", "", f"{TYPE}.input", "missing: 'later', whose input it reads by default, comes "
         "after this layer"),
    ],
)  # fmt: skip
def test_mistakes_are_reported(teacher: str, inside: str, path: str, message: str) -> None:
    text = network(teacher, inside)
    if "later" in teacher:
        later = "  later: {kind: scope, input: x, layers: {masked: {kind: dense, units: 4}}}"
        text = text.replace("  joined:", f"{later}\n  joined:")
    assert f"{path}: {message}" in problems_of(text)


def test_an_average_has_no_average_of_its_own() -> None:
    text = network().replace("  joined:", "  third: {kind: ema_of, of: teacher}\n  joined:")
    (problem,) = problems_of(text)
    assert problem == (
        "network.layers.third.of: 'teacher' is an average itself, and has none; name the scope that it is the average "
        "of"
    )


def test_other_sizes_are_reported() -> None:
    text = network("kind: ema_of, of: student/deep_0, input: wide").replace(
        "  joined:", "  wide: {kind: dense, input: x, units: 7}\n  joined:"
    )
    assert (
        "network.layers.teacher: connects 'student/deep_0/hidden' to other sizes: variable "
        "'student/deep_0/hidden/kernel' is [4, 4], but 'teacher/hidden' needs [7, 4]; give it inputs of the same sizes"
    ) in problems_of(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("trainable: false", "ema_of has the variables of the scope that it connects; leave out trainable"),
        ("scope: other", "ema_of has the variables of the scope that it connects; leave out scope"),
        ("repeat: 2", "ema_of cannot be repeated; give repeat to a scope around it"),
    ],
)
def test_fields_of_layers_with_variables_are_refused(fields: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec_of(network(f"kind: ema_of, of: student, {fields}"))


@pytest.fixture(scope="module")
def digits() -> CheckedConfig:
    layers = "+network.layers.body={kind: scope, input: image, layers: {dense: {kind: dense, units: 10}}}"
    target = "+network.layers.target={kind: ema_of, of: body}"
    return load_checked([layers, target, "+network.outputs.target=target"], by=named)


def test_names_tell_which_layers_read_an_average(digits: CheckedConfig) -> None:
    lines = table(digits)
    assert "  body/dense/kernel/ExponentialMovingAverage  (read by target/dense)" in lines
    assert "  logits/kernel/ExponentialMovingAverage" in lines


def test_the_diagram_shows_averages(digits: CheckedConfig) -> None:
    boxes = [item for item in drawing(digits.spec).root.children if isinstance(item, Box)]
    (target,) = [box.children[0] for box in boxes if box.path == "target"]
    assert isinstance(target, Item)
    assert [(row.name, row.trainable, row.shared) for row in target.rows] == [
        ("kernel (EMA)", False, False), ("bias (EMA)", False, False)
    ]  # fmt: skip
    assert "body/dense/kernel/ExponentialMovingAverage [64, 10] float32" in target.hint


def test_without_averages_the_check_names_the_layer() -> None:
    layers = "+network.layers.body={kind: scope, input: image, layers: {dense: {kind: dense, units: 10}}}"
    target = "+network.layers.target={kind: ema_of, of: body}"
    with pytest.raises(ConfigError) as caught:
        load_checked([layers, target, "ema=none"], by=named)
    assert str(caught.value) == (
        "network.layers.target.of: variable 'body/dense/kernel' (and 1 more) inside has no average: ema.enabled is "
        "false; set it to true"
    )
