"""Names of layers, scopes and what layers read."""

from __future__ import annotations

import pytest

from support.networks import problems_of, spec_of

NAME = "letters, digits, '_', '-' and '.', starting with a letter, a digit or '.', inside a scope with '_' too"


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("layers: {d: {kind: dense, units: 2}}", "d/kernel d/bias"),
        ("layers: {d: {kind: dense, units: 2, scope: a/b}}", "a/b/kernel a/b/bias"),
        ("layers: {d: {kind: dense, units: 2, scope: /a}}", "a/kernel a/bias"),
        ("layers: {d: {kind: dense, units: 2, scope: ''}}", "kernel bias"),
        ("layers: {d: {kind: dense, units: 2, scope: /}}", "kernel bias"),
        ("layers: {s: {kind: scope, layers: {d: {kind: dense, units: 2}}}}", "s/d/kernel s/d/bias"),
        ("layers: {s: {kind: scope, scope: t, layers: {d: {kind: dense, units: 2}}}}", "t/d/kernel t/d/bias"),
        ("layers: {s: {kind: scope, layers: {d: {kind: dense, units: 2, scope: ''}}}}", "s/kernel s/bias"),
        ("layers: {s: {kind: scope, layers: {d: {kind: dense, units: 2, scope: /r}}}}", "r/kernel r/bias"),
        ("layers: {s: {kind: scope, scope: '', layers: {d: {kind: dense, units: 2}}}}", "d/kernel d/bias"),
        (
            "layers: {s: {kind: scope, layers: {t: {kind: scope, scope: /r, layers: {d: {kind: dense, units: 2}}}}}}",
            "r/d/kernel r/d/bias",
        ),
        (
            "{variables: {kernel: w, bias: b}, layers: {d: {kind: dense, units: 2}}}",
            "d/w d/b",
        ),
        (
            "layers: {s: {kind: scope, variables: {kernel: w}, layers: {d: {kind: dense, units: 2}}}}",
            "s/d/w s/d/bias",
        ),
        (
            "{variables: {kernel: w, bias: b}, layers: {s: {kind: scope, variables: {kernel: weights}, layers: "
            "{d: {kind: dense, units: 2}, e: {kind: dense, units: 2, variables: {kernel: part/own}}}}}}",
            "s/d/weights s/d/b s/e/part/own s/e/b",
        ),
    ],
)
def test_names_of_variables_come_from_scopes_and_naming(text: str, variables: str) -> None:
    assert " ".join(spec_of(text).variables) == variables


def test_a_variable_is_reached_by_its_full_name_from_the_root() -> None:
    spec = spec_of("""
        layers:
          foo: {kind: scope, layers: {bar: {kind: dense, units: 4, use_bias: false, variables: {kernel: v}}}}
          again: {kind: dense, units: 4, use_bias: false, scope: "", variables: {kernel: foo/bar/v}, reuse: true}
    """)
    assert list(spec.variables) == ["foo/bar/v"]
    assert spec.variables["foo/bar/v"].layers == ("foo/bar", "again")


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        pytest.param("layers: {a: {kind: flatten}, b: {kind: flatten}}", {"a": "x", "b": "a"}, id="the layer before"),
        pytest.param(
            "layers: {a: {kind: flatten}, b: {kind: flatten, input: x}}", {"a": "x", "b": "x"}, id="a network input"
        ),
        pytest.param(
            "layers: {a: {kind: flatten}, s: {kind: scope, layers: {b: {kind: flatten}, c: {kind: flatten}}}}",
            {"a": "x", "s/b": "a", "s/c": "s/b"},
            id="first inside reads the scope's input",
        ),
        pytest.param(
            "layers: {a: {kind: flatten}, s: {kind: scope, input: x, layers: {b: {kind: flatten}}}, "
            "c: {kind: flatten}}",
            {"a": "x", "s/b": "x", "c": "s/b"},
            id="a scope is its last layer",
        ),
        pytest.param(
            "layers: {s: {kind: scope, output: b, layers: {b: {kind: flatten}, c: {kind: flatten}}}, "
            "d: {kind: flatten}}",
            {"s/b": "x", "s/c": "s/b", "d": "s/b"},
            id="a scope is the output it names",
        ),
        pytest.param(
            "layers: {s: {kind: scope, layers: {t: {kind: scope, layers: {b: {kind: flatten}}}}}, "
            "d: {kind: add, input: [s, s/t]}}",
            {"s/t/b": "x", "d": "s/t/b s/t/b"},
            id="a scope whose last layer is a scope",
        ),
        pytest.param(
            "layers: {a: {kind: flatten}, s: {kind: scope, layers: {a: {kind: flatten, input: x}, "
            "b: {kind: flatten, input: a}}}}",
            {"a": "x", "s/a": "x", "s/b": "s/a"},
            id="the nearest scope that knows a name wins",
        ),
        pytest.param(
            "layers: {a: {kind: flatten}, s: {kind: scope, layers: {c: {kind: flatten}, "
            "b: {kind: flatten, input: a}}}}",
            {"a": "x", "s/c": "a", "s/b": "a"},
            id="an enclosing scope is asked next",
        ),
        pytest.param(
            "{inputs: {x: {shape: [4]}, y: {shape: [4]}}, "
            "layers: {s: {kind: scope, input: [x, y], layers: {a: {kind: add}}}}}",
            {"s/a": "x y"},
            id="a scope with two inputs",
        ),
    ],
)
def test_what_a_layer_reads(text: str, reads: dict[str, str]) -> None:
    assert {layer.path: " ".join(layer.inputs) for layer in spec_of(text).layers} == reads


