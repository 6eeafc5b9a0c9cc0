"""The verb ``names``: what a network's variables will be called."""

from __future__ import annotations

import argparse
from typing import Any

from expkit.config.schema import Config
from expkit.network.names import shadow_name
from expkit.network.spec import NetworkSpec
from expkit.preflight import load_checked
from expkit.training.ema import averaged_names

__all__ = ["add_verbs", "table"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "names",
        help="list every variable's name and shape, without TensorFlow",
        description="List variables, averages, optimizer slots, inputs and outputs by name, without TensorFlow.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: network=siamese")
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_names)


def _names(given: argparse.Namespace) -> int:
    print("\n".join(table(*load_checked(given.overrides, given.config_dir))))
    return 0


def table(config: Config, spec: NetworkSpec) -> list[str]:
    """Return the lines that ``expkit names`` prints."""
    averaged = averaged_names(config.ema, spec)
    rows: list[tuple[str, ...]] = [("variable", "shape", "numbers", "trained", "used by")]
    for name, variable in spec.variables.items():
        trained = "yes" if variable.trainable else "no"
        rows.append((name, _shape(variable.shape), f"{variable.size:,}", trained, ", ".join(variable.layers)))
    lines = _columns(rows)
    total = sum(variable.size for variable in spec.variables.values())
    trained_total = sum(spec.variables[name].size for name in spec.trainable)
    lines += ["", f"{len(spec.variables)} variables, {total:,} numbers, {trained_total:,} trained", ""]
    if averaged:
        lines += ["averages:", *(f"  {shadow_name(name)}" for name in averaged), ""]
    slots = [slot for name in spec.trainable for slot in config.optimizer.slot_names(name)]
    extra = [*config.optimizer.scalars, *slots]
    if extra:
        lines += [f"optimizer ({config.optimizer.kind}):", *(f"  {name}" for name in extra), ""]
    lines += ["other:", "  global_step", ""]
    lines += ["inputs:", *(f"  {name}:0  {item}" for name, item in spec.inputs.items()), ""]
    lines += ["outputs:", *(f"  {name}:0  {spec.output_spec(name)}" for name in spec.outputs)]
    return lines


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    numbers = rows[0].index("numbers")
    return [
        "  ".join(
            cell.rjust(width) if i == numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
