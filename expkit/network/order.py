"""The order in which layers are made: each after what it reads, otherwise as written."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

from expkit.errors import Problem
from expkit.network.resolve import Node

__all__ = ["in_order"]


def in_order(nodes: Sequence[Node], problems: list[Problem]) -> Iterator[Node]:
    """Yield nodes so that each comes after what it reads, otherwise as written; a cycle becomes a problem."""
    place = {node.path: i for i, node in enumerate(nodes)}
    needs: dict[str, dict[str, str]] = {node.path: {} for node in nodes}
    for node in nodes:
        for field, source in node.reads:
            needs[node.path].setdefault(source.layer, field)
    waiting = {path: sum(layer in place for layer in layers) for path, layers in needs.items()}
    readers: dict[str, list[str]] = {}
    for path, layers in needs.items():
        for layer in layers:
            readers.setdefault(layer, []).append(path)
    ready = [place[path] for path, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    while ready:
        node = nodes[heapq.heappop(ready)]
        yield node
        del waiting[node.path]
        for path in readers.get(node.path, ()):
            waiting[path] -= 1
            if waiting[path] == 0:
                heapq.heappush(ready, place[path])
    if waiting:
        cycle = _cycle(next(iter(waiting)), needs, waiting)
        field = needs[cycle[0]][cycle[1 % len(cycle)]]
        problems.append(
            Problem(
                f"{nodes[place[cycle[0]]].at}.{field}",
                f"these layers read each other in a cycle: {' <- '.join(_shortened([*cycle, cycle[0]]))}",
            )
        )


def _cycle(start: str, reads: Mapping[str, Iterable[str]], waiting: Mapping[str, int]) -> list[str]:
    walked = {start: 0}
    last = start
    while True:
        last = next(path for path in reads[last] if path in waiting)
        if last in walked:
            return list(walked)[walked[last] :]
        walked[last] = len(walked)


def _shortened(cycle: list[str]) -> list[str]:
    """Return a cycle whose middle is counted where it is long."""
    return cycle if len(cycle) <= 20 else [*cycle[:10], f"({len(cycle) - 12} more)", *cycle[-2:]]
