"""Base class for optimizers of TensorFlow's."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from expkit.kinds.base_optimizer import BaseOptimizer

__all__ = ["WrappedOptimizer"]


class WrappedOptimizer(BaseOptimizer):
    """An optimizer of ``tf.compat.v1.train``, whose ``apply_gradients`` updates all variables at once.

    It creates its variables itself: ``slots`` and ``scalars`` give their names, their values are not read.
    """

    @abstractmethod
    def wrapped(self, rate: Any) -> Any:
        """Return the ``tf.compat.v1.train.Optimizer`` for a learning-rate tensor."""
