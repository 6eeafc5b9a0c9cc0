"""Messages of converters that failed: the operation that they could not take, and the layer that made it."""

from __future__ import annotations

import re
from typing import Any

from expkit.errors import comma_list
from expkit.export.doors import layer_of
from expkit.export.operations import nodes_of
from expkit.export.subgraph import called_functions

__all__ = ["blamed", "cause_of", "failure_message"]

_WORD = re.compile(r"[A-Za-z0-9_./\-]+")
_CAUSES = re.compile(r"Error|error|not supported|[Uu]nsupported|[Ff]ailed|[Cc]annot|not implemented|No conversion rule")
_NO_CAUSE = ("File ", "Traceback", "To facilitate")
MOST = 3
"""Operations that a message names."""
_NUMBERS = "give random numbers as an input in place of the layer that draws them"
_LOOP = "a loop over at most 64 steps, their number fixed, is unrolled"
SUBSTITUTES = {
    **dict.fromkeys(("Bitcast", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift"), _NUMBERS),
    **dict.fromkeys(("StatelessWhile", "While", "TensorListReserve", "TensorListFromTensor"), _LOOP),
    "Unpack": "a recurrent layer needs another target",
    "Erf": "activation gelu_tanh can stand in place of gelu",
    "LRN": "batch_norm can stand in place of local_response_norm",
    "LogSoftmax": "let the network put out logits, and apply log_softmax behind it",
    "MirrorPad": "pad with mode: constant",
}
"""Sentences on what can stand in an operation's place."""


def failure_message(log: str, graph_def: Any) -> str:
    """Return the operations that messages blame, with their layers, and the line that says why."""
    return "; ".join(item for item in (blamed(log, graph_def), cause_of(log)) if item)


def blamed(log: str, graph_def: Any) -> str:
    """Return the operations that messages blame, with their layers and substitutes; empty if they name none."""
    nodes, callers = _culprits(log, graph_def), _callers(graph_def)
    shown = [
        f"{node.op} '{node.name}' of layer '{layer_of(callers.get(node.name, node.name), graph_def)}'"
        for node in nodes[:MOST]
    ]
    instead = dict.fromkeys(SUBSTITUTES[node.op] for node in nodes if node.op in SUBSTITUTES)
    return "; ".join([f"it could not take {comma_list(shown)}", *instead]) if shown else ""


def _callers(graph_def: Any) -> dict[str, str]:
    """Return the operations of the graph that call functions, as loops do, by those of the functions."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    found = {}
    for node in graph_def.node:
        waiting = list(called_functions(node.attr))
        while waiting:
            for inner in functions[waiting.pop()].node_def:
                if inner.name not in found:
                    found[inner.name] = node.name
                    waiting += called_functions(inner.attr)
    return found


def _culprits(log: str, graph_def: Any) -> list[Any]:
    """Return the operations of a graph that messages blame, the first of each kind."""
    words = {word.rstrip(".:") for word in _WORD.findall(log)}
    words |= {word.rpartition(".")[2] for word in words}  # tf.DecodeJpeg
    nodes = {node.name: node for node in nodes_of(graph_def)}
    kinds: dict[str, list[str]] = {}
    for name, node in nodes.items():
        if node.op not in ("Const", "Identity", "Placeholder"):
            kinds.setdefault(node.op, []).append(name)
    named = [name for name in nodes if "/" in name and name in words and nodes[name].op not in ("Const", "Identity")]
    unsupported = [kind for kind in kinds if kind in words and _is_blamed(kind, log)]
    found = [next((name for name in kinds[kind] if name in named), kinds[kind][0]) for kind in unsupported] or named
    return [nodes[name] for name in found]


def _is_blamed(kind: str, log: str) -> bool:
    """Return whether a line that complains names a kind of operation."""
    return any(_CAUSES.search(line) and re.search(rf"\b{kind}\b", line) for line in log.splitlines())


def cause_of(log: str) -> str:
    """Return the last line of messages that says why a converter failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [line for line in lines if _CAUSES.search(line) and not line.startswith(_NO_CAUSE)]
    return (causes or lines or ["it said nothing"])[-1][:300]
