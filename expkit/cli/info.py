"""The verb ``info``: the metadata of a frozen graph."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from expkit.cli.fitted import fitted_lines
from expkit.cli.predict import add_graph_arguments
from expkit.errors import escaped
from expkit.export.runtime_graph import runtime_of
from expkit.runs.frozen_graph import find_graph, frozen_file, read_graph

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "info",
        help="print the metadata of a frozen graph",
        description="Print the metadata inside a frozen .pb file: inputs, outputs, weights, step, versions; of a graph "
        "from elsewhere its inputs and outputs.",
    )
    add_graph_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_info)


def _info(given: argparse.Namespace) -> int:
    with frozen_file(given.graph, given.uri) as file:
        if runtime_of(file) is None:
            frozen = read_graph(file, fetch=given.fetch, allowed=given.allow_op)
            content = dict(frozen.metadata)
            content["operations"] = len(frozen.graph_def.node)
        else:
            graph = find_graph(given.graph, given.uri, fetch=given.fetch, allowed=given.allow_op)
            content = dict(graph.metadata)
        files = [item for item in file.rglob("*") if item.is_file()] if file.is_dir() else [file]
        content["bytes"] = sum(item.stat().st_size for item in files)
        fitted = file.with_name("preprocess.json")
        shown = list(fitted_lines(fitted)) if file.is_file() and fitted.is_file() else []
    if given.json:
        print(json.dumps(content, indent=2))
        return 0
    for line in (*_lines(content), *([f"fitted ({fitted}):", *shown] if shown else [])):
        print(escaped(line))  # Names of classes and columns are of the data, and may hold anything.
    return 0


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    last = ("inputs", "preprocessed", "outputs", "operations", "bytes")
    for key, value in sorted(content.items(), key=lambda item: last.index(item[0]) if item[0] in last else -1):
        if key in ("inputs", "outputs", "preprocessed"):
            yield f"{key}:"
            for name, item in value.items():
                yield f"  {name}: {item['tensor']} {item.get('dtype', '')} {_shape(item.get('shape'))}".rstrip()
        elif key in ("classes", "columns", "labels"):
            yield f"{key}:"
            yield from (f"  {name}: {', '.join(words)}" for name, words in value.items())
        elif key == "label_steps":
            yield "labels are preprocessed:"
            yield from (
                f"  {name}: {', '.join(step['kind'] for step in item['steps'])}" for name, item in value.items()
            )
        elif isinstance(value, dict):
            yield f"{key}: {', '.join(f'{name} {word}' for name, word in value.items())}"
        elif isinstance(value, list):
            yield f"{key}: {', '.join(map(repr, value))}"
        else:
            yield f"{key}: {'unknown' if value is None else value}"


def _shape(shape: list[int | None] | None) -> str:
    return "" if shape is None else f"[{', '.join('batch' if size is None else str(size) for size in shape)}]"
