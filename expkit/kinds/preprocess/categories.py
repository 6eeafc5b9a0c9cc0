"""Preprocessing of categories: words and numbers that name something become numbers from 0 on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.kinds.preprocess.base import TEXT, Fitted, Numbering, Preprocess, need_numbers
from expkit.kinds.preprocess.word_file import read_words, word_file_problem
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["RESERVED", "Category", "HashBucket", "OneHot", "Vocabulary", "fingerprints", "lookup"]

RESERVED = 2
"""Numbers of a vocabulary before its words: 0 for nothing (an empty text, the end of a shorter text), 1 for others."""


class Category(Preprocess):
    """A step that turns text or whole numbers into int32 numbers."""

    def raw_dtype(self, dtype: np.dtype) -> str:
        """Return ``string`` for text, ``int64`` for whole numbers."""
        return "int64" if dtype.kind in "biu" else super().raw_dtype(dtype)

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the same shape, int32."""
        if spec.dtype != TEXT and not spec.dtype.startswith(("int", "uint")):
            raise ShapeError(f"{self.kind} needs text or whole numbers, got {spec}; use kind 'bucketize' for others")
        if spec.dtype != TEXT:
            need_numbers(spec, self.kind)
        return TensorSpec(spec.shape, "int32")


@register
class Vocabulary(Category):
    """Numbers of words: 2 and up by frequency in the training examples, 1 for other words, 0 for an empty text.

    Words that are equally frequent are in the order of their bytes. A file has a word in each line, in order.
    """

    kind: Literal["vocabulary"] = "vocabulary"
    fits: ClassVar[bool] = True
    max_size: Positive | None = None
    """Maximum number of words; those that are less frequent count as others. ``null`` for all."""
    min_count: Positive = 1
    """Number of times from which on a word of the training examples is taken."""
    file: str | None = None
    """Text file with the words, one per line, in place of those of the training examples."""

    @model_validator(mode="after")
    def _agrees(self) -> Vocabulary:
        given = self.model_fields_set & {"max_size", "min_count"}
        if self.file is not None and given:
            raise ValueError(f"a file gives the words, so {', '.join(sorted(given))} has no meaning; leave it out")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The file of words, if there is one."""
        return () if self.file is None else (self.file,)

    def file_problem(self) -> str | None:
        """Return why the file of words cannot be used."""
        return None if self.file is None else word_file_problem(self.file)

    def fit(self, values: Iterable[np.ndarray]) -> Fitted:
        """Return ``words``, in the order of their numbers.

        Raises:
            ValueError: there is no word, or two words have one fingerprint.
        """
        if self.file is not None:
            words = [line for line in read_words(self.file) if line]
        else:
            counts: Counter[bytes] = Counter()
            for batch in values:
                counts.update(np.ravel(_as_bytes(batch)).tolist())
            del counts[b""]
            by_bytes = sorted(word for word, count in counts.items() if count >= self.min_count)
            words = sorted(by_bytes, key=counts.__getitem__, reverse=True)[: self.max_size]
        if not words:
            raise ValueError("no word is found, so every text would be 0; look at the steps before it")
        table = np.array(words, object)
        if len(np.unique(fingerprints(table))) < len(words):
            raise ValueError("two words have one fingerprint of 64 bits; leave one out, by a file")
        return {"words": table}

    def numbering(self, fitted: Fitted) -> Numbering:
        """Return the numbers of the words, with 0 and 1."""
        return Numbering(RESERVED + len(fitted["words"]), (0, 1))

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Look words up."""
        text = _as_text(values)
        found = lookup(text, fitted["words"], RESERVED, 1)
        return tf.where_v2(tf.equal(text, ""), tf.zeros_like(found), found)


@register
class HashBucket(Category):
    """A number from 1 to ``buckets`` for each word, by a hash of its bytes: nothing is fitted, and words may collide.

    An empty text is 0.
    """

    kind: Literal["hash_bucket"] = "hash_bucket"
    buckets: Positive
    """Number of numbers."""

    def numbering(self, fitted: Fitted) -> Numbering:
        """Return the numbers of the buckets, with 0."""
        return Numbering(self.buckets + 1)

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Return the hash (FarmHash64) modulo the number of buckets."""
        text = _as_text(values)
        number = tf.cast(tf.strings.to_hash_bucket_fast(text, self.buckets), tf.int32) + 1
        return tf.where_v2(tf.equal(text, ""), tf.zeros_like(number), number)


@register
class OneHot(Preprocess):
    """A row of float32 for each number: 1 at its place, 0 elsewhere; all 0 for a number outside."""

    kind: Literal["one_hot"] = "one_hot"
    in_step: ClassVar[bool] = True
    depth: int = Field(gt=0)
    """Length of a row: of a vocabulary of n words n + 2, of ``bucketize`` one more than its boundaries."""

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the shape with a dimension of ``depth`` at its end."""
        if not need_numbers(spec, self.kind).dtype.startswith(("int", "uint")):
            raise ShapeError(f"{self.kind} needs whole numbers, got {spec}")
        return TensorSpec((*spec.shape, self.depth))

    def raw_dtype(self, dtype: np.dtype) -> str:
        """Return ``int64``."""
        return "int64" if dtype.kind in "biu" else super().raw_dtype(dtype)

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Return the rows."""
        return tf.one_hot(values if values.dtype == tf.int64 else tf.cast(values, tf.int32), self.depth)


def lookup(text: Any, words: np.ndarray, first: int, missing: int) -> Any:
    """Return the int32 number of each text among words, without a table that a session would have to initialize.

    Fingerprints are sorted constants of the graph; another text with the fingerprint of a word (1 of 2**63) is taken
    for it.

    Args:
        text: strings of any shape.
        words: bytes, each once, none with the fingerprint of another.
        first: number of the first word.
        missing: number of texts that are none of them.
    """
    keys = fingerprints(words)
    order = np.argsort(keys)
    flat = tf.reshape(tf.strings.to_hash_bucket_fast(text, 2**63 - 1), (1, -1))
    found = tf.raw_ops.LowerBound(sorted_inputs=keys[order][None], values=flat, out_type=tf.int32)
    place = tf.minimum(found, len(words) - 1)
    number = tf.gather((order + first).astype(np.int32), place)
    number = tf.where_v2(tf.equal(tf.gather(keys[order], place), flat), number, missing)
    return tf.reshape(number, tf.shape(text))


def fingerprints(words: np.ndarray) -> np.ndarray:
    """Return the int64 fingerprints of words, by the operation that the graph uses (FarmHash64 modulo 2**63 - 1)."""
    return np.asarray(_fingerprints()(words))


@cache
def _fingerprints() -> Callable[[np.ndarray], np.ndarray]:
    """Open a session for fingerprints, which are asked for several times."""
    with tf.Graph().as_default() as graph:
        text = tf.placeholder(tf.string, (None,))
        keys = tf.strings.to_hash_bucket_fast(text, 2**63 - 1)
    run: Callable[[np.ndarray], np.ndarray] = tf.Session(graph=graph).make_callable(keys, [text])
    return run


def _as_text(values: Any) -> Any:
    """Return text as it is, whole numbers as text."""
    return values if values.dtype == tf.string else tf.strings.as_string(values)


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Return text, or whole numbers as ``tf.strings.as_string`` writes them."""
    return values if values.dtype == object else values.astype("S").astype(object)
