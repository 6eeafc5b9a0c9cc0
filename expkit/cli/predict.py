"""The verb ``predict``: the outputs of a frozen graph for given arrays."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import Any

from expkit.errors import DataError
from expkit.fs import atomic_write, cannot_write
from expkit.runs.frozen_graph import find_frozen

__all__ = ["add_graph_arguments", "add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "predict",
        help="compute outputs with a frozen graph",
        description="Compute a frozen graph's outputs for the arrays of a .npz file, one array per input, by name.",
    )
    add_graph_arguments(parser)
    parser.add_argument("inputs", metavar="INPUT.npz", type=Path, help="arrays named as the inputs")
    parser.add_argument("--output", type=Path, metavar="FILE.npz", help="write the outputs there")
    parser.set_defaults(run=_predict)


def add_graph_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a frozen graph: ``graph`` and ``uri``."""
    parser.add_argument(
        "graph",
        metavar="GRAPH",
        help="frozen .pb file, a run folder that has one, or in MLflow models:/NAME@ALIAS, models:/NAME/VERSION, "
        "runs:/ID",
    )
    parser.add_argument(
        "--uri", help="MLflow store of models:/ and runs:/; default: MLFLOW_TRACKING_URI, or the local one in runs/"
    )


def _predict(given: argparse.Namespace) -> int:
    import numpy as np

    inputs = _arrays(given.inputs)
    outputs = find_frozen(given.graph, given.uri).predict(inputs)
    with np.printoptions(precision=4, suppress=True, threshold=60, edgeitems=3):
        for name, array in outputs.items():
            print(f"{name} {array.dtype} {list(array.shape)}\n{array}")
            if array.ndim == 2 and array.shape[1] > 1:
                print(f"{name} largest at {array.argmax(axis=1)}")
    if given.output is not None:
        output = Path(str(given.output).removesuffix(".npz") + ".npz")
        try:
            with atomic_write(output) as partial, partial.open("wb") as content:
                np.savez(content, allow_pickle=False, **outputs)
        except OSError as error:
            raise DataError.at("--output", cannot_write(output, error)) from None
        print(f"written to {output}")
    return 0


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise DataError.at(str(path), "no such file; give a .npz file with one array per input") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError.at(str(path), f"not a readable .npz file: {error}") from None
