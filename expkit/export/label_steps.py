"""Preprocessing of labels: recorded with a graph that does not contain it, and computed again to score outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from expkit.data.compute import computed
from expkit.data.preprocess import FieldPreprocessing, Step
from expkit.errors import DataError, reading
from expkit.kinds.preprocess.base import TEXT, Preprocess
from expkit.kinds.preprocess.categories import HashBucket, OneHot, Vocabulary
from expkit.kinds.preprocess.numbers import Bucketize, Clip, Impute, Log1p, Rescale, Standardize
from expkit.kinds.preprocess.text import Lowercase, RegexReplace
from expkit.kinds.sources.strings import strings
from expkit.tensor_spec import TensorSpec

__all__ = ["preprocessed", "read_steps", "recorded"]

KINDS: Mapping[str, type[Preprocess]] = {
    str(kind.model_fields["kind"].default): kind
    for kind in (
        *(Bucketize, Clip, Impute, Log1p, Rescale, Standardize),
        *(HashBucket, OneHot, Vocabulary, Lowercase, RegexReplace),
    )
}
"""Kinds of steps that are recorded: those that labels have, and that read no file once they are fitted."""
LONGEST = 1 << 16
"""Letters of recorded steps: they are part of the metadata of every file that is exported."""
OTHER = b"another"
"""Label of an example whose one-hot row names no class."""


def recorded(preprocessing: FieldPreprocessing) -> dict[str, Any] | None:
    """Return the preprocessing of labels as plain values, for ``read_steps``; ``None`` if it cannot be recorded."""
    steps, raw = preprocessing.plain(), preprocessing.raw
    for step in steps:
        step.pop("file", None)  # Its words are what was fitted.
    plain = {"dtype": raw.dtype, "shape": list(raw.shape), "steps": steps}
    known = all(step["kind"] in KINDS for step in steps) and (raw.dtype != TEXT or raw.shape == ())
    return plain if known and len(json.dumps(plain)) <= LONGEST else None


def read_steps(plain: Mapping[str, Any]) -> FieldPreprocessing:
    """Return the preprocessing that was recorded.

    Raises:
        Exception: of any kind, if a file of others has something else in its place.
    """
    steps = []
    for item in plain["steps"]:
        kind = KINDS[item["kind"]].model_validate({key: value for key, value in item.items() if key != "fitted"})
        if kind.files:
            raise ValueError("a step reads a file")
        steps.append(Step.of(kind, item))
    raw = TensorSpec(tuple(plain["shape"]), np.dtype(plain["dtype"]).name if plain["dtype"] != TEXT else TEXT)
    return FieldPreprocessing(field="labels", raw=raw, kept=steps)


def preprocessed(steps: FieldPreprocessing, values: np.ndarray, classes: int | None) -> np.ndarray:
    """Return labels as training compared them with an output; those that are missing stay so.

    Args:
        steps: the preprocessing.
        values: labels as the source has them, as ``bytes`` or numbers.
        classes: number of classes; ``None`` of numbers.

    Returns:
        Numbers of classes as ``bytes``, empty where there is none; or numbers, NaN where there is none.

    Raises:
        DataError: they cannot be preprocessed, or become something else than labels of the output.
    """
    count = len(values)
    if steps.raw.dtype == TEXT:
        present = np.array([bool(value.strip()) for value in values.tolist()], bool)
    else:
        values = values.reshape(count, *steps.raw.shape).astype(np.float64)
        present = np.isfinite(values).reshape(count, -1).all(axis=1)
    with reading("INPUT", "the labels cannot be preprocessed as in training", raises=DataError):
        shape = steps.shape
        if shape not in {(), (1,), (classes,)} if classes is not None else shape != steps.raw.shape:
            raise ValueError(f"they become {list(shape)} per example")
        with closing(computed(steps, values[present])) as batches:
            found = [batch for _, batch in batches]
        result = np.concatenate(found) if found else np.zeros((0, 1))
    if classes is None:
        numbers = np.full((count, *result.shape[1:]), np.nan)
        numbers[present] = result
        return numbers
    words = np.full(count, b"", object)
    if result.ndim == 2 and result.shape[1] > 1:
        words[present] = [b"%d" % row.argmax() if row.any() else OTHER for row in result]
    else:
        words[present] = [str(value).encode() for value in result.reshape(-1).tolist()]
    return strings(words.tolist(), (count,))
