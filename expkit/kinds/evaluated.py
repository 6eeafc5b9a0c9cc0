"""Inputs of losses and metrics: outputs of the network, fields of the data, variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from expkit.registry import Kind

__all__ = ["Evaluated", "Labeled", "Readable"]


@dataclass(frozen=True, kw_only=True)
class Readable:
    """Values that a loss or metric may read, by name: tensors in a graph; specs and arrays where they are checked."""

    outputs: Mapping[str, Any]
    """Outputs of the network."""
    fields: Mapping[str, Any]
    """Fields of the data."""
    variables: Mapping[str, Any]
    """Variables of the network, by full name."""


class Evaluated(Kind):
    """A loss or a metric; its methods get what it reads as keywords, named as the fields that name it."""

    reads_outputs: ClassVar[tuple[str, ...]] = ("output",)
    """Fields that name outputs of the network."""
    reads_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that name fields of the data."""
    reads_variables: ClassVar[tuple[str, ...]] = ()
    """Fields that name variables of the network."""

    whole_outputs: ClassVar[bool] = False
    """True if outputs may hold whole numbers."""

    output: str = "logits"
    """Output of the network to evaluate."""

    def names(self, fields: tuple[str, ...]) -> dict[str, str]:
        """Return the names that some of its fields give, by field, without those that are ``None``."""
        return {field: getattr(self, field) for field in fields if getattr(self, field) is not None}

    @property
    def data_fields(self) -> dict[str, str]:
        """Names of the fields of the data that it reads, by the field that names them."""
        return self.names(self.reads_fields)

    def read_network(self, readable: Readable) -> dict[str, Any]:
        """Return the outputs and variables that it reads, by field; ``None`` where the field is ``None``."""
        return {
            **self._looked_up(self.reads_outputs, readable.outputs),
            **self._looked_up(self.reads_variables, readable.variables),
        }

    def read(self, readable: Readable) -> dict[str, Any]:
        """Return all that it reads, by the field that names it; ``None`` where the field is ``None``."""
        return self.read_network(readable) | self._looked_up(self.reads_fields, readable.fields)

    def _looked_up(self, fields: tuple[str, ...], values: Mapping[str, Any]) -> dict[str, Any]:
        return {field: None if (name := getattr(self, field)) is None else values[name] for field in fields}

    def spec_problem(self, *_: Any, **specs: Any) -> str | None:
        """Return why outputs and variables do not fit, before there are data, or ``None`` if they do.

        Args:
            specs: specs of what it reads of the network, by the field that names it.
        """
        return None

    def problem(self, *_: Any, **read: Any) -> str | None:
        """Return why the data do not fit, or ``None`` if they do.

        Args:
            read: specs of outputs and variables, arrays of the data, by the field that names them.
        """
        return None

    def network_problem(self, readable: Readable) -> str | None:
        """Return why it does not fit the network, or ``None`` if it does."""
        return self.spec_problem(**self.read_network(readable))

    def data_problem(self, readable: Readable) -> str | None:
        """Return why it does not fit the data, or ``None`` if it does."""
        return self.problem(**self.read(readable))


class Labeled(Evaluated):
    """A loss or a metric that compares an output with labels."""

    reads_fields: ClassVar[tuple[str, ...]] = ("labels",)

    labels: str = "label"
    """Field of the data that holds the targets."""
