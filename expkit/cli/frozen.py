"""The verbs on frozen graphs: ``predict`` and ``info``."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expkit.errors import DataError, RunError
from expkit.export.freeze import read_frozen
from expkit.run_folder import named_path

__all__ = ["add_verbs"]

_GRAPH_HELP = (
    "frozen .pb file, a run folder that has one, or in MLflow models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID"
)
_URI_HELP = "MLflow store of models:/ and runs:/; the local one in runs/ when not given"


def add_verbs(verbs: Any) -> None:
    """Add the verbs."""
    predict = verbs.add_parser(
        "predict",
        help="compute outputs with a frozen graph",
        description="Compute a frozen graph's outputs for the arrays of a .npz file, one array per input, by name.",
    )
    predict.add_argument("graph", metavar="GRAPH", help=_GRAPH_HELP)
    predict.add_argument("inputs", metavar="INPUT.npz", type=Path, help="arrays named as the inputs")
    predict.add_argument("--uri", help=_URI_HELP)
    predict.add_argument("--output", type=Path, metavar="FILE.npz", help="write the outputs there")
    predict.set_defaults(run=_predict)
    info = verbs.add_parser(
        "info", help="say what a frozen graph is", description="Print what a frozen .pb file says of itself."
    )
    info.add_argument("graph", metavar="GRAPH", help=_GRAPH_HELP)
    info.add_argument("--uri", help=_URI_HELP)
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)


def _predict(given: argparse.Namespace) -> int:
    import numpy as np

    inputs = _arrays(given.inputs)
    with _file(given) as file:
        outputs = read_frozen(file).predict(inputs)
    with np.printoptions(precision=4, suppress=True, threshold=60, edgeitems=3):
        for name, array in outputs.items():
            print(f"{name} {array.dtype} {list(array.shape)}\n{array}")
            if array.ndim == 2 and array.shape[1] > 1:
                print(f"{name} largest at {array.argmax(axis=1)}")
    if given.output is not None:
        try:
            np.savez(given.output, allow_pickle=False, **outputs)
        except OSError as error:
            raise DataError.at("--output", f"cannot write {given.output}: {error.strerror}") from None
        print(f"written to {given.output}")
    return 0


def _info(given: argparse.Namespace) -> int:
    with _file(given) as file:
        frozen = read_frozen(file)
        content = dict(frozen.metadata)
        content["operations"] = len(frozen.graph_def.node)
        content["bytes"] = file.stat().st_size
    if given.json:
        print(json.dumps(content, indent=2))
        return 0
    for key, value in content.items():
        if key in ("inputs", "outputs"):
            print(f"{key}:")
            for name, item in value.items():
                print(f"  {name}: {item['tensor']} {item.get('dtype', '')} {_shape(item.get('shape'))}".rstrip())
        elif isinstance(value, dict):
            print(f"{key}: {', '.join(f'{name} {word}' for name, word in value.items())}")
        else:
            print(f"{key}: {'unknown' if value is None else value}")
    return 0


@contextmanager
def _file(given: argparse.Namespace) -> Iterator[Path]:
    if given.graph.startswith(("models:", "runs:")):
        from expkit.tracking.download import fetched

        with fetched(given.graph, given.uri or _local_uri(given.graph)) as file:
            yield file
        return
    if given.uri is not None:
        raise RunError.at(
            "--uri", f"{given.graph} is no model or run in a store; allowed: models:/NAME@ALIAS, runs:/ID"
        )
    path = named_path(given.graph, "frozen graph")
    yield path / "frozen.pb" if path.is_dir() else path


def _local_uri(address: str) -> str:
    from expkit.tracking.tracker import local_store

    store = local_store("runs")
    if not store.is_file():
        raise RunError.at(address, f"no store {store}; give the one that has it with --uri URI")
    return f"sqlite:///{store}"


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise DataError.at(str(path), "no such file; give a .npz file with one array per input") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError.at(str(path), f"not a readable .npz file: {error}") from None


def _shape(shape: list[int | None] | None) -> str:
    return "" if shape is None else f"[{', '.join('batch' if size is None else str(size) for size in shape)}]"
