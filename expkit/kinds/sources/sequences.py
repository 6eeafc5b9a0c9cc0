"""Generated sequences of symbols, each with a target sequence."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from expkit.kinds.sources.base import Fields, Source
from expkit.registry import NonNegative, Positive, register

__all__ = ["Sequences"]


@register
class Sequences(Source):
    """Random sequences of symbols, and each of them reversed, sorted or copied: for networks from sequence to sequence.

    Symbols are 0 to ``symbols - 1``; ``symbols`` is the end token, with which sequences are padded, too, and ``symbols
    + 1`` the start token. Fields: ``input`` [examples, steps] int32 and ``input_length``, its symbols; ``target``
    [examples, max_length + 1] int64, the symbols and the end, and ``target_length``, its symbols without the end;
    ``previous`` [examples, max_length + 1] int32, the target with the start token before it, without its last: what a
    decoder reads in training.
    """

    kind: Literal["sequences"] = "sequences"
    task: Literal["copy", "reverse", "sort"] = "reverse"
    """Target of an input."""
    examples: Positive = 10_000
    """Number of examples."""
    symbols: Positive = 10
    """Number of different symbols."""
    min_length: Positive = 1
    """Smallest number of symbols of a target."""
    max_length: Positive = 8
    """Largest number of symbols of a target."""
    repeats: tuple[Positive, Positive] = (1, 1)
    """Smallest and largest number of times that a symbol is repeated in a row in the input, as in speech; for CTC."""
    seed: NonNegative = Field(default=0, lt=2**63)
    """Seed of the generator."""

    @model_validator(mode="after")
    def _ranges(self) -> Sequences:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is larger than max_length {self.max_length}")
        if self.repeats[0] > self.repeats[1]:
            raise ValueError(f"repeats gives the smallest number first, got {list(self.repeats)}")
        return self

    def load(self) -> Fields:
        """Return the generated examples: a function of the fields alone."""
        import numpy as np

        draw, end = np.random.default_rng(self.seed), self.symbols
        lengths = draw.integers(self.min_length, self.max_length + 1, self.examples)
        drawn = draw.integers(0, self.symbols, (self.examples, self.max_length))
        times = draw.integers(self.repeats[0], self.repeats[1] + 1, drawn.shape)
        used = np.arange(self.max_length) < lengths[:, None]
        drawn, times = np.where(used, drawn, end), times * used

        steps = self.max_length * self.repeats[1]
        ends = np.cumsum(times, axis=1)
        # Step t is the symbol before which as many symbols have ended as had by t.
        symbol = (ends[:, None, :] <= np.arange(steps)[:, None]).sum(axis=2)
        padded = np.pad(drawn, ((0, 0), (0, 1)), constant_values=end)
        inputs = np.take_along_axis(padded, symbol, axis=1)

        target = padded.copy()
        if self.task == "sort":
            target[:, :-1] = np.sort(drawn, axis=1)
        elif self.task == "reverse":
            places = np.where(used, lengths[:, None] - 1 - np.arange(self.max_length), self.max_length)
            target[:, :-1] = np.take_along_axis(padded, places, axis=1)
        start = np.full((self.examples, 1), self.symbols + 1)
        return {
            "input": inputs.astype(np.int32),
            "input_length": ends[:, -1].astype(np.int32),
            "previous": np.concatenate([start, target[:, :-1]], axis=1).astype(np.int32),
            "target": target.astype(np.int64),
            "target_length": lengths.astype(np.int32),
        }
