"""Tensors in batch shards, to which layers are applied in parallel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from expkit import tf1 as tf

__all__ = ["ShardedTensors"]


class ShardedTensors(Mapping[str, Any]):
    """Tensors by path. One that is in shards is joined where it is read whole, and only there."""

    def __init__(self, inputs: Mapping[str, Any], prefix: str, count: int) -> None:
        """Hold a network's inputs.

        Args:
            inputs: by path, [batch, ...]; the size of the batch is static unless ``count`` is 1.
            prefix: of the names that tensors get, which are otherwise their paths.
            count: number of shards of a batch.
        """
        self._whole = dict(inputs)
        self._shards: dict[str, Sequence[Any]] = {}
        self._prefix = prefix
        self._count = count

    def add(self, path: str, results: Sequence[Any]) -> None:
        """Take a tensor, whole or in all shards."""
        if len(results) == 1:
            self._whole[path] = tf.identity(results[0], name=f"{self._prefix}{path}/")
        else:
            self._shards[path] = results

    def is_sharded(self, path: str) -> bool:
        """Return whether a tensor is in shards."""
        return path in self._shards

    def shard(self, number: int, path: str) -> Any:
        """Return one of the shards of a tensor, of sizes that differ by one example at most."""
        if path not in self._shards:
            whole = self._whole[path]
            ends = [whole.shape[0] * number // self._count for number in range(self._count + 1)]
            self._shards[path] = tf.split(whole, [end - begin for begin, end in pairwise(ends)])
        return self._shards[path][number]

    def __getitem__(self, path: str) -> Any:
        """Return a tensor, whole."""
        if path not in self._whole:
            self._whole[path] = tf.concat(self._shards[path], axis=0, name=f"{self._prefix}{path}/")
        return self._whole[path]

    def __iter__(self) -> Iterator[str]:
        """Go through all paths."""
        return iter({**self._whole, **self._shards})

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len({**self._whole, **self._shards})
