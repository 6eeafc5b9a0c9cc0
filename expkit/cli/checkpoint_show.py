"""What the verb ``checkpoint`` shows without writing a checkpoint: lists, differences, statistics."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expkit.checkpoints.diff import Apart, compare_sources
from expkit.checkpoints.edit.plan import select
from expkit.checkpoints.formats.open import Source, open_source
from expkit.checkpoints.listing import checkpoints_in
from expkit.checkpoints.ownership import Kin, kin
from expkit.checkpoints.stats import Stats, stats_of
from expkit.cli.columns import columns, sizes
from expkit.errors import CheckpointError, ExpkitError
from expkit.fs import cannot_write
from expkit.importer.contents import in_reading_order
from expkit.network.names import ema_name

__all__ = ["diff", "list_checkpoints", "show_variables", "stats"]

_LEVELS = " ▁▂▃▄▅▆▇█"
_BARS = " ▏▎▍▌▋▊▉█"
_NUMBERS = ("float", "bfloat", "int", "uint", "bool")


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
    metrics = [name for name in every if not name.startswith("train/")]  # Those that a checkpoint is chosen by.
    rows = [("checkpoint", "step", *metrics, "size", "")]
    for item in found:
        judged = [f"{item.metrics[name]:.6g}" if name in item.metrics else "" for name in metrics]
        step = "" if item.step is None else f"{item.step:,}"
        rows.append((str(item.path), step, *judged, _bytes(item.size), "latest" if item.latest else ""))
    print("\n".join(columns(rows, right=("step", *metrics, "size"))))
    return 0


def show_variables(given: argparse.Namespace) -> int:
    """List variables: shape, dtype, parameters, and what each is."""
    source, names = _selected(given)
    kinds = kin({name: (source.shapes[name], source.dtypes[name]) for name in source.shapes})
    if given.json:
        variables = [
            {
                "name": name,
                "shape": list(source.shapes[name]),
                "dtype": source.dtypes[name],
                "parameters": math.prod(source.shapes[name]),
                "kind": kinds[name].kind,
                "of": kinds[name].owner,
            }
            for name in names
        ]
        _print_json({"path": str(source.path), "format": source.format, "variables": variables})
        return 0
    rows = [("variable", "shape", "dtype", "parameters", "")]
    for name in names:
        count = f"{math.prod(source.shapes[name]):,}"
        rows.append((name, sizes(source.shapes[name]), source.dtypes[name], count, _what(kinds[name])))
    print("\n".join(columns(rows, right=("parameters",))))
    print(f"\n{source.path} ({source.format}): {_totals(source, names, kinds)}")
    return 0


def _what(item: Kin) -> str:
    said = {"variable": "", "slot": f"slot {item.slot}", "average": "average", "counter": "counter"}[item.kind]
    return f"{said} of {item.owner}" if item.owner is not None else said


def _totals(source: Source, names: Sequence[str], kinds: dict[str, Kin]) -> str:
    parts = []
    for kind in ("variable", "slot", "average", "counter"):
        these = [name for name in names if kinds[name].kind == kind]
        if these:
            count = sum(math.prod(source.shapes[name]) for name in these)
            parts.append(f"{len(these):,} {kind}{'s' * (len(these) != 1)} of {count:,} parameter{'s' * (count != 1)}")
    return ", ".join(parts) or "no variables"


def diff(given: argparse.Namespace) -> int:
    """Compare two sources; return 0 where they are the same, 1 where they differ."""
    first, second = open_source(given.source, given.source), open_source(given.other, given.other)
    names = in_reading_order(list({**first.shapes, **second.shapes}))
    if given.names:
        names = select(names, given.names, "diff")
    found = compare_sources(first, second, names)
    if given.json:
        _print_json(
            {
                "differs": found.differs,
                "gone": list(found.gone),
                "added": list(found.added),
                "shapes": {name: [list(first.shapes[name]), list(second.shapes[name])] for name in found.shapes},
                "dtypes": {name: [first.dtypes[name], second.dtypes[name]] for name in found.dtypes},
                "values": {name: _apart_json(apart) for name, apart in found.values.items()},
                "same": list(found.same),
            }
        )
        return int(found.differs)
    rows = [(name, "gone", _made(first, name)) for name in found.gone]
    rows += [(name, "added", _made(second, name)) for name in found.added]
    rows += [(name, "shape", f"{sizes(first.shapes[name])} -> {sizes(second.shapes[name])}") for name in found.shapes]
    rows += [(name, "dtype", f"{first.dtypes[name]} -> {second.dtypes[name]}") for name in found.dtypes]
    rows += [(name, "values", _apart_text(apart, first, name)) for name, apart in found.values.items()]
    if rows:
        print("\n".join(columns([("variable", "differs in", ""), *rows])))
    print(f"{len(found.same)} of {len(names)} variables are the same in every bit")
    return int(found.differs)


def _made(source: Source, name: str) -> str:
    return f"{sizes(source.shapes[name])} {source.dtypes[name]}"


def _apart_text(apart: Apart, source: Source, name: str) -> str:
    count = f"{apart.numbers:,} of {math.prod(source.shapes[name]):,}"
    if apart.maximum is None or apart.relative is None:
        return count
    return f"{count}, by at most {apart.maximum:.3g} ({apart.relative:.2g} of the largest)"


def _apart_json(apart: Apart) -> dict[str, Any]:
    return {"numbers": apart.numbers, "maximum": _finite(apart.maximum), "relative": _finite(apart.relative)}


def stats(given: argparse.Namespace) -> int:
    """Say how values are spread, in the terminal and, if asked, as a picture."""
    source, names = _selected(given)
    counted = [name for name in names if source.dtypes[name].startswith(_NUMBERS)]
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
        said = _plot(source, counted, given.plot, chosen=bool(given.names))
        if not given.json:
            print(said)
    return 0


def _stats_json(item: Stats) -> dict[str, Any]:
    return {name: _finite(value) if isinstance(value, float) else value for name, value in vars(item).items()}


def _stats_table(source: Source, found: dict[str, Stats]) -> list[str]:
    odd = [name for name in ("infinities",) if any(getattr(item, name) for item in found.values())]
    headings = ("mean", "spread", "min", "max", "NaN", *odd)
    rows = [("variable", "shape", *headings, "from min to max")]
    for name, item in found.items():
        numbers = [f"{value:.4g}" for value in (item.mean, item.spread, item.minimum, item.maximum)]
        counts = [f"{value:,}" for value in (item.nans, *(getattr(item, key) for key in odd))]
        rows.append((name, sizes(source.shapes[name]), *numbers, *counts, _sparkline(item.counts)))
    lines = columns(rows, right=headings)
    if len(found) == 1:
        (item,) = found.values()
        lines += ["", *_bar_chart(item)]
    return lines


def _sparkline(counts: Sequence[int]) -> str:
    """Return counts as one line of blocks, two counts a block; what is there at all is seen."""
    pairs = [sum(counts[place : place + 2]) for place in range(0, len(counts), 2)]
    most = max(pairs)
    return "".join(_LEVELS[math.ceil(count / most * 8) if most else 0] for count in pairs)


def _bar_chart(item: Stats, width: int = 50) -> list[str]:
    """Return a histogram with a line for every two counts."""
    pairs = [sum(item.counts[place : place + 2]) for place in range(0, len(item.counts), 2)]
    if not item.minimum < item.maximum:
        return []
    most, step = max(pairs), (item.maximum - item.minimum) / len(pairs)
    starts = [f"{item.minimum + place * step:.4g}" for place in range(len(pairs))]
    lines = []
    for start, count in zip(starts, pairs, strict=True):
        eighths = math.ceil(count / most * width * 8)
        bar = _BARS[8] * (eighths // 8) + (_BARS[eighths % 8] if eighths % 8 else "")
        lines.append(" ".join(part for part in (start.rjust(max(map(len, starts))), bar, f"{count:,}") if part))
    return lines


def _plot(source: Source, names: Sequence[str], file: str, *, chosen: bool) -> str:
    """Draw histograms, averages over their variables, slots only when they were chosen; return what to say of it."""
    from expkit.plots.data import MAX_SHOWN, histogram
    from expkit.plots.style import save
    from expkit.plots.weights import weight_histograms

    path = Path(file)
    if path.suffix != ".png":
        raise ExpkitError.at("--plot", f"cannot write {file}; give a file that ends in .png")
    kinds = kin({name: (source.shapes[name], source.dtypes[name]) for name in source.shapes})
    own = [name for name in names if kinds[name].kind == "variable" or (chosen and kinds[name].owner not in names)]
    drawn = {}
    for name in own[:MAX_SHOWN]:
        shadow = ema_name(name)
        drawn[name] = histogram(source.read(name), source.read(shadow) if shadow in names else None)
    figure = weight_histograms(drawn, "Values of the variables", str(source.path))
    if figure is None:
        raise ExpkitError.at("--plot", f"no variable to draw in {source.path}; name what to draw")
    try:
        save(figure, path)
    except OSError as error:
        raise ExpkitError.at("--plot", cannot_write(file, error)) from None
    left = f", the first {MAX_SHOWN} of {len(own)} variables; name those to draw" if len(own) > MAX_SHOWN else ""
    return f"wrote {file}{left}"


def _selected(given: argparse.Namespace) -> tuple[Source, list[str]]:
    source = open_source(given.source, given.source)
    names = in_reading_order(list(source.shapes))
    return source, select(names, given.names, given.source) if given.names else names


def _bytes(size: int) -> str:
    power = min(int(math.log10(max(size, 1)) // 3), 3)
    return f"{size / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"


def _finite(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, allow_nan=False))
