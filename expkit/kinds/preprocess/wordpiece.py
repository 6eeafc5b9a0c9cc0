"""BERT's tokenization, by TensorFlow's core operations."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.preprocess.base import Fitted, Numbering, Preprocess, need_text
from expkit.kinds.preprocess.categories import fingerprints, lookup
from expkit.kinds.preprocess.text import lower
from expkit.kinds.preprocess.word_file import read_words
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["WordPiece"]

PADDING, UNKNOWN, FIRST, SEPARATOR = SPECIAL = (b"[PAD]", b"[UNK]", b"[CLS]", b"[SEP]")
NOT_FOUND, NOTHING = -1, -2
"""Numbers of what no piece begins with, and of places after the last piece of a word."""
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\x{FFFD}]"
"""Characters that are removed before letters are made small, which depends on those around them."""
IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""First and last characters of the blocks whose characters are words each."""


@register
class WordPiece(Preprocess):
    """Numbers of BERT's word pieces: int32 ``input_ids``, ``input_mask`` and ``token_type_ids``, each [length].

    Text is cleaned, cut at white space and punctuation, and each word into the longest pieces of ``file`` from its
    beginning on (Devlin et al. 2018, as in google-research/bert). A pair of texts [2] becomes ``[CLS] a [SEP] b
    [SEP]``; of what is too long, the longer text loses its end.
    """

    kind: Literal["wordpiece"] = "wordpiece"
    reads_text: ClassVar[bool] = True
    fits: ClassVar[bool] = True
    file: str
    """BERT's ``vocab.txt``: a piece per line, ``##`` before those that continue a word, and ``[PAD]``, ``[UNK]``,
    ``[CLS]`` and ``[SEP]``. A piece's number is that of its line, from 0 on."""
    length: int = Field(ge=3)
    """Pieces of an example, with ``[CLS]`` and ``[SEP]``; shorter ones are padded, longer ones are cut."""
    lower_case: bool = True
    """Whether letters are made small and lose their accents, as ``uncased`` checkpoints need it."""
    max_word_length: Positive = 200
    """Largest number of characters of a word; longer ones are unknown. 100 in Hugging Face's tokenizers."""
    fields: tuple[str, str, str] = ("input_ids", "input_mask", "token_type_ids")
    """Names of the fields that it yields: numbers, 1 for pieces and 0 for padding, and 1 for the second text."""

    @property
    def yields(self) -> tuple[str, ...]:
        """The three fields."""
        return self.fields

    @property
    def files(self) -> tuple[str, ...]:
        """The file of pieces."""
        return (self.file,)

    def file_problem(self) -> str | None:
        """Return why the file is not a vocabulary of BERT."""
        try:
            self._pieces()
        except ValueError as error:
            return str(error)
        return None

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return [3, length], int32."""
        if need_text(spec, self.kind).shape not in ((), (1,), (2,)):
            raise ShapeError(f"{self.kind} needs one text or a pair of texts per example, got {spec}")
        return TensorSpec((3, self.length), "int32")

    def fit(self, values: Iterable[np.ndarray]) -> Fitted:
        """Return ``pieces``, in the order of their numbers.

        Raises:
            ValueError: the file is not a vocabulary of BERT.
        """
        pieces = np.array(self._pieces(), object)
        if len(np.unique(fingerprints(pieces))) < len(pieces):
            raise ValueError(f"two pieces of {self.file} have one fingerprint of 64 bits; leave one out")
        return {"pieces": pieces}

    def numbering(self, fitted: Fitted) -> Numbering:
        """Return the numbers of the pieces."""
        pieces = fitted["pieces"].tolist()
        return Numbering(len(pieces), tuple(pieces.index(piece) for piece in SPECIAL))

    def _pieces(self) -> list[bytes]:
        pieces = read_words(self.file)
        if b"" in pieces:
            raise ValueError(f"{self.file}, line {pieces.index(b'') + 1} is empty, and a piece per line is needed")
        if absent := [piece.decode() for piece in SPECIAL if piece not in pieces]:
            raise ValueError(f"{self.file} has no {', '.join(absent)}; give the vocab.txt of a BERT checkpoint")
        return pieces

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Return [batch, 3, length]: numbers, mask and types."""
        pieces = fitted["pieces"]
        padding, unknown, first, separator = (pieces.tolist().index(piece) for piece in SPECIAL)
        texts = values.shape.as_list()[1] if values.shape.rank == 2 else 1
        words, text = self._words(tf.reshape(values, (-1,)))
        found = self._greedy(words, pieces)
        lost = tf.reduce_any(tf.equal(found, NOT_FOUND), axis=1)
        lost |= tf.strings.length(words, unit="UTF8_CHAR") > self.max_word_length
        found = tf.where_v2(lost[:, None], NOTHING, found)
        found = tf.concat([tf.where_v2(lost, unknown, NOTHING)[:, None], found], axis=1)
        places = tf.where_v2(found >= 0)
        numbers, text = tf.gather_nd(found, places), tf.gather(text, places[:, 0])

        count = tf.math.unsorted_segment_sum(tf.ones_like(numbers), text, tf.size(values))
        position = tf.range(tf.size(numbers)) - tf.gather(tf.cumsum(count, exclusive=True), text)
        kept = self._lengths(tf.reshape(count, (-1, texts)))
        second = kept[1] if texts == 2 else tf.zeros_like(kept[0])
        in_text = position < tf.gather(tf.reshape(tf.stack(kept, axis=1), (-1,)), text)
        row, in_second = text // texts, tf.equal(text % texts, 1)
        column = position + 1 + tf.where_v2(in_second, tf.gather(kept[0], row) + 1, 0)
        where = tf.boolean_mask(tf.stack([row, column], axis=1), in_text)
        size = tf.stack([tf.shape(values)[0], self.length])
        numbers = tf.scatter_nd(where, tf.boolean_mask(numbers, in_text), size)

        column, after = tf.range(self.length)[None], kept[0][:, None] + 1
        end = after + tf.where_v2(second > 0, second + 1, 0)[:, None]
        numbers = tf.where_v2(tf.equal(column, after) | tf.equal(column, end), separator, numbers)
        numbers = tf.where_v2(tf.equal(column, 0), first, numbers)
        numbers = tf.where_v2(column > end, padding, numbers)
        types = tf.cast((column > after) & (column <= end), tf.int32)
        result = tf.stack([numbers, tf.cast(column <= end, tf.int32), types], axis=1)
        result.set_shape((None, 3, self.length))
        return result

    def _lengths(self, counts: Any) -> list[Any]:
        """Return how many pieces each text of an example keeps, [batch] each; of a pair the longer one is cut.

        A piece at a time is taken from the longer text, from the second one if they are as long.
        """
        if counts.shape[1] == 1:
            return [tf.minimum(counts[:, 0], self.length - 2)]
        first, second = counts[:, 0], counts[:, 1]
        room = tf.where_v2(second > 0, self.length - 3, self.length - 2)
        second = tf.minimum(second, tf.maximum(room // 2, room - first))
        return [tf.minimum(first, room - second), second]

    def _words(self, text: Any) -> tuple[Any, Any]:
        """Return the words of texts, [words], and the index of the text of each, ascending."""
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="ignore")
        if self.lower_case:
            text = lower(tf.strings.regex_replace(text, CONTROL, ""))
        decoded = tf.raw_ops.UnicodeDecode(input=text, input_encoding="UTF-8", Tsplits=tf.int64)
        codes, count = decoded.char_values, tf.size(decoded.char_values, out_type=tf.int64)
        of_text = tf.raw_ops.UpperBound(sorted_inputs=decoded.row_splits[None], values=tf.range(count)[None])[0] - 1
        characters = tf.raw_ops.UnicodeEncode(
            input_values=codes, input_splits=tf.range(count + 1), output_encoding="UTF-8"
        )
        changed, becomes = _changes(self.lower_case)
        place = tf.raw_ops.LowerBound(sorted_inputs=changed[None], values=codes[None])[0]
        place = tf.minimum(place, len(changed) - 1)
        characters = tf.where_v2(tf.equal(tf.gather(changed, place), codes), tf.gather(becomes, place), characters)
        bounds = np.array(sorted((first, last + 1) for first, last in IDEOGRAPHS), np.int32).reshape(1, -1)
        crossed = tf.raw_ops.UpperBound(sorted_inputs=bounds, values=codes[None])[0]
        characters = tf.where_v2(tf.equal(crossed % 2, 1), tf.strings.join([" ", characters, " "]), characters)
        clean = tf.raw_ops.UnsortedSegmentJoin(
            inputs=characters, segment_ids=of_text, num_segments=tf.size(text), separator=""
        )
        words = tf.raw_ops.StringSplitV2(input=clean, sep="")
        return words.values, tf.cast(words.indices[:, 0], tf.int32)

    def _greedy(self, words: Any, pieces: np.ndarray) -> Any:
        """Return the numbers of the pieces of words, [words, pieces], ``NOTHING`` after the last one.

        A step finds the longest piece that each word's rest begins with; words that have no rest any more, or no such
        piece, take part in no further step.
        """
        longest = min(max(len(piece.removeprefix(b"##").decode()) for piece in pieces), self.max_word_length)
        fits = tf.strings.length(words, unit="UTF8_CHAR") <= self.max_word_length
        left = tf.boolean_mask(tf.range(tf.size(words)), fits)

        def step(number: Any, left: Any, rest: Any, found: Any) -> Any:
            length = tf.strings.length(rest, unit="UTF8_CHAR")
            ends = tf.range(tf.minimum(longest, tf.reduce_max(length)), 0, -1)
            shape = tf.stack([tf.size(rest), tf.size(ends)])
            begin = tf.strings.substr(
                tf.tile(rest[:, None], [1, tf.size(ends)]),
                tf.zeros(shape, tf.int32),
                tf.tile(ends[None], [tf.size(rest), 1]),
                unit="UTF8_CHAR",
            )
            begin = tf.strings.join([tf.where_v2(number > 0, "##", ""), begin])
            known = lookup(begin, pieces, 0, NOT_FOUND)
            best = tf.argmax(tf.cast(known >= 0, tf.int32), axis=1, output_type=tf.int32)
            piece = tf.gather_nd(known, tf.stack([tf.range(tf.size(rest)), best], axis=1))
            column = tf.tensor_scatter_nd_update(tf.fill(tf.shape(words), NOTHING), left[:, None], piece)
            rest = tf.strings.substr(
                rest, tf.minimum(tf.gather(ends, best), length), tf.fill(tf.shape(rest), 1 << 30), unit="UTF8_CHAR"
            )
            goes_on = (piece >= 0) & tf.not_equal(rest, "")
            found = tf.concat([found, column[:, None]], axis=1)
            return number + 1, tf.boolean_mask(left, goes_on), tf.boolean_mask(rest, goes_on), found

        _, _, _, found = tf.while_loop(
            lambda number, left, rest, found: tf.size(left) > 0,
            step,
            (tf.constant(0), left, tf.boolean_mask(words, fits), tf.zeros([tf.size(words), 0], tf.int32)),
            shape_invariants=(
                tf.TensorShape(()),
                tf.TensorShape((None,)),
                tf.TensorShape((None,)),
                tf.TensorShape((None, None)),
            ),
        )
        return found


@cache
def _changes(lower_case: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the characters that cleaning changes, int32, ascending, and the text that takes the place of each."""
    changes = {}
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code < 0xE000:  # Halves of surrogate pairs are not characters.
            continue
        character = chr(code)
        if (cleaned := _cleaned(character, lower_case)) != character:
            changes[code] = cleaned.encode()
    return np.array(list(changes), np.int32), np.array(list(changes.values()), object)


def _cleaned(character: str, lower_case: bool) -> str:
    """Return the text that takes the place of a character; spaces around it where it is a word."""
    category = unicodedata.category(character)
    if character in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
        return " "
    if category in ("Cc", "Cf") or character == "\ufffd":
        return ""
    if lower_case:
        parts = unicodedata.normalize("NFD", character.lower())
        return "".join(_spaced(part) for part in parts if unicodedata.category(part) != "Mn")
    return _spaced(character)


def _spaced(character: str) -> str:
    """Return a character, with spaces around it if it is punctuation: of ASCII all but letters and digits are."""
    ascii_mark = "!" <= character <= "~" and not character.isalnum()
    return f" {character} " if ascii_mark or unicodedata.category(character).startswith("P") else character
