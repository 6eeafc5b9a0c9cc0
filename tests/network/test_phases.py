"""Phases before any graph exists: the variables that each trains, the names of its slots, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from expkit.checkpoints.edit.plan import remove, rename
from expkit.checkpoints.ownership import ownership
from expkit.checkpoints.restore.planner import restore_plan
from expkit.checkpoints.restore.targets import restore_targets
from expkit.cli.names import as_json, table
from expkit.errors import ConfigError
from expkit.preflight import check
from support.experiments import config_of
from support.plans import opened

NETWORK = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {
        "E": {"kind": "dense", "units": 4, "activation": "tanh"},
        "A": {"kind": "dense", "units": 3, "input": "E"},
        "B": {"kind": "dense", "units": 3, "input": "E"},
    },
    "outputs": {"a": "A", "b": "B"},
}
LOSSES = {
    name: {"kind": "sparse_softmax_cross_entropy", "output": output} for name, output in (("one", "a"), ("two", "b"))
}
ADAM = {"kind": "adam", "learning_rate": 0.1}
PHASES = {
    "p": {"losses": ["one"], "variables": "(E|A)/.*", "optimizer": ADAM},
    "q": {"losses": ["two"], "variables": "(E|B)/.*", "optimizer": {"kind": "momentum", "learning_rate": 0.1}},
}
SLOTS = {
    "E/kernel": ["p/E/kernel/Adam", "p/E/kernel/Adam_1", "q/E/kernel/Momentum"],
    "A/bias": ["p/A/bias/Adam", "p/A/bias/Adam_1"],
    "B/bias": ["q/B/bias/Momentum"],
}


def phased(folder: Path, phases: Any, network: Any = NETWORK, **train: Any) -> Any:
    sections = {name: train.pop(name) for name in ("ema", "restore") if name in train}
    given = {"losses": LOSSES, "metrics": {}, "phases": phases, **train}
    return config_of(folder, network=network, train=given, **sections)


def refused(folder: Path, phases: Any, network: Any = NETWORK, **train: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(phased(folder, phases, network, **train))
    return [str(problem) for problem in caught.value.problems]


def test_names_are_those_of_the_phase_that_trains_a_variable(tmp_path: Path) -> None:
    described = as_json(check(phased(tmp_path, PHASES)))
    slots = {variable["name"]: variable["slots"] for variable in described["variables"]}
    assert {name: slots[name] for name in SLOTS} == SLOTS
    assert "optimizer" not in described
    assert described["phases"] == {
        "p": {
            "optimizer": {"kind": "adam", "variables": ["p/beta1_power", "p/beta2_power"]},
            "trains": ["E/kernel", "E/bias", "A/kernel", "A/bias"],
        },
        "q": {
            "optimizer": {"kind": "momentum", "variables": []},
            "trains": ["E/kernel", "E/bias", "B/kernel", "B/bias"],
        },
    }
    lines = table(check(phased(tmp_path, PHASES)))
    first = lines.index("phase p (adam), trains 4 variables, 35 parameters:")
    assert lines[first + 1 : first + 4] == ["  p/beta1_power", "  p/beta2_power", "  p/E/kernel/Adam"]


def test_a_phase_without_an_optimizer_has_that_of_the_experiment(tmp_path: Path) -> None:
    every = {"p": {"losses": ["one", "two"]}}
    found = check(phased(tmp_path, every)).phases
    assert [(phase.name, phase.optimizer.kind, len(phase.variables)) for phase in found] == [("p", "sgd", 6)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"p": {"variables": "C/.*"}},
            "train.phases.p.variables: 'C/.*' matches no variable, so the phase trains nothing; trained variables: "
            "E/kernel, E/bias, A/kernel, A/bias, B/kernel, B/bias",
        ),
        (
            {"p": {"variables": "(E"}},
            "train.phases.p.variables: '(E' is not a regular expression: missing ), unterminated subpattern at "
            "position 0",
        ),
        (
            {"p": {"losses": ["on", "one"]}},
            "train.phases.p.losses: no loss 'on'; did you mean 'one'? losses: one, two",
        ),
        ({"p": {"losses": ["one", "one"]}}, "train.phases.p.losses: one is given more than once"),
        (
            {"q": {"losses": ["one"], "variables": "E/.*"}, "p": {"variables": ".*", "losses": ["one"]}},
            "train.losses: no phase lowers two; add it to the losses of a phase, make it a metric, or leave it out",
        ),
        (
            {"q": {"variables": "B/kernel"}},
            "train.phases: no phase trains B/bias; let the variables of a phase match them, or set trainable: false on "
            "their layers",
        ),
        (
            {"p": {"variables": "(E|A|B)/.*"}},
            "train.phases.p: none of its losses (one) depends on B/kernel, B/bias; leave them out of its variables, or "
            "add a loss that does",
        ),
    ],
)
def test_a_wrong_phase_is_reported_before_tensorflow(tmp_path: Path, changed: Any, message: str) -> None:
    phases = {name: {**phase, **changed.get(name, {})} for name, phase in PHASES.items()}
    assert refused(tmp_path, phases) == [message]


def test_a_variable_in_two_phases_that_update_at_once_is_refused(tmp_path: Path) -> None:
    more = {**PHASES, "q": {**PHASES["q"], "steps": 2}}
    assert refused(tmp_path, more, update="joint") == [
        "train.phases.q.variables: the phases p, q update at once, but each trains E/kernel, E/bias; with update: "
        "joint a variable is in one phase only, with update: alternating it may be in several",
        "train.phases.q.steps: is 2, but with update: joint all phases update once, at the same time; set it to 1, or "
        "update: alternating",
    ]
    assert refused(tmp_path, {}, update="joint") == [
        "train: update is 'joint', but there are no phases; give phases, or leave update out"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a/b", "'a/b' is not a name of a phase, under which its slots are saved; allowed: at most 200 letters, "
         "digits, _ and -, starting with a letter or a digit"),
    ],
)  # fmt: skip
def test_a_phase_is_named_by_one_word(tmp_path: Path, name: str, message: str) -> None:
    assert refused(tmp_path, {name: {"losses": ["one", "two"]}}) == [f"train.phases.{name}: {message}"]


def test_a_phase_named_as_a_scope_whose_slots_would_be_taken_for_others_is_refused(tmp_path: Path) -> None:
    layers = {
        "w": {"kind": "dense", "units": 4, "scope": "", "variables": {"kernel": "k", "bias": "b"}},
        "A": {"kind": "dense", "units": 3, "scope": "p", "variables": {"kernel": "k", "bias": "b"}},
    }
    network = {**NETWORK, "layers": layers, "outputs": {"a": "A"}}
    losses = {"losses": {"one": LOSSES["one"]}}
    assert refused(tmp_path, {"p": {"losses": ["one"]}}, network, **losses) == [
        "train.phases.p: the slots of 'k' would be named as those of 'p/k'; give the phase another name than a scope "
        "of the network"
    ]
    assert check(phased(tmp_path, {"other": {"losses": ["one"]}}, network, **losses)).phases[0].variables


def gradient_network(**between: Any) -> dict[str, Any]:
    layers = {"E": NETWORK["layers"]["E"], "between": between, "A": {"kind": "dense", "units": 3}}
    if between["kind"] == "argmax":
        layers |= {
            "vector": {"kind": "one_hot", "depth": 4, "input": "between"},
            "A": {**layers["A"], "input": "vector"},
        }
        layers = {name: layers[name] for name in ("E", "between", "vector", "A")}
    return {**NETWORK, "layers": layers, "outputs": {"a": "A"}}


@pytest.mark.parametrize(
    "between",
    [
        {"kind": "stop_gradient"},
        {"kind": "scale_gradient", "scale": 0.0},
        {"kind": "math", "function": "floor"},
        {"kind": "argmax"},
    ],
)
def test_a_layer_that_stops_the_gradient_is_known_before_tensorflow(tmp_path: Path, between: dict[str, Any]) -> None:
    config = phased(tmp_path, {}, gradient_network(**between), losses={"one": LOSSES["one"]})
    with pytest.raises(ConfigError) as caught:
        check(config)
    assert str(caught.value) == (
        "train.losses: no loss depends on E/kernel, E/bias; set trainable: false on the layers or remove them"
    )


@pytest.mark.parametrize("between", [{"kind": "scale_gradient", "scale": -1.0}, {"kind": "math", "function": "abs"}])
def test_a_layer_that_passes_a_gradient_is_no_end_of_it(tmp_path: Path, between: dict[str, Any]) -> None:
    assert check(phased(tmp_path, {}, gradient_network(**between), losses={"one": LOSSES["one"]})).phases


def test_a_regularizer_is_no_loss_that_reaches_a_variable(tmp_path: Path) -> None:
    layers = {**NETWORK["layers"], "B": {**NETWORK["layers"]["B"], "regularizer": {"kernel": {"l2": 0.1}}}}
    network = {**NETWORK, "layers": layers}
    assert refused(tmp_path, {}, network, losses={"one": LOSSES["one"]}) == [
        "train.losses: no loss depends on B/kernel, B/bias; set trainable: false on the layers or remove them"
    ]


def test_slots_of_a_phase_belong_to_their_variable_and_follow_it(tmp_path: Path) -> None:
    checked = check(phased(tmp_path, PHASES))
    targets = restore_targets(check(phased(tmp_path, PHASES, restore={"optimizer": "restore"})))
    specs = {name: target.spec for name, target in targets.items()}
    slots = {slot for variable in as_json(checked)["variables"] for slot in variable["slots"]}
    assert slots <= specs.keys()
    found = ownership(specs)
    for variable in as_json(checked)["variables"]:
        assert {found[slot].owner for slot in variable["slots"]} == {variable["name"]}
    renamed = rename(specs, [("E/kernel", "body/kernel")], "--rename").sources
    assert renamed["p/body/kernel/Adam_1"] == "p/E/kernel/Adam_1"
    assert renamed["q/body/kernel/Momentum"] == "q/E/kernel/Momentum"
    assert not any("E/kernel" in name for name in remove(specs, ["E/kernel"], "E/kernel").sources)


def test_slots_are_told_apart_where_a_variable_is_named_as_its_phase() -> None:
    variables = {"w": (2,), "w/w/Adam": (2,)}
    assert ownership(variables)["w/w/Adam"].owner == "w"
    assert rename(variables, [("w", "v")], "--rename").sources == {"v": "w", "w/v/Adam": "w/w/Adam"}


def sources_of(folder: Path, renamed: Mapping[str, str], **config: Any) -> dict[str, str]:
    """Return where the restore targets of the phases come from in a file with other names."""
    targets = restore_targets(check(phased(folder, PHASES, restore={"optimizer": "restore"}, ema={"enabled": False})))
    shapes = {renamed.get(name, name): target.spec.sizes for name, target in targets.items() if renamed.get(name) != ""}
    steps = {name: target for name, target in targets.items() if name != "global_step"}
    plan = restore_plan(steps, [opened(shapes, **config)])
    plan.check()
    return {item.variable: item.sources[0] for item in plan.assignments}


def test_every_phase_gets_its_own_slots_and_counters_back(tmp_path: Path) -> None:
    found = sources_of(tmp_path, {})
    assert found == {name: name for name in found}
    assert {*SLOTS["E/kernel"], *SLOTS["A/bias"], *SLOTS["B/bias"], "p/beta1_power"} <= found.keys()


def test_slots_of_a_phase_follow_a_renamed_owner(tmp_path: Path) -> None:
    old = {name: name.replace("E/", "body/") for name in ("E/kernel", "E/bias", *SLOTS["E/kernel"])}
    old |= {f"{phase}/E/bias/{slot}": f"{phase}/body/bias/{slot}" for phase, slot in
            (("p", "Adam"), ("p", "Adam_1"), ("q", "Momentum"))}  # fmt: skip
    found = sources_of(tmp_path, old, rename=[{"prefix": "body/", "to": "E/"}])
    assert {name: found[name] for name in SLOTS["E/kernel"]} == {
        "p/E/kernel/Adam": "p/body/kernel/Adam",
        "p/E/kernel/Adam_1": "p/body/kernel/Adam_1",
        "q/E/kernel/Momentum": "q/body/kernel/Momentum",
    }


def test_slots_of_training_without_phases_are_taken_where_there_is_one(tmp_path: Path) -> None:
    every = [slot for slots in SLOTS.values() for slot in slots]
    every += [f"{phase}/{name}/{slot}" for phase, name, slot in (
        ("p", "E/bias", "Adam"), ("p", "E/bias", "Adam_1"), ("q", "E/bias", "Momentum"), ("p", "A/kernel", "Adam"),
        ("p", "A/kernel", "Adam_1"), ("q", "B/kernel", "Momentum"), ("p", "beta1_power", ""), ("p", "beta2_power", ""),
    )]  # fmt: skip
    old = {slot.rstrip("/"): slot.rstrip("/")[2:] for slot in every}
    found = sources_of(tmp_path, old)
    assert (found["p/E/kernel/Adam_1"], found["p/beta1_power"]) == ("E/kernel/Adam_1", "beta1_power")
