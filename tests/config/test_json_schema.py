"""JSON Schema: what editors are told agrees with what is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf

from expkit.config.json_schema import FILES, file_schema, schema_text, whole_schema
from expkit.config.load import load, plain, validate
from expkit.config.search import builtin_conf
from expkit.errors import ConfigError
from expkit.registry import kinds
from expkit.sweeps.sweeper_selection import HydraSettings

CONF = builtin_conf()
GROUP_FILES = sorted(file for file in CONF.glob("*/*.yaml") if file.parent.name != "hydra")
SCHEMAS: dict[str, Any] = {name: Draft202012Validator(file_schema(name, HydraSettings)) for name in FILES}
WHOLE = Draft202012Validator(whole_schema())


def read(text: str) -> Any:
    return OmegaConf.to_container(OmegaConf.create(text))


def mistakes(name: str, text: str) -> list[str]:
    """Return the innermost messages about a file's text."""
    found = []
    for error in SCHEMAS[name].iter_errors(read(text)):
        inner = error
        while inner.context:
            inner = inner.context[0]
        found.append(f"{'.'.join(map(str, error.absolute_path))}: {inner.message}")
    return sorted(found)


@pytest.mark.parametrize("name", FILES)
def test_every_schema_is_a_schema(name: str) -> None:
    schema = file_schema(name, HydraSettings)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(schema_text(schema)) == schema


def test_there_is_a_schema_for_every_folder_of_files() -> None:
    assert {file.parent.name for file in GROUP_FILES} - {"sweep"} == set(FILES), "a sweep is a change of experiments"


@pytest.mark.parametrize(
    "file", [*GROUP_FILES, CONF / "config.yaml"], ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_every_file_names_its_schema_and_follows_it(file: Path) -> None:
    head = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    (named,) = [line for line in head if line.startswith("# yaml-language-server: $schema=")]
    path = (file.parent / named.partition("=")[2]).resolve()
    name = "experiment" if file.name == "config.yaml" or file.parent.name == "sweep" else file.parent.name
    assert path == CONF.parent / "schema" / f"{name}.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    content = OmegaConf.to_container(OmegaConf.load(file))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(content)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sweeper: {n_trials: 5, params: {optimizer.learning_rate: 'interval(0.1, 1)'}, repeats: 3}", []),
        ("sweeper: {objective: [valid/loss, valid/accuracy], direction: [minimize, maximize]}", []),
        ("sweeper: {kind: optuna, storage: '${oc.env:STUDY}', sampler: {kind: tpe, seed: 3}}", []),
        ("{launcher: {n_jobs: 3}, job: {chdir: false}}", []),
        (
            "sweeper: {n_trails: 5}",
            ["hydra.sweeper: Additional properties are not allowed ('n_trails' was unexpected)"],
        ),
        ("sweeper: {repeats: 0}", ["hydra.sweeper.repeats: 0 is less than or equal to the minimum of 0"]),
        ("sweeper: {on_tie: largest}", ["hydra.sweeper.on_tie: 'largest' is not one of ['simplest', 'first']"]),
        (
            "sweeper: {kind: grid, n_trials: 5}",
            ["hydra.sweeper: Additional properties are not allowed ('n_trials' was unexpected)"],
        ),
    ],
)
def test_the_sweeper_in_a_file_of_a_sweep_is_described(text: str, expected: list[str]) -> None:
    assert mistakes("experiment", f"hydra: {{{text}}}" if not text.startswith("{") else f"hydra: {text}") == expected


