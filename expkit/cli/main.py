"""The program ``expkit``: picks the verb, turns errors into messages and exit codes."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import sys
from collections.abc import Sequence

import expkit
from expkit.errors import ExpkitError

__all__ = ["VERBS", "main"]

VERBS = {
    "names": "expkit.cli.names",
    "check": "expkit.cli.check",
    "restore-plan": "expkit.cli.restore_plan",
    "verify-resume": "expkit.cli.verify_resume",
    "schema": "expkit.cli.schema",
    "import-graph": "expkit.cli.import_graph",
    "checkpoint": "expkit.cli.checkpoint",
    "evaluate": "expkit.cli.runs",
    "freeze": "expkit.cli.runs",
    "predict": "expkit.cli.frozen",
    "info": "expkit.cli.frozen",
    "sync": "expkit.cli.sync",
    "report": "expkit.cli.report",
    "diff": "expkit.cli.diff",
    "ui": "expkit.cli.ui",
}
"""The module of every verb but ``train``; only the one asked for is imported."""

_DESCRIPTION = """\
Declarative experiments for TensorFlow graphs with named variables.

  expkit train [OVERRIDES] [-m]     train, evaluate, freeze, record; -m for a sweep
  expkit names [OVERRIDES]          list every variable's name and shape, without TensorFlow; draw, lock them
  expkit check [OVERRIDES]          fail where an edit would orphan checkpoints
  expkit restore-plan [OVERRIDES]   show what a restore will do, before anything is loaded
  expkit verify-resume [OVERRIDES]  prove that a run which stops and goes on ends the same, bit for bit
  expkit schema [FILE]              write JSON Schema of the configuration, for editors
  expkit import-graph SOURCE        draft a network's YAML from a checkpoint, a .meta or a .pb file
  expkit checkpoint ACT SOURCE      list, show, compare, rename, cut, average checkpoints
  expkit evaluate RUN               judge a run's checkpoint, raw and averaged
  expkit freeze RUN                 write a run's frozen graph, proven equal
  expkit predict GRAPH NPZ          compute outputs with a frozen graph: a file, a run, models:/NAME@ALIAS
  expkit info GRAPH                 say what a frozen graph is
  expkit sync RUN                   deliver to MLflow what it has not got of a run or a sweep
  expkit report SWEEP               tell what a sweep found: table, pictures, one page
  expkit diff RUN_A RUN_B           compare two runs: configuration, variables, metrics
  expkit ui                         open MLflow on the local store

Every verb has --help. Tab completion: eval "$(expkit -sc install=bash)"
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exit codes: 0 done, 1 a failure of expkit itself, runs that differ, checkpoints that would be orphaned, a restore
    plan that is incomplete, 2 a mistake to mend, 130 and 143 interrupted; of a sweep how many of its runs failed.
    """
    sys.setrecursionlimit(10_000)  # scopes in scopes take the libraries that read YAML more than 1,000 calls
    gc.set_threshold(1_000_000)  # start-up makes many objects and hardly any garbage: a tenth of its time
    atexit.register(gc.freeze)  # Python would look for garbage once more at its end: seconds, for all of TensorFlow
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.exit(_run(words))
    except ExpkitError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(words: list[str]) -> int:
    verb = words[0] if words else ""
    if verb == "train" or verb in ("-sc", "--shell-completion"):
        from expkit.cli import train

        return train.run(words[1:]) if verb == "train" else train.complete(words)
    parser = argparse.ArgumentParser(
        prog="expkit",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="expkit [-h] [--version] VERB ...",
    )
    parser.add_argument("--version", action="version", version=f"expkit {expkit.__version__}")
    if verb not in VERBS:
        parser.add_argument("verb", metavar="VERB", choices=("train", *VERBS), help=argparse.SUPPRESS)
        parser.parse_args(words)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", prog="expkit")
    importlib.import_module(VERBS[verb]).add_verbs(verbs)
    given = parser.parse_args(words)
    return int(given.run(given))
