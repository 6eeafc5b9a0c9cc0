"""The augmentation step: a registered description of a random change of training examples."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from expkit.kinds.augment.draws import Draws
from expkit.registry import Kind, KindsOf, Positive
from expkit.tensor_spec import Shape, ShapeError, TensorSpec, sizes_text

__all__ = ["AnyAugment", "Augment", "BaseAugment", "ImageAugment", "Mixing", "image_sizes", "need_floats"]


class BaseAugment(Kind):
    """A step of augmentation of a field, in training only; a subclass per kind, registered by ``register``.

    Its values are those that the network reads, after all preprocessing. What it does to an example depends on the
    run's seed, the epoch and the example alone. Steps of the same kind, the first of it or the second, and so on, draw
    the same numbers for all fields, so that an image and its mask change alike.
    """

    family: ClassVar[str] = "augment"

    probability: float = Field(default=1.0, ge=0, le=1)
    """Probability that an example is changed."""
    draws: str | None = Field(default=None, min_length=1)
    """Name of the random numbers; steps of a name draw the same, ``null``: those of the same kind, by their order.

    Another name gives a field changes of its own, as for the two images of a pair.
    """

    @abstractmethod
    def check(self, spec: TensorSpec) -> None:
        """Check that it can change values of a shape and dtype; shape and dtype stay the same.

        Raises:
            ShapeError: it cannot.
        """


class Augment(BaseAugment):
    """A step that changes every example by itself."""

    always_applied: ClassVar[bool] = False
    """True if ``apply`` is given all examples and reads ``probability`` itself."""

    @abstractmethod
    def apply(self, values: np.ndarray, draws: Draws) -> np.ndarray:
        """Return changed examples.

        Args:
            values: [n, ...] examples that are to be changed; the step may write into them.
            draws: the random numbers of these examples.
        """


class Mixing(BaseAugment):
    """A step, the last of a field, that mixes every example with another one, which the epoch and the example choose.

    A loss of a mixed example is the mean of the losses for the labels of both, weighted by their fractions; metrics in
    training read the label of the example itself.
    """

    pastes: ClassVar[bool] = False
    """True if the result has parts of one image and of the other, so that labels of positions must be pasted too."""

    @abstractmethod
    def mix(self, values: np.ndarray, others: np.ndarray, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Return mixed examples, and the fraction of each that is its own, [n] from 0 to 1.

        Args:
            values: [n, ...] examples that are to be mixed; the step may write into them.
            others: [n, ...] their partners.
            draws: the random numbers of these examples.
        """


AnyAugment = Annotated[BaseAugment, KindsOf("augment")]


class Flattened(BaseAugment):
    """A step of images, which may be flattened."""

    shape: tuple[Positive, Positive, Positive] | None = None
    """Height, width and channels of images that are flattened to a row; ``null``: as they are."""

    def check(self, spec: TensorSpec) -> None:
        """Check that values are images of a size that fits."""
        self.check_image(image_sizes(spec, self.kind, self.shape), spec)

    def check_image(self, sizes: Shape, spec: TensorSpec) -> None:
        """Check height, width and channels.

        Raises:
            ShapeError: they do not fit.
        """

    def images(self, values: np.ndarray) -> np.ndarray:
        """Return examples as images [n, height, width, channels]; nothing is copied."""
        sizes = self.shape or (values.shape[1:] if values.ndim == 4 else (*values.shape[1:], 1))
        return values.reshape(len(values), *sizes)


class ImageAugment(Augment, Flattened):
    """A step that changes every image by itself."""

    moves: ClassVar[bool] = False
    """True if pixels change their positions, so that labels of positions must be moved too."""

    def apply(self, values: np.ndarray, draws: Draws) -> np.ndarray:
        """Return changed images in the shape of the values."""
        return self.change(self.images(values), draws).reshape(values.shape)

    @abstractmethod
    def change(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Return changed images [n, height, width, channels]; the step may write into those given."""


def image_sizes(spec: TensorSpec, kind: str, shape: tuple[int, int, int] | None) -> Shape:
    """Return height, width and channels of images, 1 where they have no channels; ``None`` where unknown.

    Args:
        spec: shape and dtype of the values.
        kind: the kind that reads them, for the message.
        shape: height, width and channels of flattened images; ``None`` if they are not flattened.

    Raises:
        ShapeError: they are not images.
    """
    given = spec.shape
    if shape is not None:
        if len(given) != 1 or given[0] not in (None, shape[0] * shape[1] * shape[2]):
            raise ShapeError(
                f"{kind} of images flattened from {sizes_text(shape)} needs a row of that size, got {spec}"
            )
        return shape
    if len(given) not in (2, 3):
        fix = "; give its shape: [HEIGHT, WIDTH, CHANNELS] if images are flattened" if len(given) == 1 else ""
        raise ShapeError(f"{kind} needs images [height, width, channels] or [height, width], got {spec}{fix}")
    return given if len(given) == 3 else (*given, 1)


def need_floats(spec: TensorSpec, kind: str) -> None:
    """Check that values are floating-point numbers.

    Raises:
        ShapeError: they are not.
    """
    if not spec.floating:
        raise ShapeError(f"{kind} needs floating-point values, got {spec}")
