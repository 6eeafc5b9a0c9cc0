"""Every kind of wrong value: where it is, what it is, what was allowed, the way out."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from omegaconf import OmegaConf

from expkit.config.explain import dotted
from expkit.config.load import load, plain_yaml, validate
from expkit.config.search import builtin_conf
from expkit.errors import ConfigError
from expkit.registry import kinds

COMMON = "kind, input, scope, reuse, variables, initializer, regularizer, share, trainable, learning_rate_multiplier"
LAYERS = ", ".join(kinds("layer"))
SOURCES = "npz, arrays, digits, grammar, idx, table, image_folder, sequences, text, tfrecord"


@functools.cache
def default_yaml() -> str:
    assert builtin_conf().is_dir()
    return plain_yaml(load([]))


def problems_of(*settings: str) -> list[str]:
    """Return the problems of the default configuration with some values replaced, as ``path=YAML`` or ``~path``."""
    config = OmegaConf.create(default_yaml())
    for setting in settings:
        path, _, value = setting.partition("=")
        if path.startswith("~"):
            parent, _, key = path[1:].rpartition(".")
            del (OmegaConf.select(config, parent) if parent else config)[key]
        else:
            OmegaConf.update(config, path, OmegaConf.create(f"value: {value}")["value"], merge=False, force_add=True)
    with pytest.raises(ConfigError) as caught:
        validate(OmegaConf.to_container(config))
    return [str(problem) for problem in caught.value.problems]


CONV = "network.layers.x={kind: conv2d, filters: 2, kernel_size: 3, %s}"
NESTED = "network.layers.x={kind: scope, layers: {y: {kind: scope, layers: {z: {%s}}}}}"
Z = "network.layers.x.layers.y.layers.z"

ONE_PROBLEM = [
    # Unknown keys, at any depth.
    (
        "nosuch=3",
        "nosuch: unknown field; allowed: plugins, run, network, data, optimizer, train, ema, restore, export, tracking",
    ),
    (
        "ema.dekay=3",
        "ema.dekay: unknown field; did you mean 'decay'? allowed: enabled, decay, num_updates, variables, start_step",
    ),
    (
        "restore.from_=x",
        "restore.from_: unknown field; did you mean 'from'? allowed: from, weights, include, exclude, rename, "
        "layout, optimizer, keep_initial, sources",
    ),
    (
        "network.layers.layer1.unitz=3",
        f"network.layers.layer1.unitz: unknown field for kind 'dense'; did you mean 'units'? allowed: {COMMON}, units, "
        "activation, use_bias",
    ),
    (
        NESTED % "kind: dropout, rate: 0.5, zzz: 1",
        f"{Z}.zzz: unknown field for kind 'dropout'; allowed: {COMMON}, rate",
    ),
    (
        "network.rules={a: {variables: x, regularizer: {l3: 1}}}",
        "network.rules.a.regularizer.l3: unknown field; allowed: l1, l2",
    ),
    (
        "restore.rename=[{name: a, to: b}, {name: a, to: b, form: c}]",
        "restore.rename[1].form: unknown field; did you mean 'transform'? allowed: name, prefix, pattern, to, concat, "
        "axis, transform, optional, on_shape_mismatch",
    ),
    # Kinds.
    (
        "network.layers.layer1.kind=dens",
        f"network.layers.layer1.kind: unknown kind 'dens'; did you mean 'dense'? allowed: {LAYERS}",
    ),
    (NESTED % "kind: dens", f"{Z}.kind: unknown kind 'dens'; did you mean 'dense'? allowed: {LAYERS}"),
    ("data.source.kind=zzz", f"data.source.kind: unknown kind 'zzz'; allowed: {SOURCES}"),
    ("data.source.kind=csv", f"data.source.kind: unknown kind 'csv'; did you mean 'table'? allowed: {SOURCES}"),
    (
        "network.layers.layer1.initializer={kernel: {kind: he_norml}}",
        "network.layers.layer1.initializer.kernel.kind: unknown kind 'he_norml'; did you mean 'he_normal'? allowed: "
        + ", ".join(kinds("initializer")),
    ),
    (
        "optimizer.learning_rate={kind: cosin}",
        "optimizer.learning_rate.kind: unknown kind 'cosin'; did you mean 'cosine'? allowed: "
        + ", ".join(kinds("schedule")),
    ),
    (
        "~network.layers.layer1.kind",
        f"network.layers.layer1.kind: missing: it says which layer this is; allowed: {LAYERS}",
    ),
    (NESTED % "units: 1", f"{Z}.kind: missing: it says which layer this is; allowed: {LAYERS}"),
    (
        "~data.source.kind",
        f"data.source.kind: missing: it says which source this is; allowed: {SOURCES}",
    ),
    (
        "~train.losses.main.kind",
        "train.losses.main.kind: missing: it says which loss this is; allowed: " + ", ".join(kinds("loss")),
    ),
    # Missing fields.
    ("~network", "network: missing: it has no default; add network=VALUE"),
    (
        "~run.name",
        "run.name: missing: it has no default (Name of the run, part of its folder's name); add run.name=VALUE",
    ),
    (
        NESTED % "kind: dense",
        f"{Z}.units: missing: kind 'dense' needs it (Size of the output's last dimension); add {Z}.units=VALUE",
    ),
    # Another type than expected.
    ("train.steps=abc", "train.steps: needs a whole number, got 'abc' (text)"),
    ("train.steps='3'", "train.steps: needs a whole number, got '3' (text)"),
    ("train.steps=1.5", "train.steps: needs a whole number, got 1.5"),
    ("train.steps=true", "train.steps: needs a whole number, got true"),
    ("train.steps=null", "train: has neither steps nor epochs; add train.steps=NUMBER or train.epochs=NUMBER"),
    ("train.steps=[1]", "train.steps: needs a whole number, got the list [1]"),
    (f"train.steps={list(range(30))}", "train.steps: needs a whole number, got a list of 30"),
    ("train.steps={a: 1}", "train.steps: needs a whole number, got a mapping"),
    ("ema.decay=x", "ema.decay: needs a number, got 'x' (text)"),
    ("ema.enabled=1", "ema.enabled: needs true or false, got 1"),
    ("ema.enabled='yes'", "ema.enabled: needs true or false, got 'yes' (text)"),
    ("run.name=3", "run.name: needs text, got 3"),
    ("run.folder=false", "run.folder: needs text, got false"),
    ("network.inputs.image.shape=3", "network.inputs.image.shape: needs a list, got 3"),
    ("network.inputs.image.shape=[a]", "network.inputs.image.shape[0]: needs a whole number, got 'a' (text)"),
    ("network.variables=3", "network.variables: needs a mapping, got 3"),
    ("network.variables={kernel: 3}", "network.variables.kernel: needs text, got 3"),
    ("network.layers=[1]", "network.layers: needs a mapping, got the list [1]"),
    ("network.layers.layer1=3", "network.layers.layer1: needs a mapping, got 3"),
    ("network.layers.layer1.scope=3", "network.layers.layer1.scope: needs text, got 3"),
    ("ema=3", "ema: needs a mapping, got 3"),
    # Unions.
    (CONV.replace("3,", "a,") % "", "network.layers.x.kernel_size: needs a whole number or a list, got 'a' (text)"),
    (CONV.replace("3,", "1.5,") % "", "network.layers.x.kernel_size: needs a whole number or a list, got 1.5"),
    (CONV.replace("3,", "0,") % "", "network.layers.x.kernel_size: must be greater than 0, got 0"),
    (CONV.replace("3,", "[1, a],") % "", "network.layers.x.kernel_size[1]: needs a whole number, got 'a' (text)"),
    (CONV.replace("3,", "[0, 1],") % "", "network.layers.x.kernel_size[0]: must be greater than 0, got 0"),
    (
        CONV.replace("3,", "[1, 2, 3],") % "",
        "network.layers.x.kernel_size: needs a length of at most 2, got 3: the list [1, 2, 3]",
    ),
    ("network.layers.layer1.input=3", "network.layers.layer1.input: needs text or a list, got 3"),
    ("network.layers.layer1.input=[1]", "network.layers.layer1.input[0]: needs text, got 1"),
    (
        "network.layers.layer1.reuse=maybe",
        "network.layers.layer1.reuse: needs true or false or 'auto', got 'maybe' (text)",
    ),
    ("data.split.train=true", "data.split.train: needs a number or text or a list, got true"),
    # One of several words.
    (
        CONV % "padding: sam",
        "network.layers.x.padding: needs 'same' or 'valid' or a list, got 'sam' (text); did you mean 'same'?",
    ),
    (
        "train.parallelism=both",
        "train.parallelism: needs 'auto' or 'intra_op' or 'inter_op', got 'both' (text)",
    ),
    ("train.best_mode=biggest", "train.best_mode: unknown value 'biggest' (text); allowed: auto, max, min"),
    ("export.weights=3", "export.weights: unknown value 3; allowed: auto, raw, ema"),
    # Bounds.
    ("ema.decay=1.5", "ema.decay: must be less than 1 (allowed: > 0 and < 1), got 1.5"),
    ("ema.decay=0", "ema.decay: must be greater than 0 (allowed: > 0 and < 1), got 0"),
    ("ema.decay=.nan", "ema.decay: must be a finite number (allowed: > 0 and < 1), got nan"),
    ("train.steps=-1", "train.steps: must be greater than or equal to 0, got -1"),
    ("network.inputs.image.shape=[-5]", "network.inputs.image.shape[0]: must be greater than 0, got -5"),
    ("network.outputs={}", "network.outputs: needs a length of at least 1, got 0: an empty mapping"),
    (
        "run.name=a/b",
        "run.name: 'a/b' (text) is not allowed here; it must match ^[A-Za-z0-9][A-Za-z0-9_.\\-]*$",
    ),
    (
        "data.source={kind: table, path: x, delimiter: ';;'}",
        "data.source.delimiter: String should have at most 1 character, got ';;' (text)",
    ),
    (
        "data.source={kind: table, path: x, delimiter: é}",
        "data.source.delimiter: 'é' (text) is not allowed here; it must match ^[\\t !#-~]$",
    ),
    (
        "data.source={kind: text, path: x, encoding: utf-9}",
        "data.source.encoding: unknown encoding 'utf-9'; did you mean 'utf-8'? such as utf-8, utf-16, utf-32, ascii, "
        "latin-1, cp1252, cp1250, cp1251, shift_jis, gb18030",
    ),
    (
        "data.source={kind: table, path: x, columns: {a: '*', b: '*'}}",
        'data.source: only one field can have all other columns ("*"), got a, b',
    ),
    (
        "data.source={kind: table, path: x, columns: {a: []}}",
        'data.source: fields without a column: a; list their columns, or give "*"',
    ),
    (
        "data.split={train: train, test: train}",
        "data.split: a part can be one split only, or training would see scored examples: ['train', 'train']",
    ),
]


@pytest.mark.parametrize(("setting", "problem"), ONE_PROBLEM)
def test_a_wrong_value_is_explained(setting: str, problem: str) -> None:
    assert problems_of(setting) == [problem]


def test_all_problems_are_reported_at_once_in_the_order_of_the_configuration() -> None:
    assert problems_of("ema.decay=2", "train.steps=a", "network.layers.layer1.unitz=1", "data.sauce=1") == [
        f"network.layers.layer1.unitz: unknown field for kind 'dense'; did you mean 'units'? allowed: {COMMON}, units, "
        "activation, use_bias",
        "data.sauce: unknown field; did you mean 'source'? allowed: source, split, pairs, windows, order, classes, "
        "preprocess, augment, duplicates, placement",
        "train.steps: needs a whole number, got 'a' (text)",
        "ema.decay: must be less than 1 (allowed: > 0 and < 1), got 2",
    ]


def test_another_kind_refuses_the_fields_of_the_one_before() -> None:
    assert problems_of("optimizer.kind=sgd") == [
        f"optimizer.{field}: unknown field for kind 'sgd'; allowed: kind, learning_rate, warmup_steps, global_clipnorm"
        for field in ("beta_1", "beta_2", "epsilon")
    ]


@pytest.mark.parametrize(
    ("path", "text"), [((), ""), (("a",), "a"), (("a", "b", 0, "c"), "a.b[0].c"), (("a", 1, 2), "a[1][2]")]
)
def test_a_path_is_written_as_on_the_command_line(path: tuple[Any, ...], text: str) -> None:
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("{}", "needs a length of at least 1, got 0: an empty mapping"),
        ("[]", "needs a length of at least 1, got 0: the list []"),
        ("abc", "needs 'balanced' or a list or a mapping, got 'abc' (text)"),
    ],
)
def test_a_list_or_a_mapping_is_explained_without_the_branches(setting: str, problem: str) -> None:
    assert problems_of(f"train.losses.main.class_weights={setting}") == [f"train.losses.main.class_weights: {problem}"]


@pytest.mark.parametrize(
    ("setting", "start", "end"),
    [
        (
            "data.preprocess.image=[{kind: pad_sequence, length: 8}]",
            "unknown kind 'pad_sequence'; did you mean 'pad'?",
            "",
        ),
        ("data.preprocess.image=[{kind: pad, maxlen: 8}]", "unknown field for kind 'pad'; did you mean 'length'?", ""),
        (
            "train.metrics={f1: {kind: f1, average: none}}",
            "unknown value 'none' (text); allowed: macro",
            "by_class: true, beside the average",
        ),
        (
            "train.metrics={f1: {kind: f1, average: binary}}",
            "unknown value 'binary' (text); allowed: macro",
            "with classes: [1]",
        ),
    ],
)
def test_words_of_other_libraries_are_known(setting: str, start: str, end: str) -> None:
    (problem,) = (text.partition(": ")[2] for text in problems_of(setting))
    assert problem.startswith(start)
    assert problem.endswith(end)
