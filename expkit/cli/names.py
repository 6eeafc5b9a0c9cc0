"""The verb ``names``: the names of a network's variables, as a table, as JSON, drawn or locked."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import Any

from expkit.checkpoints.matching.lock import LOCK_FILE, lock_text
from expkit.cli.columns import columns
from expkit.cli.writing import write
from expkit.config.sections.network import Use
from expkit.diagram.svg import svg
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig, load_checked, named
from expkit.tensor_spec import TensorSpec

__all__ = ["add_verbs", "as_json", "table"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "names",
        help="list every variable's name and shape, without TensorFlow",
        description="List variables, EMA, optimizer slots, inputs and outputs by name, without TensorFlow.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: network=siamese")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--graph", metavar="FILE.svg", help="draw the network into a file")
    parser.add_argument(
        "--lock",
        metavar="FILE",
        nargs="?",
        const=LOCK_FILE,
        help=f"write names, shapes and dtypes for `expkit check`; {LOCK_FILE} when no file is given",
    )
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_names)


def _names(given: argparse.Namespace) -> int:
    overrides, lock = list(given.overrides), given.lock
    if lock is not None and (lock.startswith("~") or "=" in lock):  # Not a file, but the first override.
        overrides, lock = [lock, *overrides], LOCK_FILE
    checked = load_checked(overrides, given.config_dir, by=named)
    spec = checked.spec
    if given.graph is not None:
        write(given.graph, svg(spec, checked.config.run.name), "--graph")
    if lock is not None:
        write(lock, lock_text(spec, shlex.join(["expkit", "names", *overrides, "--lock", lock])), "--lock")
    if given.json:
        print(json.dumps(as_json(checked), indent=2))
    elif given.graph is None and lock is None:
        print("\n".join(table(checked)))
    else:
        print("\n".join(f"wrote {name}" for name in (given.graph, lock) if name is not None))
    return 0


def as_json(checked: CheckedConfig) -> dict[str, Any]:
    """Return everything that ``expkit names`` prints as plain data."""
    spec, ema_names = checked.spec, set(checked.ema_names)
    readers = _readers_of_averages(spec)
    size = checked.config.train.examples_per_step
    state = [
        {"name": layer.state_variable(name), "shape": [size, *item.shape], "dtype": item.dtype, "layer": layer.path}
        for layer in spec.layers
        for name, item in layer.state.items()
    ]
    variables = [
        {
            "name": name,
            "shape": list(variable.shape),
            "dtype": variable.dtype,
            "parameters": variable.size,
            "trainable": variable.trainable,
            "layers": list(dict.fromkeys(variable.layers)),
            "average": ema_name(name) if name in ema_names else None,
            **({"average_layers": readers[name]} if name in readers else {}),
            "slots": [slot for phase in checked.phases for slot in phase.slots(name)],
            **({} if name in spec.served.variables else {"use": "training"}),
        }
        for name, variable in spec.variables.items()
    ]
    return {
        "variables": variables,
        **_optimizers(checked),
        "other": ["global_step"],
        **({"state": state} if state else {}),
        "inputs": [_tensor(name, item, spec.use(name)) for name, item in spec.inputs.items()],
        "outputs": [_tensor(name, spec.output_spec(name), spec.use(name)) for name in spec.outputs],
        "totals": {
            "variables": len(spec.variables),
            "parameters": sum(variable.size for variable in spec.variables.values()),
            "trainable_parameters": sum(spec.variables[name].size for name in spec.trainable),
        },
    }


def _optimizers(checked: CheckedConfig) -> dict[str, Any]:
    """Return the optimizer with its scalars, or those of every phase with what it trains."""
    optimizers = [{"kind": phase.optimizer.kind, "variables": list(phase.scalars)} for phase in checked.phases]
    if not checked.config.train.phases:
        return {"optimizer": optimizers[0]}
    pairs = zip(checked.phases, optimizers, strict=True)
    return {"phases": {phase.name: {"optimizer": item, "trains": list(phase.variables)} for phase, item in pairs}}


def _readers_of_averages(spec: NetworkSpec) -> dict[str, list[str]]:
    """Return the layers that read the EMA of a variable, by its name."""
    readers: dict[str, list[str]] = {}
    for layer in spec.layers:
        for name in dict.fromkeys(layer.averaged):
            readers.setdefault(name, []).append(layer.path)
    return readers


def _tensor(name: str, item: TensorSpec, use: Use) -> dict[str, Any]:
    only = {} if use == "always" else {"use": use}
    return {"name": name, "tensor": f"{name}:0", "shape": [None, *item.shape], "dtype": item.dtype, **only}


def table(checked: CheckedConfig) -> list[str]:
    """Return the lines that ``expkit names`` prints."""
    spec, ema_names = checked.spec, checked.ema_names
    rows: list[tuple[str, ...]] = [("variable", "shape", "dtype", "parameters", "trained", "used by")]
    for name, variable in spec.variables.items():
        trained = "yes" if variable.trainable else "no"
        only = "" if name in spec.served.variables else "  (training only)"
        users = ", ".join(dict.fromkeys(variable.layers)) + only
        rows.append((name, str(list(variable.shape)), variable.dtype, f"{variable.size:,}", trained, users))
    lines = columns(rows, right=("parameters",))
    total = sum(variable.size for variable in spec.variables.values())
    trained_total = sum(spec.variables[name].size for name in spec.trainable)
    lines += ["", f"{len(spec.variables)} variables, {total:,} parameters, {trained_total:,} trained", ""]
    if ema_names:
        ends = {name: f"  (read by {', '.join(layers)})" for name, layers in _readers_of_averages(spec).items()}
        lines += ["EMA:", *(f"  {ema_name(name)}{ends.get(name, '')}" for name in ema_names), ""]
    for phase in checked.phases:
        slots = [slot for name in phase.variables for slot in phase.slots(name)]
        if phase.name:
            own = sum(spec.variables[name].size for name in phase.variables)
            counted = f"{len(phase.variables)} variables, {own:,} parameters"
            lines += [f"phase {phase.name} ({phase.optimizer.kind}), trains {counted}:"]
        elif phase.scalars or slots:
            lines += [f"optimizer ({phase.optimizer.kind}):"]
        if phase.name or phase.scalars or slots:
            lines += [*(f"  {name}" for name in (*phase.scalars, *slots)), ""]
    lines += ["other:", "  global_step", ""]
    if spec.trained.state:
        size = checked.config.train.examples_per_step
        carried = [f"  {name}  {[size, *item.shape]} {item.dtype}" for name, item in spec.trained.state.items()]
        lines += ["state, carried from batch to batch:", *carried, ""]
    lines += ["inputs:", *(f"  {name}:0  {item}{_only(spec, name)}" for name, item in spec.inputs.items()), ""]
    lines += ["outputs:", *(f"  {name}:0  {spec.output_spec(name)}{_only(spec, name)}" for name in spec.outputs)]
    return lines


def _only(spec: NetworkSpec, name: str) -> str:
    use = spec.use(name)
    return "" if use == "always" else f"  ({use} only)"
