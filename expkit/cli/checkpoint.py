"""The verb ``checkpoint``, which inspects checkpoints or makes new ones from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.edit import plan as edit
from expkit.checkpoints.edit.plan import EditPlan
from expkit.checkpoints.edit.write import mean, new_prefix, write_new
from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.ownership import ownership
from expkit.cli import checkpoint_show as show
from expkit.cli.columns import columns
from expkit.errors import CheckpointError
from expkit.importer.contents import in_reading_order

__all__ = ["add_verbs"]

_SOURCE = "checkpoint (prefix, folder, run), SavedModel folder, V1, .npz or .safetensors file"
_NAME = "exact name or regular expression"
_DROPPED = "(left out)"


class _Intermixed(argparse.ArgumentParser):
    """Parser that accepts options before, between and after any number of names, which argparse alone does not."""

    _started = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._started:
            return super().parse_known_args(args, namespace)
        self._started = True
        return self.parse_known_intermixed_args(args, namespace)


def add_verbs(verbs: Any) -> None:
    """Add the verb with its actions."""
    parser = verbs.add_parser(
        "checkpoint",
        help="inspect checkpoints, or make new ones from them",
        description="Inspect any file of variables, or make a new checkpoint from it. Variables are given by exact "
        "names or by regular expressions that match the whole name. The new checkpoint has a new prefix, and "
        "tf.train.Saver reads it; existing files are never changed.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=_Intermixed)
    _add_inspecting(actions)
    rename = _writing(
        actions, "rename", "write a checkpoint with other names; slots and EMA variables are renamed too", _rename
    )
    rename.add_argument("pairs", nargs="+", metavar="OLD NEW", help=r"names; \1 in NEW is a group of OLD")
    remove = _writing(actions, "remove", "write a checkpoint without some variables, their slots and EMA", _remove)
    remove.add_argument("names", nargs="+", metavar="NAME", help=_NAME)
    copy = _writing(actions, "copy", "write all or some variables, some under a second name too", _copy)
    copy.add_argument("pairs", nargs="*", metavar="OLD NEW", help="variables to write under a second name too")
    copy.add_argument("--only", action="append", default=[], metavar="NAME", help="write only this; can be repeated")
    _writing(actions, "bake-ema", "write EMA values in place of the raw ones", _bake)
    average = actions.add_parser("average", help="write the mean of several checkpoints of the same variables")
    average.add_argument("sources", nargs="+", metavar="SOURCE", help=f"two or more: {_SOURCE}")
    _output(average, _average)


def _add_inspecting(actions: Any) -> None:
    inspecting: list[tuple[str, str, str, Callable[[argparse.Namespace], int]]] = [
        ("list", "list the checkpoints of a run or a folder", "folder", show.list_checkpoints),
        ("show", "list the variables of a checkpoint", "source", show.show_variables),
        ("diff", "compare two checkpoints: exit code 0 same, 1 different", "source", show.diff),
        ("stats", "print statistics of the variables' values", "source", show.stats),
    ]
    for name, summary, argument, run in inspecting:
        action = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == "list":
            action.add_argument(argument, metavar="FOLDER", help="run folder, or folder of checkpoints")
        else:
            action.add_argument(argument, metavar="SOURCE" if name != "diff" else "A", help=_SOURCE)
            if name == "diff":
                action.add_argument("other", metavar="B", help="the same")
            action.add_argument("names", nargs="*", metavar="NAME", help=f"{_NAME}; default: all variables")
        if name == "stats":
            action.add_argument("--plot", metavar="FILE.png", help="draw the histograms too")
        action.add_argument("--json", action="store_true", help="print one JSON object in place of a table")
        action.set_defaults(run=run)


def _writing(
    actions: Any, name: str, summary: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    action.add_argument("source", metavar="SOURCE", help=_SOURCE)
    _output(action, run)
    return action


def _output(action: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    action.add_argument("output", metavar="OUTPUT", help="prefix of the new checkpoint, which must not exist")
    action.add_argument("--dry-run", action="store_true", help="print the result, and write nothing")
    action.set_defaults(run=run)


def _rename(given: argparse.Namespace) -> int:
    source = _opened(given)
    return _carry_out(given, source, edit.rename(source.variables, _pairs(given.pairs, "rename"), "rename"))


def _remove(given: argparse.Namespace) -> int:
    source = _opened(given)
    return _carry_out(given, source, edit.remove(source.variables, given.names, "remove"))


def _copy(given: argparse.Namespace) -> int:
    source = _opened(given)
    return _carry_out(given, source, edit.copy(source.variables, given.only, _pairs(given.pairs, "copy"), "copy"))


def _bake(given: argparse.Namespace) -> int:
    source = _opened(given)
    plan = edit.bake(source.variables, given.source)
    kinds = ownership({name: source.variables[old] for name, old in plan.sources.items()})
    raw = [name for name, old in plan.sources.items() if name == old and kinds[name].kind == "variable"]
    code = _carry_out(given, source, plan, keep_dtypes=True)
    if raw:
        print(f"without an EMA, unchanged: {', '.join(in_reading_order(raw))}")
    return code


def _average(given: argparse.Namespace) -> int:
    if len(given.sources) < 2:
        raise CheckpointError.at("average", f"one checkpoint, {given.sources[0]}; give two or more, then OUTPUT")
    output = new_prefix(given.output, "OUTPUT")
    sources = [_not_empty(source) for source in given.sources]
    edit.same_variables(
        {name: source.variables for name, source in zip(given.sources, sources, strict=True)}, "average"
    )
    last = edit.names_without_mean(sources[-1].variables)
    names = in_reading_order(list(sources[0].variables))
    values = {name: f"as in {given.sources[-1]}" if name in last else f"mean of {len(sources)}" for name in names}
    print("\n".join(columns([("variable", "value"), *values.items()])))
    _write(
        given,
        output,
        {name: partial(sources[-1].read, name) if name in last else partial(mean, sources, name) for name in names},
    )
    return 0


def _opened(given: argparse.Namespace) -> VariableSource:
    """Open the source, after checking the output, so that a wrong one is reported first."""
    new_prefix(given.output, "OUTPUT")
    return _not_empty(given.source)


def _not_empty(path: str) -> VariableSource:
    source = open_variables(path, path)
    if not source.variables:
        raise CheckpointError.at(source.at, "holds no variables")
    return source


def _pairs(names: Sequence[str], at: str) -> list[tuple[str, str]]:
    if len(names) % 2:
        raise CheckpointError.at(at, f"'{names[-1]}' has no new name: give names in pairs, OLD NEW OLD NEW")
    return list(zip(names[::2], names[1::2], strict=True))


def _carry_out(given: argparse.Namespace, source: VariableSource, plan: EditPlan, *, keep_dtypes: bool = False) -> int:
    """Print the changes, and write the new checkpoint; ``keep_dtypes`` casts to what had the name before."""
    rows = [(old, name) for name, old in plan.sources.items() if name != old]
    rows += [(name, _DROPPED) for name in plan.dropped]
    order = {name: index for index, name in enumerate(in_reading_order(list(source.variables)))}
    rows.sort(key=lambda row: order[row[0]])
    if rows:
        print("\n".join(columns([("from", "to"), *rows])))
    kept = sum(name == old for name, old in plan.sources.items())
    print(f"{kept} of {len(source.variables)} names unchanged")
    like = source.variables if keep_dtypes else {}
    values = {
        name: partial(_read, source, old, like.get(name, source.variables[old]).dtype)
        for name, old in plan.sources.items()
    }
    _write(given, new_prefix(given.output, "OUTPUT"), values)
    return 0


def _read(source: VariableSource, name: str, dtype: str) -> np.ndarray:
    value = source.read(name)
    return value if source.variables[name].dtype == dtype else value.astype(tf.as_dtype(dtype).as_numpy_dtype)


def _write(given: argparse.Namespace, output: Path, values: Mapping[str, Callable[[], np.ndarray]]) -> None:
    if given.dry_run:
        print(f"would write {output}: {len(values)} variables")
        return
    write_new(output, values, "OUTPUT")
    print(f"wrote {output}: {len(values)} variables")
