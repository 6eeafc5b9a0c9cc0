"""Scopes with several inputs and outputs, repetitions, blocks: what they come down to and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from support.networks import config_of, problems_of, spec_of

NAME = "letters, digits, '_', '-' and '.', starting with a letter, a digit or '.', inside a scope with '_' too"


def reads(text: str | dict[str, Any]) -> dict[str, str]:
    return {layer.path: " ".join([*layer.inputs, *layer.named.values()]) for layer in spec_of(text).layers}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            """
            layers:
              a: {kind: dense, units: 4}
              s:
                kind: scope
                inputs: {left: a, right: x}
                layers: {b: {kind: flatten}, c: {kind: add, input: [b, right, left]}}
              d: {kind: flatten}
            """,
            {"a": "x", "s/b": "a", "s/c": "s/b x a", "d": "s/c"},
            id="the first inside reads the first of inputs",
        ),
        pytest.param(
            """
            layers:
              h: {kind: flatten}
              s:
                kind: scope
                inputs: {h: x}
                layers: {t: {kind: scope, inputs: {h: h, own: h}, layers: {a: {kind: add, input: [h, own]}}}}
            """,
            {"h": "x", "s/t/a": "x x"},
            id="an input is looked up outside of its scope and hides what is called so there",
        ),
        pytest.param(
            """
            layers:
              s:
                kind: scope
                outputs: {early: a, inner: t/deep}
                layers:
                  a: {kind: flatten}
                  t: {kind: scope, outputs: {deep: b}, layers: {b: {kind: flatten}, c: {kind: flatten}}}
              d: {kind: add, input: [s, s/early, s/inner, s/t/deep, s/t/b]}
            outputs: {one: s/inner, two: d}
            """,
            {"s/a": "x", "s/t/b": "s/a", "s/t/c": "s/t/b", "d": "s/t/c s/a s/t/b s/t/b s/t/b"},
            id="outputs are read by the scope's name and theirs",
        ),
        pytest.param(
            """
            layers:
              s: {kind: scope, output: t/first, outputs: {first: t/first},
                  layers: {t: {kind: scope, outputs: {first: a}, layers: {a: {kind: flatten}, b: {kind: flatten}}}}}
              d: {kind: flatten}
            """,
            {"s/t/a": "x", "s/t/b": "s/t/a", "d": "s/t/a"},
            id="a scope's own output may be a further output of a scope inside",
        ),
        pytest.param(
            """
            layers:
              before: {kind: flatten}
              s: {kind: scope, repeat: 3, layers: {a: {kind: flatten}, b: {kind: flatten}}}
              after: {kind: add, input: [s, s_0, s_1/a, s_2]}
            """,
            {
                "before": "x",
                "s_0/a": "before",
                "s_0/b": "s_0/a",
                "s_1/a": "s_0/b",
                "s_1/b": "s_1/a",
                "s_2/a": "s_1/b",
                "s_2/b": "s_2/a",
                "after": "s_2/b s_0/b s_1/a s_2/b",
            },
            id="repetitions are a chain; the name without a number is the last",
        ),
        pytest.param(
            """
            layers:
              e: {kind: flatten}
              s: {kind: scope, repeat: 2, inputs: {h: e, mask: x}, layers: {a: {kind: add, input: [h, mask]}}}
            """,
            {"e": "x", "s_0/a": "e x", "s_1/a": "s_0/a x"},
            id="the first input goes through the chain, the others are the same for all",
        ),
        pytest.param(
            """
            layers:
              s:
                kind: scope
                repeat: 3
                inputs: {h: x, state: x}
                outputs: {state: b}
                layers: {a: {kind: add, input: [h, state]}, b: {kind: flatten}, c: {kind: flatten, input: a}}
              d: {kind: flatten, input: s/state}
            """,
            {
                "s_0/a": "x x",
                "s_0/b": "s_0/a",
                "s_0/c": "s_0/a",
                "s_1/a": "s_0/c s_0/b",
                "s_1/b": "s_1/a",
                "s_1/c": "s_1/a",
                "s_2/a": "s_1/c s_1/b",
                "s_2/b": "s_2/a",
                "s_2/c": "s_2/a",
                "d": "s_2/b",
            },
            id="an input called like an output goes through the chain by its name",
        ),
        pytest.param(
            """
            layers:
              a: {kind: flatten}
              s: {kind: scope, repeat: 2, input: x, layers: {b: {kind: flatten}}}
            """,
            {"a": "x", "s_0/b": "x", "s_1/b": "s_0/b"},
            id="only the first repetition reads the input that was given",
        ),
        pytest.param(
            """
            layers:
              s:
                kind: scope
                repeat: 2
                first_index: 1
                layers:
                  "c{index}": {kind: flatten}
                  d: {kind: add, input: ["c{index}", "c{index}"]}
                  t: {kind: scope, repeat: 2, layers: {"e{index}": {kind: flatten}}}
            """,
            {
                "s_1/c1": "x",
                "s_1/d": "s_1/c1 s_1/c1",
                "s_1/t_0/e0": "s_1/d",
                "s_1/t_1/e1": "s_1/t_0/e0",
                "s_2/c2": "s_1/t_1/e1",
                "s_2/d": "s_2/c2 s_2/c2",
                "s_2/t_0/e0": "s_2/d",
                "s_2/t_1/e1": "s_2/t_0/e0",
            },
            id="index is that of the nearest repetition",
        ),
        pytest.param(
            """
            blocks: {pair: {outputs: {mid: a}, layers: {a: {kind: flatten}, b: {kind: flatten}}}}
            layers:
              one: {kind: block, block: pair}
              two: {kind: block, block: pair, input: x, repeat: 2}
              d: {kind: add, input: [one, one/mid, one/a, two/mid, two_0/mid]}
            """,
            {
                "one/a": "x",
                "one/b": "one/a",
                "two_0/a": "x",
                "two_0/b": "two_0/a",
                "two_1/a": "two_0/b",
                "two_1/b": "two_1/a",
                "d": "one/b one/a one/a two_1/a two_0/a",
            },
            id="a block is connected as often as wanted",
        ),
        pytest.param(
            """
            inputs: {x: {shape: [4]}, y: {shape: [4]}}
            blocks:
              outer: {layers: {i: {kind: block, block: inner, inputs: {h: v}}, j: {kind: add, input: [i, v]}}}
              inner: {layers: {k: {kind: add, input: [h, h]}}}
            layers: {o: {kind: block, block: outer, inputs: {v: y}}}
            """,
            {"o/i/k": "y y", "o/j": "o/i/k y"},
            id="blocks in blocks",
        ),
        pytest.param(
            """
            blocks: {b: {output: "a{index}", outputs: {z: "a{index}"}, layers: {"a{index}": {kind: flatten}}}}
            layers: {o: {kind: block, block: b, repeat: 2}, d: {kind: add, input: [o, o/z]}}
            """,
            {"o_0/a0": "x", "o_1/a1": "o_0/a0", "d": "o_1/a1 o_1/a1"},
            id="index is filled in inside a block",
        ),
    ],
)
def test_what_layers_read(text: str, expected: dict[str, str]) -> None:
    assert reads(text) == expected


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        (
            "layers: {layer: {kind: scope, repeat: 2, layers: {d: {kind: dense, units: 4, use_bias: false}}}}",
            "layer_0/d/kernel layer_1/d/kernel",
        ),
        (
            "layers: {'unit_{index}': {kind: scope, repeat: 2, first_index: 1, "
            "layers: {d: {kind: dense, units: 4, use_bias: false}}}}",
            "unit_1/d/kernel unit_2/d/kernel",
        ),
        (
            "layers: {c: {kind: scope, repeat: 2, first_index: 1, scope: 'conv1/conv1_{index}', "
            "layers: {d: {kind: dense, scope: '', units: 4, use_bias: false}}}}",
            "conv1/conv1_1/kernel conv1/conv1_2/kernel",
        ),
        (
            "layers: {c: {kind: scope, repeat: 2, scope: '', variables: {kernel: 'w{index}'}, "
            "layers: {d: {kind: dense, scope: '', units: 4, use_bias: false}}}}",
            "w0 w1",
        ),
        (
            "layers: {c: {kind: scope, repeat: 3, scope: all, reuse: auto, "
            "layers: {d: {kind: dense, units: 4, use_bias: false}}}}",
            "all/d/kernel",
        ),
        (
            "{blocks: {b: {layers: {d: {kind: dense, units: 4, use_bias: false}}}}, layers: {one: {kind: block, "
            "block: b, scope: t, variables: {kernel: w}}, two: {kind: block, block: b, scope: t, reuse: true, "
            "variables: {kernel: w}}, three: {kind: block, block: b}}}",
            "t/d/w three/d/kernel",
        ),
    ],
)
def test_names_of_variables_in_repetitions_and_blocks(text: str, variables: str) -> None:
    assert " ".join(spec_of(text).variables) == variables


def test_a_block_connected_twice_shares_its_variables_or_not_by_the_rules_of_reuse() -> None:
    spec = spec_of("""
        blocks: {tower: {layers: {d: {kind: dense, units: 4}}}}
        layers:
          left: {kind: block, block: tower, input: x, scope: tower}
          right: {kind: block, block: tower, input: x, scope: tower, reuse: true}
    """)
    assert {name: item.layers for name, item in spec.variables.items()} == {
        "tower/d/kernel": ("left/d", "right/d"),
        "tower/d/bias": ("left/d", "right/d"),
    }


def test_trainable_false_on_a_block_holds_inside() -> None:
    spec = spec_of("""
        blocks: {b: {layers: {d: {kind: dense, units: 4}}}}
        layers: {one: {kind: block, block: b, trainable: false}, two: {kind: block, block: b}}
    """)
    assert spec.trainable == ("two/d/kernel", "two/d/bias")


def test_every_repetition_keeps_its_own_fields() -> None:
    config = config_of("layers: {s: {kind: scope, repeat: 2, layers: {d: {kind: dense, units: 4, scope: 'd{index}'}}}}")
    before = config.model_dump()
    assert [layer.layer.scope for layer in spec_of(config.model_dump(mode="json")).layers] == ["d0", "d1"]
    assert config.model_dump() == before


TWO = "{x: {shape: [4]}, y: {shape: [4]}}"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param(
            "layers: {aa: {kind: flatten}, s: {kind: scope, inputs: {h: ab, m: zzz}, layers: {b: {kind: flatten}}}}",
            [
                "network.layers.s.inputs.h: no layer or input 'ab'; allowed: x, aa, s, s/b",
                "network.layers.s.inputs.m: no layer or input 'zzz'; allowed: x, aa, s, s/b",
            ],
            id="inputs that are not layers",
        ),
        pytest.param(
            "layers: {s: {kind: scope, inputs: {hidden: x}, layers: {b: {kind: flatten, input: hiden}}}}",
            [
                "network.layers.s.layers.b.input: no layer or input 'hiden'; did you mean 'hidden'? "
                "allowed: x, hidden, s, s/b"
            ],
            id="a misspelt name of an input of a scope",
        ),
        pytest.param(
            "layers: {s: {kind: scope, inputs: {b: x, 'a/c': x}, layers: {b: {kind: flatten}}}}",
            [
                f"network.layers.s.inputs.a/c: 'a/c' is not a valid name; allowed: {NAME}",
                "network.layers.s.inputs.b: a layer inside is called 'b' too; rename one",
            ],
            id="names of inputs",
        ),
        pytest.param(
            "layers: {s: {kind: scope, outputs: {o: bb, b: c, c: c, 'p q': b}, "
            "layers: {b: {kind: flatten}, c: {kind: flatten}}}}",
            [
                f"network.layers.s.outputs.p q: 'p q' is not a valid name; allowed: {NAME}",
                "network.layers.s.outputs.b: a layer inside is called 'b' too; rename the output",
                "network.layers.s.outputs.o: no layer 'bb' inside; did you mean 'b'? allowed: b, c",
            ],
            id="outputs of a scope",
        ),
        pytest.param(
            "layers: {s: {kind: scope, outputs: {o: b/q}, layers: {b: {kind: flatten}}}}",
            [
                "network.layers.s.outputs.o: layer 'b' has no output 'q'; allowed: b".replace("'b'", "'s/b'")[:-1]
                + "s/b"
            ],
            id="an output that a layer inside does not have",
        ),
        pytest.param(
            "layers: {s: {kind: scope, outputs: {out: b}, layers: {b: {kind: flatten}}}, "
            "d: {kind: flatten, input: s/uot}}",
            ["network.layers.d.input: no layer or input 's/uot'; did you mean 's/out'? allowed: x, s, s/b, d, s/out"],
            id="an output that a scope does not have",
        ),
        pytest.param(
            "layers: {s: {kind: scope, repeat: 2, layers: {b: {kind: flatten, input: zzz}}}}",
            ["network.layers.s.layers.b.input: no layer or input 'zzz'; allowed: x, s_0, s_0/b, s_1, s_1/b"],
            id="a mistake inside repetitions is told once",
        ),
        pytest.param(
            "layers: {s: {kind: scope, repeat: 5, scope: t, layers: {b: {kind: dense, units: 4, use_bias: false}}}}",
            [
                "network.layers.s.layers.b.reuse: layer 's_1/b' would create variable 't/b/kernel', which layer "
                "'s_0/b' "
                "already created; to share it set reuse: true, otherwise give the layer another scope (and 3 more here)"
            ],
            id="of many mistakes at one place the first",
        ),
        pytest.param(
            "layers: {s: {kind: scope, repeat: 2, layers: {b: {kind: flatten}}}, s_1: {kind: flatten}}",
            ["network.layers.s_1: creates 's_1', which exists already; rename one"],
            id="a layer called like a repetition",
        ),
        pytest.param(
            "layers: {'s_{index}': {kind: scope, layers: {b: {kind: flatten, scope: '{index}'}}}}",
            [
                f"network.layers.s_{{index}}: 's_{{index}}' is not a valid name; allowed: {NAME}; "
                "{index} is filled in only inside a scope with repeat",
                f"network.layers.s_{{index}}.layers.b.scope: '{{index}}' is not a valid scope; allowed between "
                f"slashes: {NAME}; "
                "{index} is filled in only inside a scope with repeat",
            ],
            id="index without repeat",
        ),
        pytest.param(
            "layers: {s: {kind: scope, repeat: 300, layers: {t: {kind: scope, repeat: 300, "
            "layers: {b: {kind: flatten}}}}}}",
            [
                "network.layers: there would be more than 20,000 layers, counted up to "
                "network.layers.s.layers.t; repeat less, or write fewer"
            ],
            id="more repetitions than a network may have",
        ),
        pytest.param(
            "{blocks: {tower: {layers: {b: {kind: flatten}}}}, layers: {s: {kind: block, block: towr}}}",
            [
                "network.layers.s.block: no block 'towr'; did you mean 'tower'? allowed: tower",
                "network.blocks.tower: no layer connects this block; connect it with "
                "{kind: block, block: tower}, or remove it",
            ],
            id="a block that is not there, and one that is not connected",
        ),
        pytest.param(
            "{blocks: {a: {layers: {i: {kind: block, block: b}}}, b: {layers: {j: {kind: block, block: a}}}}, "
            "layers: {s: {kind: block, block: a}}}",
            ["network.blocks.b.layers.j.block: these blocks connect each other in a cycle: a <- b <- a"],
            id="blocks in a cycle",
        ),
        pytest.param(
            "{blocks: {t: {output: c, layers: {b: {kind: flatten, input: hid}}}}, "
            "layers: {outside: {kind: flatten}, s: {kind: block, block: t, inputs: {hide: outside}}}}",
            [
                "network.blocks.t.layers.b.input: no layer or input 'hid' in block 't' as network.layers.s connects "
                "it; did you mean 'hide'? allowed: hide, b; give it more with inputs: {NAME: LAYER}",
                "network.blocks.t.output: no layer 'c' inside; allowed: b",
            ],
            id="mistakes inside a block",
        ),
        pytest.param(
            "{blocks: {t: {layers: {b: {kind: flatten, input: outside}}}}, "
            "layers: {outside: {kind: flatten}, s: {kind: block, block: t}}}",
            [
                "network.blocks.t.layers.b.input: no layer or input 'outside' in block 't' as network.layers.s "
                "connects it; allowed: b; give it more with inputs: {NAME: LAYER}"
            ],
            id="a block does not see what is outside",
        ),
        pytest.param(
            "{blocks: {t: {layers: {b: {kind: dense, units: 4}}}}, layers: {one: {kind: block, block: t, scope: t}, "
            "two: {kind: block, block: t, scope: t}}}",
            [
                f"network.layers.two.reuse: layer 'two/b' would create variable 't/b/{name}', which layer 'one/b' "
                "already created; to share it set reuse: true, otherwise give the layer another scope"
                for name in ("kernel", "bias")
            ],
            id="a block that would make what is made is told where it is connected",
        ),
        pytest.param(
            "{inputs: " + TWO + ", blocks: {t: {layers: {b: {kind: flatten}, c: {kind: flatten}}}}, "
            "layers: {s: {kind: block, block: t}}}",
            ["network.layers.s.input: missing: there are several inputs; say which one to read: x, y"],
            id="several inputs, none said, for a block",
        ),
        pytest.param(
            "{inputs: " + TWO + ", layers: {s: {kind: scope, layers: {b: {kind: flatten}, c: {kind: flatten}}}}}",
            ["network.layers.s.layers.b.input: missing: there are several inputs; say which one to read: x, y"],
            id="several inputs, none said, told once",
        ),
        pytest.param(
            "layers: {s: {kind: scope, inputs: {h: x}, variables: {kernal: w}, repeat: 2, "
            "layers: {b: {kind: dense, units: 4}}}}",
            [
                "network.layers.s.variables.kernal: no layer has a variable 'kernal'; did you mean 'kernel'? "
                "allowed: bias, kernel"
            ],
            id="a name for a variable that no layer in a repetition has",
        ),
    ],
)
def test_mistakes_in_structure_are_reported_with_their_path(text: str, problems: list[str]) -> None:
    assert problems_of(text) == problems


def test_a_word_inside_a_scope_may_begin_with_an_underscore() -> None:
    inner = {
        "_proj": {"kind": "dense", "units": 3},
        "b": {"kind": "dense", "units": 2, "scope": "_x", "variables": {"kernel": "_k"}},
    }
    layers = {
        "enc": {"kind": "scope", "layers": inner, "outputs": {"_more": "_proj"}},
        "c": {"kind": "dense", "units": 2, "scope": "/enc/_q"},
    }
    spec = spec_of({"layers": layers})
    assert [*spec.variables] == [
        "enc/_proj/kernel",
        "enc/_proj/bias",
        "enc/_x/_k",
        "enc/_x/bias",
        "enc/_q/kernel",
        "enc/_q/bias",
    ]


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ({"_a": {"kind": "dense", "units": 2}}, f"network.layers._a: '_a' is not a valid name; allowed: {NAME}"),
        (
            {"a": {"kind": "dense", "units": 2, "scope": "_s"}},
            f"network.layers.a.scope: '_s' is not a valid scope; allowed between slashes: {NAME}",
        ),
        (
            {"a": {"kind": "scope", "layers": {"b": {"kind": "dense", "units": 2, "scope": "/_s"}}}},
            f"network.layers.a.layers.b.scope: '/_s' is not a valid scope; allowed between slashes: {NAME}",
        ),
        (
            {"a": {"kind": "dense", "units": 2, "use_bias": False, "scope": "", "variables": {"kernel": "_k"}}},
            "network.layers.a: variable '_k' begins with '_', which is allowed only inside a scope",
        ),
    ],
)
def test_a_whole_name_may_not_begin_with_an_underscore(layers: dict[str, Any], problem: str) -> None:
    assert any(found.startswith(problem) for found in problems_of({"layers": layers}))
