"""Messages of converters that failed: the operation that they could not take, and the layer that made it."""

from __future__ import annotations

import re
from typing import Any

from expkit.errors import comma_list
from expkit.export.doors import layer_of

__all__ = ["failure_message"]

_WORD = re.compile(r"[A-Za-z0-9_./\-]+")
_CAUSES = re.compile(r"Error|error|not supported|[Uu]nsupported|[Ff]ailed|[Cc]annot|not implemented")
MOST = 3
"""Operations that a message names."""


def failure_message(log: str, graph_def: Any) -> str:
    """Return the operations that a converter's messages name, with their layers, and the line that says why."""
    words = {word.rstrip(".:") for word in _WORD.findall(log)}
    words |= {word.rpartition(".")[2] for word in words}  # tf.DecodeJpeg
    nodes = {node.name: node for node in _nodes(graph_def)}
    kinds: dict[str, list[str]] = {}
    for name, node in nodes.items():
        if node.op not in ("Const", "Identity", "Placeholder"):
            kinds.setdefault(node.op, []).append(name)
    named = [name for name in nodes if "/" in name and name in words and nodes[name].op not in ("Const", "Identity")]
    unsupported = [kind for kind in kinds if kind in words and _is_blamed(kind, log)]
    found = [name for kind in unsupported for name in kinds[kind][:1]] or named
    shown = [f"{nodes[name].op} '{name}' of layer '{layer_of(name, graph_def)}'" for name in found[:MOST]]
    return f"it could not take {comma_list(shown)}: {_cause(log)}" if shown else _cause(log)


def _nodes(graph_def: Any) -> list[Any]:
    return [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]


def _is_blamed(kind: str, log: str) -> bool:
    """Return whether a line that complains names a kind of operation."""
    return any(_CAUSES.search(line) and re.search(rf"\b{kind}\b", line) for line in log.splitlines())


def _cause(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [line for line in lines if _CAUSES.search(line) and not line.startswith(("File ", "Traceback"))]
    return (causes or lines or ["it said nothing"])[-1][:300]
