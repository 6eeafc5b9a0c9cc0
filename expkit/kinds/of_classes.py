"""Metrics that are an average over classes, each of which may be recorded too."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from expkit.kinds.class_weights import ClassWeighted, class_number
from expkit.kinds.evaluated import Readable
from expkit.kinds.metrics import Metric, Statistics
from expkit.kinds.weighting import Ignoring
from expkit.metric_names import class_names
from expkit.registry import NonNegative
from expkit.tensor_spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AveragedOverClasses", "OfClasses"]


def _distinct(classes: tuple[int | str, ...]) -> tuple[int | str, ...]:
    if repeated := [name for name in classes if classes.count(name) > 1]:
        raise ValueError(f"class {repeated[0]} is listed twice; list every class once")
    return classes


class OfClasses(Metric, Ignoring, ClassWeighted):
    """A metric of which every class has a value of its own."""

    classes: (
        Annotated[tuple[NonNegative | str, ...], Field(min_length=1, strict=False), AfterValidator(_distinct)] | None
    ) = None
    """Classes that count, by name or number, such as ``[1]`` for one alone; ``null`` for all.

    One logit has classes 0 and 1.
    """
    by_class: bool | Annotated[tuple[str, ...], Field(min_length=1, strict=False), AfterValidator(_distinct)] = False
    """Record every class that counts, too, under ``METRIC/CLASS``: ``true``, or the names of all classes.

    With ``true`` classes are called as the text of their labels, or by number; ``train.best_metric`` and a sweep's
    objective need names that are listed, here or in ``data.classes``. Listed names are those of the labels' text, or
    name numbers in order.
    """

    @abstractmethod
    def values_of_classes(self, sums: Statistics) -> np.ndarray:
        """Return the value of each class, float64 [classes], from summed statistics; of one logit both classes'."""

    def parts(self, sums: Statistics) -> dict[str, float]:
        """Return the values of the classes that count, by name."""
        if self.by_class is False:
            return {}
        values = self.values_of_classes(sums)
        names = class_names(range(len(values)) if self.by_class is True else self.by_class)
        return {names[number]: float(values[number]) for number in self.numbers(len(values))}

    def part_names(self, names: Sequence[str] | None) -> list[str]:
        """Return the names of its parts as far as a configuration tells them.

        Args:
            names: the texts of the labels that the configuration lists, in the order of their numbers.
        """
        listed = names if self.by_class is True else self.by_class or None
        if listed is None:
            return []
        known = class_names(listed)
        chosen = [name for name in self.classes or range(len(known)) if name in listed or name in range(len(known))]
        return [known[class_number(name, listed)] for name in chosen]

    def numbers(self, classes: int) -> list[int]:
        """Return the numbers of the classes that count."""
        return list(range(classes)) if self.classes is None else [int(name) for name in self.classes]

    def named(self, names: Sequence[str] | None) -> Self:
        """Return a copy that names classes by their numbers, and knows their names.

        Raises:
            ValueError: a class has another name.
        """
        changes: dict[str, Any] = {}
        if self.classes is not None:
            changes["classes"] = _distinct(tuple(class_number(name, names) for name in self.classes))
        if self.by_class and names is not None:
            if isinstance(self.by_class, tuple) and set(self.by_class) != set(names):
                raise ValueError(f"by_class lists {', '.join(self.by_class)}, the labels are {', '.join(names)}")
            changes["by_class"] = tuple(names)
        named = super().named(names)
        return named.model_copy(update=changes) if changes else named

    def network_problem(self, readable: Readable) -> str | None:
        """Return why outputs do not fit, or which class the output lacks."""
        return super().network_problem(readable) or self._lacking(readable.outputs[self.output])

    def data_problem(self, readable: Readable) -> str | None:
        """Return why the data do not fit, or which class the output lacks."""
        return super().data_problem(readable) or self._lacking(readable.outputs[self.output])

    def _lacking(self, output: TensorSpec) -> str | None:
        last = (output.shape or (1,))[-1]
        if last is None:
            return None
        number = max(2, last)
        lacking = [name for name in self.classes or () if isinstance(name, int) and name >= number]
        if lacking:
            return f"classes: {lacking[0]} is not a class of '{self.output}', {output}; allowed: 0 to {number - 1}"
        if isinstance(self.by_class, tuple) and len(self.by_class) != number:
            return f"by_class: {len(self.by_class)} names for the {number} classes of '{self.output}'"
        return None


class AveragedOverClasses(OfClasses):
    """A metric that is an average over classes."""

    average: Literal["macro", "micro", "weighted"] = "macro"
    """``macro``: the mean of classes; ``weighted``: their mean by number of labels; ``micro``: of all their values.

    ``by_class`` records each class as well.
    """