def test_an_output_that_is_a_scope_is_the_scopes_last_layer() -> None:
    spec = spec_of("""
        layers: {s: {kind: scope, layers: {a: {kind: flatten}, b: {kind: dense, units: 3}}}, c: {kind: flatten}}
        outputs: {out: s, inner: s/a}
    """)
    assert spec.outputs == {"out": "s/b", "inner": "s/a"}
    assert spec.output_spec("out").shape == (3,)
    assert spec.tensors["x"].shape == (4,)


def test_trainable_false_on_a_scope_holds_for_every_layer_inside() -> None:
    spec = spec_of("""
        layers:
          s: {kind: scope, trainable: false, layers: {d: {kind: dense, units: 2, trainable: true}}}
          e: {kind: dense, units: 2}
    """)
    assert spec.trainable == ("e/kernel", "e/bias")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param(
            "layers: {left_conv: {kind: flatten}, b: {kind: flatten, input: left_cnov}}",
            [
                "network.layers.b.input: no layer or input 'left_cnov'; did you mean 'left_conv'? "
                "allowed: x, left_conv, b"
            ],
            id="unknown input",
        ),
        pytest.param(
            "layers: {s: {kind: scope, layers: {a: {kind: add, input: [x, zzz]}}}}",
            ["network.layers.s.layers.a.input: no layer or input 'zzz'; allowed: x, s, s/a"],
            id="unknown input inside a scope",
        ),
        pytest.param(
            "{layers: {logits: {kind: flatten}}, outputs: {out: logit, other: x}}",
            [
                "network.outputs.out: no layer 'logit'; did you mean 'logits'? allowed: logits",
                "network.outputs.other: no layer 'x'; allowed: logits",
            ],
            id="outputs that are not layers",
        ),
        pytest.param(
            "layers: {s: {kind: scope, output: bb, layers: {b: {kind: flatten}, c: {kind: flatten}}}}",
            [
                "network.layers.s.output: no layer 'bb' inside; did you mean 'b'? allowed: b, c",
            ],
            id="a scope's output that is not inside",
        ),
        pytest.param(
            "layers: {s: {kind: scope, initializer: {kernel: {kind: zeros}}, regularizer: {kernel: {l2: 1.0}}, "
            "layers: {b: {kind: dense, units: 1}}}}",
            [
                "network.layers.s.initializer: a scope owns no variables; give it to a layer, or to network.rules",
                "network.layers.s.regularizer: a scope owns no variables; give it to a layer, or to network.rules",
            ],
            id="an initializer on a scope",
        ),
        pytest.param(
            "{inputs: {x: {shape: [4]}, y: {shape: [4]}}, layers: {a: {kind: flatten}, b: {kind: flatten}}}",
            ["network.layers.a.input: missing: there are several inputs; say which one to read: x, y"],
            id="several inputs, none said",
        ),
        pytest.param(
            "{inputs: {x: {shape: [4]}, y: {shape: [4]}}, layers: {s: {kind: scope, layers: {a: {kind: flatten}}}}}",
            ["network.layers.s.layers.a.input: missing: there are several inputs; say which one to read: x, y"],
            id="several inputs, none said, in a scope",
        ),
        pytest.param(
            "{inputs: {x: {shape: [4]}, y: {shape: [4]}}, layers: {x: {kind: flatten, input: y}}}",
            ["network.inputs.x: a layer is called 'x' too; rename one"],
            id="an input and a layer of one name",
        ),
        pytest.param(
            "{inputs: {_x: {shape: [4]}}, layers: {'a b': {kind: flatten}}, outputs: {'o/p': 'a b'}}",
            [
                f"network.inputs._x: '_x' is not a valid name; allowed: {NAME}",
                f"network.outputs.o/p: 'o/p' is not a valid name; allowed: {NAME}",
                f"network.layers.a b: 'a b' is not a valid name; allowed: {NAME}",
            ],
            id="bad names",
        ),
        pytest.param(
            "layers: {s: {kind: scope, scope: a//b, layers: {d: {kind: dense, units: 1, scope: //a}}}}",
            [
                f"network.layers.s.scope: 'a//b' is not a valid scope; allowed between slashes: {NAME}",
                f"network.layers.s.layers.d.scope: '//a' is not a valid scope; allowed between slashes: {NAME}",
            ],
            id="bad scopes",
        ),
        pytest.param(
            "{variables: {kernel: a b}, layers: {d: {kind: dense, units: 1, variables: {bias: ''}}}}",
            [
                f"network.variables.kernel: 'a b' is not a valid name; allowed between slashes: {NAME}",
                f"network.layers.d.variables.bias: '' is not a valid name; allowed between slashes: {NAME}",
            ],
            id="bad names of variables",
        ),
    ],
)
def test_every_mistake_in_names_is_reported_with_its_path(text: str, problems: list[str]) -> None:
    assert problems_of(text) == problems
