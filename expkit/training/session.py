"""A session on a finalized graph, and the values that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from expkit.errors import Pruned

__all__ = ["Session", "Values", "assign"]

Values = Mapping[str, np.ndarray]
"""Values of variables, by name."""


def assign(session: Any, variables: Mapping[str, Any], values: Values) -> None:
    """Put values into variables through their initializers, which adds nothing to a finalized graph."""
    initializers = {name: variables[name].initializer for name in values}
    session.run(
        list(initializers.values()),
        {initializer.inputs[1]: np.asarray(values[name]) for name, initializer in initializers.items()},
    )


class Session:
    """A session on a finalized graph, released when the ``with`` block ends."""

    def __init__(self, session: Any) -> None:
        self.shared = False
        """Whether another run may use it: then it stays open unless the block ends by an error."""
        self.closed = False
        self._session = session
        self._released = ExitStack()
        self._released.callback(self._session.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if not self.shared or not (kind is None or issubclass(kind, Pruned)):
            self.close()

    def close(self) -> None:
        """Release the session."""
        self.closed = True
        self._released.close()
