"""Topological order of a graph."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping

__all__ = ["topological_order"]


def topological_order(reads: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield nodes so that each follows the nodes it reads, otherwise in the given order.

    A cycle is broken at its first node in the given order, or at the first node that depends on the cycle.

    Args:
        reads: the distinct nodes that each node reads; other names are ignored.
    """
    nodes = list(reads)
    position = {node: index for index, node in enumerate(nodes)}
    waiting = {node: sum(read in position for read in sources) for node, sources in reads.items()}
    readers: dict[str, list[str]] = {}
    for node, sources in reads.items():
        for source in sources:
            readers.setdefault(source, []).append(node)
    ready = [position[node] for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    while waiting:
        node = nodes[heapq.heappop(ready)] if ready else next(iter(waiting))
        if node not in waiting:  # yielded before its turn, to break a cycle
            continue
        del waiting[node]
        yield node
        for reader in readers.get(node, ()):
            if reader in waiting:
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    heapq.heappush(ready, position[reader])
