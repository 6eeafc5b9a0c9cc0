"""The program ``expkit``: picks the verb and turns errors into messages with exit codes."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import expkit
from expkit.cli.verbs import VERBS
from expkit.errors import ExpkitError, escaped
from expkit.redact import masked_terminal

__all__ = ["main"]

_DESCRIPTION = """\
Declarative experiments for TensorFlow graphs with named variables.

  expkit train [OVERRIDES] [-m]     train, evaluate, freeze and record a run; -m for a sweep
  expkit init DATA                  write a first experiment for a folder of images or a table
  expkit names [OVERRIDES]          list every variable's name and shape, without TensorFlow; draw or lock them
  expkit check [OVERRIDES]          find every mistake of a configuration; fail if an edit would orphan checkpoints
  expkit show-data [OVERRIDES]      draw training examples as read, preprocessed and augmented
  expkit find-learning-rate [...]   draw the loss over a rising learning rate, and suggest a rate
  expkit restore-plan [OVERRIDES]   show what a restore will do, before anything is loaded
  expkit verify-resume [OVERRIDES]  prove that a resumed run ends the same as an unbroken one, bit for bit
  expkit schema [FILE]              write JSON Schema of the configuration, for editors
  expkit import-graph SOURCE        draft a network's YAML from a checkpoint, a .meta or a .pb file
  expkit checkpoint ACTION SOURCE   list, show, compare, rename, cut or average checkpoints
  expkit evaluate RUN               evaluate a run's checkpoint, raw and EMA
  expkit freeze RUN                 write a run's frozen graph, proven equal
  expkit export RUN --to TARGETS    write it as tflite, onnx, openvino ..., each proven in its own runtime
  expkit predict GRAPH INPUT        compute outputs with a frozen graph: a file, a run, models:/NAME@ALIAS
  expkit info GRAPH                 print the metadata of a frozen graph
  expkit sync RUN                   upload to MLflow what it is missing of a run or a sweep
  expkit report SWEEP               summarize a sweep: table, plots, one page
  expkit sweep ACTION SWEEP         work at a sweep from any process, show it, stop it
  expkit diff RUN_A RUN_B           compare two runs: configuration, variables, metrics
  expkit ui                         open MLflow on the local store

Every verb has --help. Tab completion: eval "$(expkit -sc install=bash)"
"""


@masked_terminal()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exit codes: 0 success; 1 a failure of expkit itself, runs that differ, checkpoints that would be orphaned, or an
    incomplete restore plan; 2 a mistake of the user; 130 and 143 interrupted; for a sweep the number of failed runs.
    """
    sys.setrecursionlimit(10_000)  # nested scopes take the libraries that read YAML more than 1,000 calls deep
    gc.set_threshold(1_000_000)  # start-up makes many objects and hardly any garbage: a tenth of its time
    atexit.register(gc.freeze)  # Python would look for garbage once more at its end: seconds, for all of TensorFlow
    logging.raiseExceptions = False  # a full output is told below, once, without a traceback of each log line
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.__stdout__, sys.__stderr__):  # sys.stdout masks secrets, and writes into this one
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold any bytes
    try:
        try:
            sys.exit(_run(given))
        finally:
            sys.stdout.flush()  # Here, where it may fail with a message.
    except ExpkitError as error:
        for problem in error.problems:
            print(escaped(f"error: {problem}".replace("\n", " ")), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        _drop_output()
        sys.exit(141)
    except OSError as error:  # A device that is full, a file that nobody may read: never a fault of the program.
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        _drop_output()
        sys.exit(2)
    except UnicodeEncodeError as error:  # A lone surrogate, as of an argument that is not UTF-8.
        print(f"error: {error.object!a}: cannot be written as UTF-8; use other characters", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _drop_output() -> None:
    """Let what is still to be written go nowhere, so that Python does not fail at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else ""
    if verb == "train" or verb in ("-sc", "--shell-completion"):
        from expkit.cli import train

        return train.run(arguments[1:]) if verb == "train" else train.complete(arguments)
    parser = argparse.ArgumentParser(
        prog="expkit",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="expkit [-h] [--version] VERB ...",
    )
    parser.add_argument("--version", action="version", version=f"expkit {expkit.__version__}")
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    if verb not in VERBS:
        parser.add_argument("verb", metavar="VERB", choices=VERBS, help=argparse.SUPPRESS)
        parser.parse_args(arguments)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", prog="expkit")
    importlib.import_module(VERBS[verb]).add_verbs(verbs)
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        verbs.choices[verb].error(f"unrecognized arguments: {' '.join(unknown)}")
    return int(given.run(given))
