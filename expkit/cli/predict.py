"""The verb ``predict``: the outputs of a graph for given arrays."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from expkit.errors import DataError
from expkit.export.feeding import plain
from expkit.export.input_file import open_arrays
from expkit.fs import atomic_write, cannot_write
from expkit.runs.frozen_graph import find_frozen

__all__ = ["add_graph_arguments", "add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "predict",
        help="compute outputs with a frozen graph",
        description="Compute a graph's outputs for the arrays of a .npz file, one array per input, by name. Of a graph "
        "from elsewhere only operations run that are known to be pure functions.",
    )
    add_graph_arguments(parser)
    parser.add_argument(
        "inputs", metavar="INPUT.npz", type=Path, nargs="?", help="arrays named as the inputs; none if there are none"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.npz", help="write the outputs there")
    parser.add_argument(
        "--batch-size",
        type=_count,
        metavar="N",
        help="compute N examples at once; default: 1024 for a graph of expkit, all for others",
    )
    parser.set_defaults(run=_predict)


def add_graph_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a graph and its tensors: ``graph``, ``uri``, ``fetch`` and ``allow_op``."""
    parser.add_argument(
        "graph",
        metavar="GRAPH",
        help="frozen .pb file, a run folder that has one, a .meta file beside its checkpoint, a SavedModel folder, or "
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


def _predict(given: argparse.Namespace) -> int:
    import numpy as np

    graph = find_frozen(given.graph, given.uri, fetch=given.fetch, allowed=given.allow_op)
    if given.inputs is None:
        outputs = graph.predict({}, batch_size=given.batch_size)
    else:
        with open_arrays(given.inputs) as inputs:
            outputs = graph.predict(inputs, batch_size=given.batch_size)
    with np.printoptions(precision=4, suppress=True, threshold=60, edgeitems=3):
        for name, array in outputs.items():
            print(f"{name} {array.dtype} {list(array.shape)}\n{array}")
            if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
                print(f"{name} largest at {array.argmax(axis=1)}")
    if given.output is not None:
        output = Path(str(given.output).removesuffix(".npz") + ".npz")
        try:
            with atomic_write(output) as partial, partial.open("wb") as content:
                np.savez(content, allow_pickle=False, **{name: plain(array) for name, array in outputs.items()})
        except OSError as error:
            raise DataError.at("--output", cannot_write(output, error)) from None
        print(f"written to {output}")
    return 0
