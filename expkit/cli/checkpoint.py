"""The verb ``checkpoint``: what is in checkpoints, and new ones made from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from expkit.checkpoints.edit import plan as surgery
from expkit.checkpoints.edit.average import mean, taken_from_last
from expkit.checkpoints.edit.plan import Surgery
from expkit.checkpoints.edit.write import new_prefix, write_new
from expkit.checkpoints.formats.open import Source, open_source
from expkit.checkpoints.ownership import kin
from expkit.cli import checkpoint_show as show
from expkit.cli.columns import columns
from expkit.errors import CheckpointError
from expkit.importer.contents import in_reading_order

__all__ = ["add_verbs"]

_SOURCE = "checkpoint (prefix, folder, run), SavedModel folder, V1, .npz or .safetensors file"
_WORDS = "exact name or regular expression; all when none is given"
_LEFT_OUT = "(left out)"


class _Intermixed(argparse.ArgumentParser):
    """Takes options before, between and after names, which argparse alone does not do for any number of them."""

    _begun = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._begun:
            return super().parse_known_args(args, namespace)
        self._begun = True
        return self.parse_known_intermixed_args(args, namespace)


def add_verbs(verbs: Any) -> None:
    """Add the verb, with a verb of its own for each thing to do."""
    parser = verbs.add_parser(
        "checkpoint",
        help="look into checkpoints, and make new ones from them",
        description="Look into whatever holds variables by name, and make new checkpoints from it. Names are given "
        "exactly or as regular expressions that match all of a name. What is made is a checkpoint that tf.train.Saver "
        "reads, under a new name; nothing is ever changed in place.",
    )
    acts = parser.add_subparsers(metavar="ACT", required=True, parser_class=_Intermixed)
    _add_looking(acts)
    rename = _writing(acts, "rename", "write a checkpoint under other names; slots and averages follow", _rename)
    rename.add_argument("pairs", nargs="+", metavar="OLD NEW", help=r"names; \1 in NEW is a group of OLD")
    remove = _writing(acts, "remove", "write a checkpoint without some variables, their slots and averages", _remove)
    remove.add_argument("names", nargs="+", metavar="NAME", help="exact name or regular expression")
    copy = _writing(acts, "copy", "write all or some variables, some under a second name too", _copy)
    copy.add_argument("pairs", nargs="*", metavar="OLD NEW", help="variables to write under a second name too")
    copy.add_argument("--only", action="append", default=[], metavar="NAME", help="write this alone; can be repeated")
    _writing(acts, "bake-ema", "write averages in place of the variables", _bake)
    average = acts.add_parser("average", help="write the mean of several checkpoints of the same variables")
    average.add_argument("sources", nargs="+", metavar="SOURCE", help=f"two or more: {_SOURCE}")
    _output(average, _average)


def _add_looking(acts: Any) -> None:
    looking: list[tuple[str, str, str, Callable[[argparse.Namespace], int]]] = [
        ("list", "list the checkpoints of a run or a folder", "folder", show.list_checkpoints),
        ("show", "list the variables of a checkpoint", "source", show.show_variables),
        ("diff", "compare two checkpoints: exit code 0 same, 1 different", "source", show.diff),
        ("stats", "say how the values of variables are spread", "source", show.stats),
    ]
    for name, said, argument, run in looking:
        act = acts.add_parser(name, help=said, description=said[0].upper() + said[1:] + ".")
        if name == "list":
            act.add_argument(argument, metavar="FOLDER", help="run folder, or folder of checkpoints")
        else:
            act.add_argument(argument, metavar="SOURCE" if name != "diff" else "A", help=_SOURCE)
            if name == "diff":
                act.add_argument("other", metavar="B", help="the same")
            act.add_argument("names", nargs="*", metavar="NAME", help=_WORDS)
        if name == "stats":
            act.add_argument("--plot", metavar="FILE.png", help="draw the histograms too")
        act.add_argument("--json", action="store_true", help="print one JSON object in place of a table")
        act.set_defaults(run=run)


def _writing(acts: Any, name: str, said: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    act: argparse.ArgumentParser = acts.add_parser(name, help=said, description=said[0].upper() + said[1:] + ".")
    act.add_argument("source", metavar="SOURCE", help=_SOURCE)
    _output(act, run)
    return act


def _output(act: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    act.add_argument("output", metavar="OUTPUT", help="prefix of the new checkpoint, which is not there yet")
    act.add_argument("--dry-run", action="store_true", help="print what would be written, and write nothing")
    act.set_defaults(run=run)


def _rename(given: argparse.Namespace) -> int:
    source, made = _opened(given)
    return _carry_out(given, source, surgery.rename(made, _pairs(given.pairs, "rename"), "rename"))


def _remove(given: argparse.Namespace) -> int:
    source, made = _opened(given)
    return _carry_out(given, source, surgery.remove(made, given.names, "remove"))


def _copy(given: argparse.Namespace) -> int:
    source, made = _opened(given)
    return _carry_out(given, source, surgery.copy(made, given.only, _pairs(given.pairs, "copy"), "copy"))


def _bake(given: argparse.Namespace) -> int:
    source, made = _opened(given)
    plan = surgery.bake(made, given.source)
    kinds = kin({move.name: made[move.source] for move in plan.moves})
    raw = [move.name for move in plan.moves if move.name == move.source and kinds[move.name].kind == "variable"]
    code = _carry_out(given, source, plan)
    if raw:
        print(f"without an average, as they were: {', '.join(in_reading_order(raw))}")
    return code


def _average(given: argparse.Namespace) -> int:
    if len(given.sources) < 2:
        raise CheckpointError.at("average", f"one checkpoint, {given.sources[0]}; give two or more, then OUTPUT")
    output = new_prefix(given.output, "OUTPUT")
    sources = [open_source(source, source) for source in given.sources]
    surgery.same_variables(dict(zip(given.sources, map(_made, sources), strict=True)), "average")
    last = taken_from_last(sources[-1])
    names = in_reading_order(list(sources[0].shapes))
    told = {name: f"as in {given.sources[-1]}" if name in last else f"mean of {len(sources)}" for name in names}
    print("\n".join(columns([("variable", "value"), *told.items()])))
    _write(
        given,
        output,
        {name: partial(sources[-1].read, name) if name in last else partial(mean, sources, name) for name in names},
    )
    return 0


def _opened(given: argparse.Namespace) -> tuple[Source, dict[str, str]]:
    """Return the source, and what its variables are made as; a wrong output is told before."""
    new_prefix(given.output, "OUTPUT")
    source = open_source(given.source, given.source)
    return source, _made(source)


def _made(source: Source) -> dict[str, str]:
    if not source.shapes:
        raise CheckpointError.at(source.at, "holds no variables")
    return {name: f"{list(shape)} {source.dtypes[name]}" for name, shape in source.shapes.items()}


def _pairs(words: Sequence[str], at: str) -> list[tuple[str, str]]:
    if len(words) % 2:
        raise CheckpointError.at(at, f"'{words[-1]}' has no new name: give names in pairs, OLD NEW OLD NEW")
    return list(zip(words[::2], words[1::2], strict=True))


def _carry_out(given: argparse.Namespace, source: Source, plan: Surgery) -> int:
    """Print what changes, and write the new checkpoint."""
    rows = [(move.source, move.name) for move in plan.moves if move.name != move.source]
    rows += [(name, _LEFT_OUT) for name in plan.dropped]
    order = {name: place for place, name in enumerate(in_reading_order(list(source.shapes)))}
    rows.sort(key=lambda row: order[row[0]])
    if rows:
        print("\n".join(columns([("from", "to"), *rows])))
    kept = sum(move.name == move.source for move in plan.moves)
    print(f"{kept} of {len(source.shapes)} names as they were")
    values = {move.name: partial(source.read, move.source) for move in plan.moves}
    _write(given, new_prefix(given.output, "OUTPUT"), values)
    return 0


def _write(given: argparse.Namespace, output: Path, values: Mapping[str, Callable[[], np.ndarray]]) -> None:
    if given.dry_run:
        print(f"would write {output}: {len(values)} variables")
        return
    write_new(output, values, "OUTPUT")
    print(f"wrote {output}: {len(values)} variables")
