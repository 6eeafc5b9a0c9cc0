"""The tensors of a network that is being connected: whole, or in parts of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from expkit import tf1 as tf

__all__ = ["Tensors"]


class Tensors(Mapping[str, Any]):
    """Tensors by path. One that came in parts is joined where it is read whole, and only there."""

    def __init__(self, inputs: Mapping[str, Any], prefix: str, count: int) -> None:
        """Hold a network's inputs.

        Args:
            inputs: by path, [batch, ...]; the size of the batch is static unless ``count`` is 1.
            prefix: of the names that tensors get, which are otherwise their paths.
            count: how many parts a batch has.
        """
        self._whole = dict(inputs)
        self._parts: dict[str, Sequence[Any]] = {}
        self._prefix = prefix
        self._count = count

    def add(self, path: str, parts: Sequence[Any]) -> None:
        """Take what a layer made, in all parts or whole."""
        if len(parts) == 1:
            self._whole[path] = tf.identity(parts[0], name=f"{self._prefix}{path}/")
        else:
            self._parts[path] = parts

    def is_apart(self, path: str) -> bool:
        """Return whether a tensor is there in parts."""
        return path in self._parts

    def parts(self, path: str) -> Sequence[Any]:
        """Return the parts of a tensor, of sizes that differ by one example at most."""
        if path not in self._parts:
            whole = self._whole[path]
            ends = [whole.shape[0] * number // self._count for number in range(self._count + 1)]
            sizes = [end - begin for begin, end in pairwise(ends)]
            self._parts[path] = tf.split(whole, sizes)
        return self._parts[path]

    def __getitem__(self, path: str) -> Any:
        """Return a tensor, whole."""
        if path not in self._whole:
            self._whole[path] = tf.concat(self._parts[path], axis=0, name=f"{self._prefix}{path}/")
        return self._whole[path]

    def __iter__(self) -> Iterator[str]:
        """Go through all paths."""
        return iter({**self._whole, **self._parts})

    def __len__(self) -> int:
        """Return how many tensors there are."""
        return len({**self._whole, **self._parts})