@pytest.mark.parametrize("experiment", sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
@pytest.mark.usefixtures("empty_folder")
def test_a_composed_experiment_follows_the_schema_of_the_whole(experiment: str) -> None:
    composed = plain(load([f"experiment={experiment}"]))
    assert [error.message for error in WHOLE.iter_errors(composed)] == []
    assert [error.message for error in SCHEMAS["experiment"].iter_errors(composed)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("network", "layers: {a: {units: 3}}"),
        ("network", "defaults: [base, _self_]\nlayers: {a: {kind: scope, layers: {b: {kind: dense, units: '???'}}}}"),
        ("network", "inputs: {x: {shape: '${sizes}'}}"),
        ("network", "layers: {a: {kind: dense, units: '${..b.units}', trainable: '${oc.env:T}'}}"),
        ("network", "layers: {a: '${other}', b: {kind: '${kind}', units: 3}}"),
        ("optimizer", "defaults: [sgd]\nlearning_rate: {decay_rate: 0.5}"),
        ("optimizer", "{kind: adam, learning_rate: '${rate}'}"),
        ("data", "source: {kind: table, path: '???', columns: {label: y}}\nsplit: {train: [0, '${n}'], test: 0.1}"),
        ("train", "{steps: '${n}', jit_compile: auto, losses: '${losses}'}"),
        ("experiment", "defaults: [{override /network: a}]\nhydra: {job: {name: x}}\nrun: {name: '${nice}'}"),
    ],
)
def test_files_may_leave_things_to_others(name: str, text: str) -> None:
    assert mistakes(name, text) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("network", "layers: {a: {kind: dense, units: many}}", ["layers.a.units: 'many' is not of type 'integer'"]),
        ("network", "layers: {a: {kind: dens}}", ["layers.a.kind: 'dens' is not one of ["]),
        (
            "network",
            "layers: {a: {kind: dense, unit: 3}}",
            ["layers.a: Additional properties are not allowed ('unit' was unexpected)"],
        ),
        ("network", "layers: {a: {unitz: 3}}", ["layers.a: 'unitz' is not one of ["]),
        ("network", "layer: {}", [": Additional properties are not allowed ('layer' was unexpected)"]),
        (
            "network",
            "layers: {s: {kind: scope, layers: {a: {kind: conv2d, padding: full}}}}",
            ["layers.s.layers.a.padding: 'full' is not one of ['same', 'valid']"],
        ),
        ("optimizer", "{kind: adam, beta_1: 2}", ["beta_1: 2 is "]),
        (
            "optimizer",
            "{kind: sgd, beta_1: 0.5}",
            [": Additional properties are not allowed ('beta_1' was unexpected)"],
        ),
        ("ema", "decay: 1", ["decay: 1 is greater than or equal to the maximum of 1"]),
        ("run", "name: a b", ["name: 'a b' does not match "]),
        ("experiment", "emma: {}", [": Additional properties are not allowed ('emma' was unexpected)"]),
        ("experiment", "train: {stepz: 3}", ["train: Additional properties are not allowed ('stepz' was unexpected)"]),
    ],
)
def test_a_mistake_is_reported_once(name: str, text: str, said: list[str]) -> None:
    found = mistakes(name, text)
    assert len(found) == len(said), found
    assert all(one.startswith(start) for one, start in zip(found, said, strict=True)), found


CHANGES: dict[str, Any] = {
    "network.layers.layer1.units": [0, "3", None, 2.5, "${x}"],
    "network.layers.layer1.unit": [3],
    "network.layers.layer1.kind": ["dens", "conv2d", "flatten"],
    "network.inputs.image.shape": [[0], "64", [None]],
    "optimizer.learning_rate": [0.5, -1, {"kind": "cosine"}, {"kind": "constant", "value": 1}, "fast"],
    "optimizer.kind": ["sgd", "adamm"],
    "train.jit_compile": [True, "auto", "yes", 3],
    "train.losses": [{}, {"main": {"kind": "mean_squared_error", "output": "logits", "labels": "label"}}],
    "data.split.train": [[0, 10], [0], 0.5, "half"],
    "restore.rename": [[{"name": "a", "to": "b"}], [{"to": "b", "from": "a"}], {}],
    "ema.decay": [0, 0.5, 1],
    "run.name": ["a", "", "a b"],
    "nosuch": [1],
}


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.usefixtures("empty_folder")
def test_the_schema_of_the_whole_refuses_what_is_refused(path: str) -> None:
    base = plain(load([]))
    for value in CHANGES[path]:
        raw = json.loads(json.dumps(base))
        *outer, key = path.split(".")
        place = raw
        for part in outer:
            place = place[part]
        place[key] = value
        try:
            validate(raw)
            sound = True
        except ConfigError as error:
            # A split that overlaps and the like: what one field alone does not show is not in the schema.
            sound = any("ranges" in str(problem) or "add up" in str(problem) for problem in error.problems)
        assert WHOLE.is_valid(raw) == sound, (path, value)


def test_every_kind_is_known_and_described() -> None:
    definitions = WHOLE.schema["$defs"]
    for family in ("layer", "initializer", "source", "optimizer", "schedule", "loss", "metric"):
        choice = definitions[family]
        assert choice["properties"]["kind"]["enum"] == list(kinds(family))
        for rule in choice["allOf"]:
            assert definitions[rule["then"]["$ref"].rpartition("/")[2]]["description"]
    dense = definitions["Dense"]["properties"]
    assert dense["units"]["description"] == "Size of the output's last dimension."
    assert [name for name, field in dense.items() if "description" not in field] == ["kind"]
