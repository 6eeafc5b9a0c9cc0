"""The actions of the verb ``checkpoint`` that only print: list, show, diff, stats."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expkit.checkpoints.diff import ValueDiff, diff_variables
from expkit.checkpoints.edit.plan import select
from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.listing import checkpoints_in
from expkit.checkpoints.ownership import Ownership, owned, ownership
from expkit.checkpoints.stats import Stats, stats_of
from expkit.cli.columns import columns
from expkit.errors import CheckpointError, ExpkitError
from expkit.fs import cannot_write
from expkit.importer.contents import in_reading_order
from expkit.tensor_spec import TensorSpec

__all__ = ["diff", "list_checkpoints", "show_variables", "stats"]

_LEVELS = " ▁▂▃▄▅▆▇█"
_BAR_WIDTH = 50
"""Characters of the longest bar."""
_BARS = " ▏▎▍▌▋▊▉█"
_REAL_NUMBERS = ("float", "bfloat", "int", "uint", "bool")


def list_checkpoints(given: argparse.Namespace) -> int:
    """List the checkpoints of a folder."""
    found = checkpoints_in(given.folder, given.folder)
    if given.json:
        _print_json(
            [
                {
                    "path": str(item.path),
                    "step": item.step,
                    "bytes": item.size,
                    "latest": item.latest,
                    "metrics": {name: _finite(value) for name, value in item.metrics.items()},
                }
                for item in found
            ]
        )
        return 0
    every = dict.fromkeys(name for item in found for name in item.metrics)
    metrics = [name for name in every if not name.startswith("train/")]  # Only metrics by which a checkpoint is chosen.
    rows = [("checkpoint", "step", *metrics, "size", "")]
    for item in found:
        values = [f"{item.metrics[name]:.6g}" if name in item.metrics else "" for name in metrics]
        step = "" if item.step is None else f"{item.step:,}"
        rows.append((str(item.path), step, *values, _bytes(item.size), "latest" if item.latest else ""))
    print("\n".join(columns(rows, right=("step", *metrics, "size"))))
    return 0


def show_variables(given: argparse.Namespace) -> int:
    """List variables with shape, dtype, parameter count, kind and owner."""
    source, names = _selected(given)
    specs = {name: source.variables[name] for name in names}
    kinds = ownership(source.variables)
    if given.json:
        variables = [
            {
                "name": name,
                "shape": list(spec.shape),
                "dtype": spec.dtype,
                "parameters": math.prod(spec.sizes),
                "kind": kinds[name].kind,
                "of": kinds[name].owner,
            }
            for name, spec in specs.items()
        ]
        _print_json({"path": str(source.path), "format": source.format, "variables": variables})
        return 0
    rows = [("variable", "shape", "dtype", "parameters", "")]
    for name, spec in specs.items():
        rows.append((name, str(list(spec.shape)), spec.dtype, f"{math.prod(spec.sizes):,}", _kind_text(kinds[name])))
    print("\n".join(columns(rows, right=("parameters",))))
    print(f"\n{source.path} ({source.format}): {_totals(specs, kinds)}")
    return 0


def _kind_text(item: Ownership) -> str:
    kind = {"variable": "", "slot": f"slot {item.slot}", "average": "EMA"}.get(item.kind, item.kind)
    return f"{kind} of {item.owner}" if item.owner is not None else kind


def _totals(specs: Mapping[str, TensorSpec], kinds: Mapping[str, Ownership]) -> str:
    totals = []
    for kind in ("variable", "slot", "average", "counter", "state"):
        word = "EMA variable" if kind == "average" else kind
        of_kind = [spec for name, spec in specs.items() if kinds[name].kind == kind]
        if of_kind:
            count = sum(math.prod(spec.sizes) for spec in of_kind)
            plural = "s" * (len(of_kind) != 1)
            totals.append(f"{len(of_kind):,} {word}{plural} of {count:,} parameter{'s' * (count != 1)}")
    return ", ".join(totals) or "no variables"


def diff(given: argparse.Namespace) -> int:
    """Compare two sources; return 0 if they are the same, 1 if they differ."""
    first, second = open_variables(given.source, given.source), open_variables(given.other, given.other)
    a, b = first.variables, second.variables
    names = in_reading_order(list({**a, **b}))
    if given.names:
        names = select(names, given.names, "diff")
    found = diff_variables(first, second, names)
    if given.json:
        _print_json(
            {
                "differs": found.differs,
                "gone": list(found.gone),
                "added": list(found.added),
                "shapes": {name: [list(a[name].shape), list(b[name].shape)] for name in found.shapes},
                "dtypes": {name: [a[name].dtype, b[name].dtype] for name in found.dtypes},
                "values": {name: _value_diff_json(value) for name, value in found.values.items()},
                "same": list(found.same),
            }
        )
        return int(found.differs)
    rows = [(name, "gone", str(a[name])) for name in found.gone]
    rows += [(name, "added", str(b[name])) for name in found.added]
    rows += [(name, "shape", f"{list(a[name].shape)} -> {list(b[name].shape)}") for name in found.shapes]
    rows += [(name, "dtype", f"{a[name].dtype} -> {b[name].dtype}") for name in found.dtypes]
    rows += [(name, "values", _value_diff_text(value, a[name])) for name, value in found.values.items()]
    if rows:
        print("\n".join(columns([("variable", "differs in", ""), *rows])))
    print(f"{len(found.same)} of {len(names)} variables are equal bit for bit")
    return int(found.differs)


def _value_diff_text(value: ValueDiff, spec: TensorSpec) -> str:
    count = f"{value.numbers:,} of {math.prod(spec.sizes):,}"
    if value.maximum is None or value.relative is None:
        return count
    return f"{count}, by at most {value.maximum:.3g} ({value.relative:.2g} of the largest)"


def _value_diff_json(value: ValueDiff) -> dict[str, Any]:
    return {"numbers": value.numbers, "maximum": _finite(value.maximum), "relative": _finite(value.relative)}


def stats(given: argparse.Namespace) -> int:
    """Print statistics of the values and, with ``--plot``, draw their histograms."""
    source, names = _selected(given)
    counted = [name for name in names if source.variables[name].dtype.startswith(_REAL_NUMBERS)]
    if not counted:
        raise CheckpointError.at("stats", f"no variable of real numbers among {len(names)} in {source.path}")
    found = {name: stats_of(source.read(name)) for name in counted}
    if given.json:
        _print_json({name: _stats_json(item) for name, item in found.items()})
    else:
        print("\n".join(_stats_table(source, found)))
        if len(names) > len(counted):
            print(f"without numbers: {', '.join(name for name in names if name not in found)}")
    if given.plot is not None:
        report = _plot(source, counted, given.plot, selected=bool(given.names))
        if not given.json:
            print(report)
    return 0


def _stats_json(item: Stats) -> dict[str, Any]:
    values = {"spread" if name == "std" else name: value for name, value in vars(item).items()}
    return {name: _finite(value) if isinstance(value, float) else value for name, value in values.items()}


def _stats_table(source: VariableSource, found: dict[str, Stats]) -> list[str]:
    infinities = any(item.infinities for item in found.values())
    headings = ("mean", "std", "min", "max", "NaN", *(["infinities"] if infinities else []))
    rows = [("variable", "shape", *headings, "from min to max")]
    for name, item in found.items():
        numbers = [f"{value:.4g}" for value in (item.mean, item.std, item.minimum, item.maximum)]
        counts = [f"{value:,}" for value in (item.nans, *([item.infinities] if infinities else []))]
        rows.append((name, str(list(source.variables[name].shape)), *numbers, *counts, _sparkline(item.counts)))
    lines = columns(rows, right=headings)
    if len(found) == 1:
        (item,) = found.values()
        lines += ["", *_bar_chart(item)]
    return lines


def _sparkline(counts: Sequence[int]) -> str:
    """Return counts as one line of blocks, two counts a block; a count above zero is always visible."""
    pairs = [sum(counts[index : index + 2]) for index in range(0, len(counts), 2)]
    most = max(pairs)
    return "".join(_LEVELS[math.ceil(count / most * 8) if most else 0] for count in pairs)


def _bar_chart(item: Stats) -> list[str]:
    """Return a histogram with a line for every two counts."""
    pairs = [sum(item.counts[index : index + 2]) for index in range(0, len(item.counts), 2)]
    if not item.minimum < item.maximum:
        return []
    most, step = max(pairs), (item.maximum - item.minimum) / len(pairs)
    starts = [f"{item.minimum + index * step:.4g}" for index in range(len(pairs))]
    lines = []
    for start, count in zip(starts, pairs, strict=True):
        eighths = math.ceil(count / most * _BAR_WIDTH * 8)
        bar = _BARS[8] * (eighths // 8) + (_BARS[eighths % 8] if eighths % 8 else "")
        lines.append(" ".join(part for part in (start.rjust(max(map(len, starts))), bar, f"{count:,}") if part))
    return lines


def _plot(source: VariableSource, names: Sequence[str], file: str, *, selected: bool) -> str:
    """Draw histograms, EMA values over raw ones, slots only if selected; return a report of one line."""
    from expkit.plots.data import MAX_SHOWN, histogram
    from expkit.plots.style import save
    from expkit.plots.weights import weight_histograms

    path = Path(file)
    if path.suffix != ".png":
        raise ExpkitError.at("--plot", f"cannot write {file}; give a file that ends in .png")
    kinds, emas = ownership(source.variables), owned(source.variables).emas
    own = [name for name in names if kinds[name].kind == "variable" or (selected and kinds[name].owner not in names)]
    drawn = {}
    for name in own[:MAX_SHOWN]:
        ema = emas.get(name)
        drawn[name] = histogram(source.read(name), source.read(ema) if ema is not None and ema in names else None)
    figure = weight_histograms(drawn, "Values of the variables", str(source.path))
    if figure is None:
        raise ExpkitError.at(
            "--plot", f"no variable to draw in {source.path}; name slots, EMA variables or counters to draw them"
        )
    try:
        save(figure, path)
    except OSError as error:
        raise ExpkitError.at("--plot", cannot_write(file, error)) from None
    omitted = f", the first {MAX_SHOWN} of {len(own)} variables; name others to draw" if len(own) > MAX_SHOWN else ""
    return f"wrote {file}{omitted}"


def _selected(given: argparse.Namespace) -> tuple[VariableSource, list[str]]:
    source = open_variables(given.source, given.source)
    names = in_reading_order(list(source.variables))
    return source, select(names, given.names, given.source) if given.names else names


def _bytes(size: int) -> str:
    power = min(int(math.log10(max(size, 1)) // 3), 3)
    return f"{size / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"


def _finite(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, allow_nan=False))
