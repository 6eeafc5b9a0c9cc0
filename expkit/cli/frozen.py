"""The verbs on frozen graphs: ``predict`` and ``info``."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

from expkit.errors import DataError
from expkit.export.freeze import FrozenGraph, read_frozen

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verbs."""
    predict = verbs.add_parser(
        "predict",
        help="compute outputs with a frozen graph",
        description="Compute a frozen graph's outputs for the arrays of a .npz file, one array per input, by name.",
    )
    predict.add_argument(
        "graph", metavar="FILE_OR_RUN", type=Path, help="frozen .pb file, or a run folder that has one"
    )
    predict.add_argument("inputs", metavar="INPUT.npz", type=Path, help="arrays named as the inputs")
    predict.add_argument("--output", type=Path, metavar="FILE.npz", help="write the outputs there")
    predict.set_defaults(run=_predict)
    info = verbs.add_parser(
        "info", help="say what a frozen graph is", description="Print what a frozen .pb file says of itself."
    )
    info.add_argument("file", type=Path, metavar="FILE", help="frozen .pb file")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)


def _predict(given: argparse.Namespace) -> int:
    import numpy as np

    inputs = _arrays(given.inputs)
    outputs = _graph(given.graph).predict(inputs)
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
    frozen = read_frozen(given.file)
    content = dict(frozen.metadata)
    content["operations"] = len(frozen.graph_def.node)
    content["bytes"] = given.file.stat().st_size
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


def _graph(path: Path) -> FrozenGraph:
    if path.is_dir():
        path = path / "frozen.pb"
    return read_frozen(path)


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
