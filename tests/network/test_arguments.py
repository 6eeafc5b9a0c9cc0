"""Blocks with arguments, arithmetic on the numbers of repetitions: what they come down to and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from expkit.config.explain import explain
from expkit.config.load import load, plain
from expkit.config.sections.network import NetworkConfig
from expkit.config.source_lines import locating_problems
from expkit.errors import ConfigError
from expkit.network.elaborate import network_spec
from expkit.registry import kinds
from support.networks import config_of, problems_of, spec_of


def shapes(text: str | dict[str, Any]) -> dict[str, list[int]]:
    """Return the shapes of the kernels by name."""
    return {name: list(item.shape) for name, item in spec_of(text).variables.items() if not name.endswith("bias")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            """
            blocks: {b: {arguments: {units: null, times: 2}, layers: {d: {kind: dense, units: "{units * times}"}}}}
            layers:
              one: {kind: block, block: b, arguments: {units: 3}}
              two: {kind: block, block: b, arguments: {units: 3, times: 4}}
              three: {kind: block, block: b, arguments: {units: 5, times: null}}
            """,
            {"one/d/kernel": [4, 6], "two/d/kernel": [6, 12], "three/d/kernel": [12, 10]},
            id="arguments with and without a default",
        ),
        pytest.param(
            """
            blocks:
              outer:
                arguments: {units: null}
                layers:
                  a: {kind: block, block: inner, arguments: {units: "{units}", name: left}}
                  b: {kind: block, block: inner, arguments: {units: "{units + 1}", name: right}}
              inner: {arguments: {units: null, name: null}, layers: {"{name}": {kind: dense, units: "{units}"}}}
            layers: {o: {kind: block, block: outer, arguments: {units: 7}}}
            """,
            {"o/a/left/kernel": [4, 7], "o/b/right/kernel": [7, 8]},
            id="arguments are passed on to inner blocks, and name layers",
        ),
        pytest.param(
            """
            layers: {s: {kind: scope, repeat: 3, layers: {d: {kind: dense, units: "{64 // 2 ** index}"}}}}
            """,
            {"s_0/d/kernel": [4, 64], "s_1/d/kernel": [64, 32], "s_2/d/kernel": [32, 16]},
            id="arithmetic on index in a number",
        ),
        pytest.param(
            """
            layers:
              "stage_{index}":
                kind: scope
                repeat: 2
                first_index: 1
                layers:
                  unit:
                    kind: scope
                    repeat: "{index}"
                    scope: "u{index + 10 * index.stage}"
                    layers:
                      t: {kind: scope, repeat: 1, layers: {d: {kind: dense, units: "{index.stage * 4 + index.unit}"}}}
            """,
            {
                "stage_1/u10/t_0/d/kernel": [4, 4],
                "stage_2/u20/t_0/d/kernel": [4, 8],
                "stage_2/u21/t_0/d/kernel": [8, 9],
            },
            id="the numbers of outer repetitions, by their keys, and a number of repetitions that depends on one",
        ),
        pytest.param(
            """
            blocks:
              b:
                arguments: {sizes: null}
                output: "d{index}"
                layers: {"d{index}": {kind: dense, units: "{sizes[index.stage]}"}, rest: {kind: flatten}}
            layers:
              stage: {kind: block, block: b, repeat: 2, arguments: {sizes: [3, 5]}}
              last: {kind: dense, units: 2}
            """,
            {"stage_0/d0/kernel": [4, 3], "stage_1/d1/kernel": [3, 5], "last/kernel": [5, 2]},
            id="a list, and the numbers of the repetition that connects the block",
        ),
        pytest.param(
            """
            blocks:
              b:
                arguments: {units: null, wide: "{units * 4}", initial: {kind: zeros}}
                layers:
                  w: {kind: dense, units: "{wide}", initializer: {kernel: "{initial}"}, use_bias: "{wide > 9}"}
                  n: {kind: dense, units: "{units}", scope: "n_{units}", variables: {"{'kernel'}": "k{units}"}}
            layers: {one: {kind: block, block: b, arguments: {units: 2}}}
            """,
            {"one/w/kernel": [4, 8], "one/n_2/k2": [8, 2]},
            id="defaults made of arguments, a mapping, and keys",
        ),
        pytest.param(
            """
            blocks: {b: {arguments: {deep: null}, layers: {u: {kind: scope, repeat: "{deep}", layers: {d: {kind: dense,
              units: 3}}}}}}
            layers: {one: {kind: block, block: b, arguments: {deep: 2}}, two: {kind: flatten, input: one/u}}
            """,
            {"one/u_0/d/kernel": [4, 3], "one/u_1/d/kernel": [3, 3]},
            id="an argument says how often",
        ),
    ],
)
def test_what_is_filled_in(text: str, expected: dict[str, list[int]]) -> None:
    assert shapes(text) == expected


def test_a_filled_layer_is_the_same_as_one_written_out() -> None:
    spec = spec_of("""
        blocks:
          b:
            arguments: {pad: null, rate: 0.25, size: 3}
            layers:
              c: {kind: conv2d, filters: 2, kernel_size: "{size}", padding: "{pad}"}
              d: {kind: dropout, rate: "{rate}"}
        inputs: {x: {shape: [8, 8, 1]}}
        layers: {one: {kind: block, block: b, arguments: {pad: [[1, 1], [2, 0]]}}}
    """)
    written = spec_of("""
        inputs: {x: {shape: [8, 8, 1]}}
        layers: {one: {kind: scope, layers: {c: {kind: conv2d, filters: 2, kernel_size: 3, padding: [[1, 1], [2, 0]]},
          d: {kind: dropout, rate: 0.25}}}}
    """)
    assert [layer.layer for layer in spec.layers] == [layer.layer for layer in written.layers]
    assert spec.variables == written.variables


def explained(text: str) -> list[str]:
    """Return the problems of a network that is not a network."""
    with pytest.raises(ValidationError) as caught:
        config_of(text)
    raw = {"inputs": {"x": {"shape": [4]}}, "outputs": {"out": "d"}, **yaml.safe_load(text)}
    return [str(problem) for problem in explain(caught.value, raw, NetworkConfig, ("network",))]


def test_braces_outside_of_blocks_and_repetitions_are_braces() -> None:
    assert explained("layers: {d: {kind: dense, units: '{3}'}}") == [
        "network.layers.d.units: needs a whole number, got '{3}' (text); braces are filled in only inside a block or a "
        "scope with repeat"
    ]
    assert explained("layers: {d: {kind: dense, units: {filters: null}}}") == [
        'network.layers.d.units: needs a whole number, got a mapping; an expression needs quotes: "{filters}"'
    ]


BLOCK = "blocks: {b: {arguments: {units: null, rate: 0.5}, layers: {d: {kind: dense, units: '{units}'}, "
BLOCK += "o: {kind: dropout, rate: '{rate}'}}}}\n"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param(
            BLOCK + "layers: {one: {kind: block, block: b, arguments: {unit: 3}}}",
            [
                "network.layers.one.arguments.unit: block 'b' has no argument 'unit'; did you mean 'units'? "
                "allowed: units, rate"
            ],
            id="an unknown argument is one line, not two",
        ),
        pytest.param(
            BLOCK + "layers: {one: {kind: block, block: b, arguments: {rate: 0.1}}, two: {kind: block, block: b}}",
            [
                f"network.layers.{name}.arguments.units: missing: block 'b' needs it; "
                f"add network.layers.{name}.arguments.units=VALUE"
                for name in ("one", "two")
            ],
            id="an argument without a value",
        ),
        pytest.param(
            BLOCK + "layers: {one: {kind: block, block: b, arguments: {units: abc}}}",
            [
                "network.blocks.b.layers.d.units: needs a whole number, got 'abc' (text), from '{units}' (where "
                "network.layers.one connects the block)"
            ],
            id="a value of another type",
        ),
        pytest.param(
            BLOCK + "layers: {one: {kind: block, block: b, arguments: {units: 3, rate: 1.5}}}",
            [
                "network.blocks.b.layers.o.rate: must be less than 1 (allowed: >= 0 and < 1), got 1.5, from '{rate}' "
                "(where network.layers.one connects the block)"
            ],
            id="a value outside of its bounds",
        ),
        pytest.param(
            {
                "blocks": {"b": {"arguments": {"n": None}, "layers": {"d": {"kind": "dense", "units": "{n / 2}"}}}},
                "layers": {f"l{i}": {"kind": "block", "block": "b", "arguments": {"n": 8}} for i in range(100)},
            },
            [
                "network.blocks.b.layers.d.units: needs a whole number, got 4.0, from '{n / 2}'; // divides whole "
                "numbers (where network.layers.l0 connects the block)"
            ],
            id="of a hundred connections one line",
        ),
        pytest.param(
            "blocks: {b: {arguments: {n: null}, layers: {d: {kind: dense, units: '{m}', unit: 3, rat: '{n'}}}}\n"
            "layers: {one: {kind: block, block: b, arguments: {n: 3}}}",
            [
                "network.blocks.b.layers.d.units: '{m}': unknown name 'm'; allowed: n (where network.layers.one "
                "connects the block)",
                "network.blocks.b.layers.d.rat: '{n': a '{' without '}'; write '{{' for a brace (where "
                "network.layers.one connects the block)",
                "network.blocks.b.arguments.n: nothing in the block uses this argument; use it as '{n}', or remove it",
            ],
            id="every expression of a layer is explained",
        ),
        pytest.param(
            "blocks: {b: {arguments: {n: 3}, layers: {d: {kind: dense, units: 3, unit: '{n}'}}}}\n"
            "layers: {one: {kind: block, block: b}}",
            [
                "network.blocks.b.layers.d.unit: unknown field for kind 'dense'; did you mean 'units'? allowed: kind, "
                "input, scope, reuse, variables, initializer, regularizer, share, trainable, "
                "learning_rate_multiplier, units, activation, use_bias, from '{n}' (where network.layers.one connects "
                "the block)",
            ],
            id="an unknown field with an expression",
        ),
        pytest.param(
            "blocks:\n  o: {arguments: {n: 2}, layers: {i: {kind: block, block: b, arguments: {m: '{n}'}}}}\n"
            "  b: {arguments: {m: null}, layers: {d: {kind: dense, units: '{5 // (m - 2)}'}}}\n"
            "layers: {s: {kind: scope, repeat: 2, layers: {one: {kind: block, block: o}}}}",
            [
                "network.blocks.b.layers.d.units: '{5 // (m - 2)}' divides by zero (where network.blocks.o.layers.i "
                "connects the block inside network.layers.s.layers.one and index is 0)"
            ],
            id="a division by zero in a block in a block in a repetition",
        ),
        pytest.param(
            "layers: {s: {kind: scope, repeat: 3, layers: {d: {kind: dense, units: '{4 // (2 - index)}'}}}}",
            ["network.layers.s.layers.d.units: '{4 // (2 - index)}' divides by zero (where index is 2)"],
            id="a division by zero in one repetition",
        ),
        pytest.param(
            "blocks: {b: {layers: {d: {kind: dense, units: '{index}'}}}}\nlayers: {one: {kind: block, block: b}}",
            [
                "network.blocks.b.layers.d.units: '{index}': 'index' is the number of a repetition, and no scope "
                "around it has repeat (where network.layers.one connects the block)"
            ],
            id="index outside of a repetition",
        ),
        pytest.param(
            "layers: {stage: {kind: scope, repeat: 2, layers: {d: {kind: dense, units: '{index.stge}'}}}}",
            [
                "network.layers.stage.layers.d.units: '{index.stge}': unknown name 'index.stge'; did you mean "
                "'index.stage'? allowed: index, index.stage (where index is 0)"
            ],
            id="a misspelt outer repetition",
        ),
        pytest.param(
            "blocks: {b: {arguments: {index: 1, a-b: 2, if: 3, max: 4, unused: 5}, layers: {d: {kind: flatten}}}}\n"
            "layers: {one: {kind: block, block: b}}",
            [
                *(
                    f"network.blocks.b.arguments.{name}: '{name}' cannot name an argument; allowed: letters, digits "
                    "and '_', not beginning with a digit, and none of index, true, false, null, int, max, min, round"
                    for name in ("index", "a-b", "if", "max")
                ),
                "network.blocks.b.arguments.unused: nothing in the block uses this argument; use it as '{unused}', "
                "or remove it",
            ],
            id="names of arguments",
        ),
        pytest.param(
            "blocks: {b: {layers: {d: {kind: flatten}}}}\nlayers: {one: {kind: block, block: b, arguments: {n: 1}}}",
            ["network.layers.one.arguments.n: block 'b' has no argument 'n'; allowed: none"],
            id="an argument of a block that has none",
        ),
        pytest.param(
            "blocks: {b: {arguments: {n: null}, layers: {s: {kind: scope, repeat: '{n}', layers: {d: {kind: flatten}}}}"
            "}}\nlayers: {one: {kind: block, block: b, arguments: {n: 0}}, two: {kind: block, block: b, "
            "arguments: {n: twice}}}",
            [
                "network.blocks.b.layers.s.repeat: must be greater than 0 (allowed: > 0 and <= 1000), got 0, from "
                "'{n}' (where network.layers.one connects the block)",
                "network.blocks.b.layers.s.repeat: needs a whole number, got 'twice' (text), from '{n}' (where "
                "network.layers.two connects the block)",
            ],
            id="a repetition by no number",
        ),
        pytest.param(
            "blocks: {b: {arguments: {k: x}, layers: {'a{k': {kind: flatten}, '{k}': {kind: flatten, scope: '{k}'}, "
            "x: {kind: flatten}}}}\nlayers: {one: {kind: block, block: b}}",
            [
                "network.blocks.b.layers.x: creates 'x', which exists already; rename one",
                "network.blocks.b.layers.a{k: 'a{k': a '{' without '}'; write '{{' for a brace (where "
                "network.layers.one connects the block)",
            ],
            id="names of layers",
        ),
    ],
)
def test_what_is_refused(text: Any, problems: list[str]) -> None:
    assert problems_of(text) == problems


def test_a_kind_is_no_expression_and_a_layer_is_a_mapping() -> None:
    (problem,) = explained(
        "blocks: {b: {arguments: {k: null}, layers: {d: {kind: '{k}'}}}}\nlayers: {d: {kind: flatten}}"
    )
    assert problem.startswith("network.blocks.b.layers.d.kind: unknown kind '{k}'; allowed: attention, ")
    assert "{layer}" not in problem
    assert explained("layers: {s: {kind: scope, repeat: 2, scope: 'a{index}', layers: {e: 5, f: {units: '{x}'}}}}") == [
        "network.layers.s.layers.e: needs a mapping, got 5",
        f"network.layers.s.layers.f.kind: missing: it says which layer this is; allowed: {', '.join(kinds('layer'))}",
    ]


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param({"n": "{n}{n}"}, id="texts"),
        pytest.param({"n": ["{n}", "{n}"]}, id="lists"),
    ],
)
def test_arguments_that_double_in_every_block_are_refused(argument: dict[str, Any]) -> None:
    raw = {
        "blocks": {
            **{
                f"b{i}": {
                    "arguments": {"n": None},
                    "layers": {"i": {"kind": "block", "block": f"b{i + 1}", "arguments": argument}},
                }
                for i in range(60)
            },
            "b60": {"arguments": {"n": None}, "layers": {"d": {"kind": "flatten", "scope": "{n}"}}},
        },
        "layers": {"one": {"kind": "block", "block": "b0", "arguments": {"n": "x"}}},
    }
    (problem,) = problems_of(raw)
    assert "more than 10,000 characters" in problem
    assert len(problem) < 300


def test_layers_that_all_fail_end_like_layers_that_are_too_many() -> None:
    inner: dict[str, Any] = {"d": {"kind": "dense", "units": "{x}"}}
    for name in ("a", "b", "c"):
        inner = {name: {"kind": "scope", "repeat": 300, "layers": inner}}
    assert problems_of({"layers": inner}) == [
        "network.layers: there would be more than 20,000 layers, counted up to network.layers.c.layers.b.layers.a; "
        "repeat less, or write fewer"
    ]


def test_the_configuration_keeps_its_expressions() -> None:
    config = config_of("""
        blocks: {b: {arguments: {n: 3}, layers: {d: {kind: dense, units: "{n}"},
          s: {kind: scope, scope: "s{n}", layers: {f: {kind: flatten}}}}}}
        layers: {one: {kind: block, block: b}}
    """)
    dumped = json.loads(config.model_dump_json())
    assert dumped["blocks"]["b"]["layers"]["d"] == {"kind": "dense", "units": "{n}"}
    assert dumped["blocks"]["b"]["layers"]["s"]["scope"] == "s{n}"
    assert config_of(dumped) == config
    assert network_spec(config_of(dumped)) == network_spec(config)


@pytest.mark.usefixtures("empty_folder")
def test_the_file_and_line_of_a_mistake_in_a_block_are_given(empty_folder: Path) -> None:
    file = empty_folder / "conf/network/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "inputs: {x: {shape: [4]}}\nblocks:\n  b:\n    arguments: {n: null}\n    layers:\n"
        '      d: {kind: dense, units: "{m}", scope: "{n}"}\n'
        "layers:\n  one: {kind: block, block: b, arguments: {n: a}}\noutputs: {y: one}\n"
    )
    with pytest.raises(ConfigError) as caught, locating_problems(["~experiment", "network=mine"]):
        network_spec(load(["~experiment", "network=mine"]).network)
    assert [str(problem) for problem in caught.value.problems] == [
        "conf/network/mine.yaml:6: network.blocks.b.layers.d.units: '{m}': unknown name 'm'; allowed: n (where "
        "network.layers.one connects the block)"
    ]


@pytest.mark.usefixtures("empty_folder")
def test_arguments_are_given_on_the_command_line_too() -> None:
    config = load(
        [
            "~experiment",
            "network=resnet18",
            "network.blocks.residual.arguments.filters=32",
            "network.inputs.image.shape=[9,9,3]",
        ]
    )
    assert plain(config)["network"]["blocks"]["residual"]["arguments"] == {"filters": 32, "strides": 1}
    with pytest.raises(
        ConfigError, match=r"network\.layers\.stem\.arguments\.filtrs: block 'conv_norm' has no argument"
    ):
        network_spec(load(["~experiment", "network=resnet18", "+network.layers.stem.arguments.filtrs=3"]).network)
    with pytest.raises(ConfigError) as caught:
        network_spec(load(["~experiment", "network=resnet18", "network.layers.stem.arguments.filters=many"]).network)
    assert [str(problem) for problem in caught.value.problems] == [
        "network.blocks.conv_norm.layers.conv.filters: needs a whole number, got 'many' (text), from '{filters}' "
        "(where network.layers.stem connects the block)"
    ]
