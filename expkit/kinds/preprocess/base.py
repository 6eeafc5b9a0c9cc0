"""The preprocessing step: a registered description of an operation on a field, the same in training and in serving."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from expkit.registry import Kind, KindsOf
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["AnyPreprocess", "Fitted", "Numbering", "Preprocess", "need_numbers", "need_text", "words_of_texts"]

Fitted = Mapping[str, np.ndarray]
"""Arrays by name that a step has fitted; they become constants of the graph."""

TEXT = "string"
"""TensorFlow's dtype of text and of encoded files."""


@dataclass(frozen=True)
class Numbering:
    """Whole numbers that stand for words or other things."""

    count: int
    """Their number; they are counted from 0."""
    unknown: tuple[int, ...] = ()
    """Those that stand for nothing in particular."""


class Preprocess(Kind):
    """A step of preprocessing; a subclass per kind, registered by ``expkit.registry.register``.

    Its values are those of a batch, and each example's result depends on that example alone.
    """

    family: ClassVar[str] = "preprocess"

    fits: ClassVar[bool] = False
    """Whether it learns something from the training examples (``fit``)."""
    in_step: ClassVar[bool] = False
    """Whether training computes it in every step instead of once: it is cheap, and its result takes more memory."""
    reads_text: ClassVar[bool] = False
    """Whether its values are one text or encoded file per example."""
    keeps_numbering: ClassVar[bool] = False
    """Whether numbers stand for the same after it as before it."""
    reads_files: ClassVar[bool] = False
    """Whether its values are bytes of files, such as images, in place of text."""
    one_by_one: ClassVar[bool] = False
    """Whether ``apply`` is given one example at a time, because sizes differ from example to example."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of files whose contents the result depends on."""
        return ()

    @property
    def yields(self) -> tuple[str, ...]:
        """Names of fields that take the place of the one that is preprocessed, where the result is several.

        The result has a dimension of their number after the batch's. Only the last step of a field can have them.
        """
        return ()

    def file_problem(self) -> str | None:
        """Return why the files cannot be used, found without TensorFlow; ``None`` if they can."""
        return None

    @property
    def skips_failures(self) -> bool:
        """Whether training leaves out examples that cannot be preprocessed."""
        return False

    @abstractmethod
    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the shape and dtype of the result, given those of the values; text has dtype ``string``.

        Raises:
            ShapeError: the values do not fit.
        """

    def raw_dtype(self, dtype: np.dtype) -> str:
        """Return the dtype in which a graph reads values of an array's dtype, if this is the first step."""
        if dtype.kind in "SUO":
            return TEXT
        return "float32" if np.can_cast(dtype, np.float32, "safe") else "float64"

    def fit(self, values: Iterable[np.ndarray]) -> Fitted:
        """Return the arrays fitted on the training examples, given in batches.

        Raises:
            ValueError: nothing can be learned from them; the message says why.
        """
        return {}

    def numbering(self, fitted: Fitted) -> Numbering | None:
        """Return the whole numbers of the result, or of the first field that it yields, if they stand for words."""
        return None

    def reduced(self, values: np.ndarray) -> Preprocess:
        """Return a step that does the same to these values by fewer operations, if there is one."""
        return self

    @abstractmethod
    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Return the result for values of shape [batch, ...], by TensorFlow's core operations."""


AnyPreprocess = Annotated[Preprocess, KindsOf("preprocess")]


def need_numbers(spec: TensorSpec, kind: str) -> TensorSpec:
    """Return the spec of values that are numbers, those of words in sequences of one length.

    Raises:
        ShapeError: they are text, or sequences of words that are not padded.
    """
    if spec.dtype == TEXT:
        raise ShapeError(f"{kind} needs numbers, got {spec}; turn text into numbers first, by kind 'vocabulary'")
    if words_of_texts(spec):
        raise ShapeError(f"{kind} needs texts of one length, got {spec}; put {{kind: pad, length: N}} before it")
    return spec


def words_of_texts(spec: TensorSpec) -> bool:
    """Return True for numbers of words, or words, of which shorter texts of a batch have 0, or the empty one.

    What becomes another number depends on the other texts of the batch.
    """
    return spec.shape == (None,) and spec.dtype in ("int32", TEXT)


def need_text(spec: TensorSpec, kind: str) -> TensorSpec:
    """Return the spec of values that are text.

    Raises:
        ShapeError: they are numbers.
    """
    if spec.dtype != TEXT:
        raise ShapeError(f"{kind} needs text, got {spec}")
    return spec
