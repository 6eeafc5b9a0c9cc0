"""The verb ``predict``: the outputs of a graph for given arrays."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from expkit.cli.predictions import Labels, Shown, Write, check_output, writing
from expkit.cli.scores import Scores
from expkit.errors import escaped
from expkit.export.examples import open_examples
from expkit.export.feeding import in_rows
from expkit.runs.frozen_graph import find_graph
from expkit.runs.interruption import interruption_exits, termination_raises

__all__ = ["add_allow_op", "add_graph_arguments", "add_verbs"]

BAR_EXAMPLES = 2000
"""Smallest number of examples for which a progress bar is drawn."""


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "predict",
        help="compute outputs with a frozen graph",
        description="Compute a graph's outputs for arrays, the rows of a table, files or lines of text, read as its "
        "training read them; where labels stand beside them, in a table's column or as folders of classes, also its "
        "scores. Of a graph from elsewhere only operations run that are known to be pure functions.",
    )
    add_graph_arguments(parser)
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="a .npz file of arrays named as the inputs; a table (.csv, .tsv, .parquet) with the columns of training; "
        "a folder of images or texts; files, each an example, such as photos/*.jpg; or - for lines of text on "
        "standard input",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the outputs there: .npz, .csv, .json or .jsonl, a line per example (default: .npz)",
    )
    parser.add_argument(
        "--batch-size",
        type=_count,
        metavar="N",
        help="compute N examples at once; default: up to 1024 for a graph of expkit, all for others",
    )
    parser.set_defaults(run=_predict)


def add_graph_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a graph and its tensors: ``graph``, ``uri``, ``fetch`` and ``allow_op``."""
    parser.add_argument(
        "graph",
        metavar="GRAPH",
        help="frozen .pb file, a run folder that has one, a .meta file beside its checkpoint, a SavedModel folder, "
        "an .onnx, .tflite or OpenVINO's .xml file, or "
        "in MLflow models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID",
    )
    parser.add_argument(
        "--uri", help="MLflow store of models:/ and runs:/; default: MLFLOW_TRACKING_URI, or the local one in runs/"
    )
    parser.add_argument(
        "--fetch",
        action="append",
        default=[],
        metavar="TENSOR",
        help="compute this in place of the outputs, by its name in the graph: top_k:1; can be repeated",
    )
    add_allow_op(parser)


def add_allow_op(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``allow_op``."""
    parser.add_argument(
        "--allow-op",
        action="append",
        default=[],
        metavar="NAME",
        help="allow an operation that is not known to be pure, in a file that you trust; can be repeated",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that adds examples to a bar on standard error, which is drawn for many on a terminal alone."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("predict"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(
        *columns, console=console, transient=True, disable=total < BAR_EXAMPLES or not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def _predict(given: argparse.Namespace) -> int:
    check_output(given.output)
    with interruption_exits(), termination_raises():
        graph = find_graph(given.graph, given.uri, fetch=given.fetch, allowed=given.allow_op)
        with open_examples(given.inputs, graph.metadata) as examples, ExitStack() as opened:
            labels = Labels(graph.metadata.get("classes", {}), examples.name_of, examples.labels)
            takers: list[Write] = [(shown := Shown(labels)).add, (scores := Scores(examples.labels)).add]
            if given.output is not None:
                takers.append(opened.enter_context(writing(given.output, labels)))
            total = max((item.shape[0] for item in examples.inputs.values() if item.shape), default=0)
            progress = opened.enter_context(_progress(total))
            batches = opened.enter_context(closing(graph.compute(examples.inputs, batch_size=given.batch_size)))
            for batch in in_rows(batches):
                for take in takers:
                    take(batch.outputs)
                progress(batch.count)
        print(*shown.lines(), *scores.lines(), sep="\n")
    verdict = str(graph.metadata.get("verdict", "proven"))
    unproven = [] if verdict.startswith("proven") else [f"this file is {verdict}"]
    for note in (*examples.notes, *shown.notes(), *unproven):
        print(escaped(f"note: {note}"), file=sys.stderr)  # The verdict is of the file.
    if given.output is not None:
        print(f"written to {given.output}")
    return 0
