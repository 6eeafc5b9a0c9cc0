"""Preprocessing of text."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ValidationInfo, field_validator

from expkit import tf1 as tf
from expkit.kinds.preprocess.base import Fitted, Preprocess, need_text, words_of_texts
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Lowercase", "RegexReplace", "Split", "TextStep", "lower"]

_SETS = {r"\w": r"\p{L}\p{N}_", r"\d": r"\p{Nd}"}
"""Members of a set in RE2, by what Python calls it."""
_BY_LOCALE = {"I": "i", "İ": "i\u0307", "J": "j", "Į": "į", "Ì": "ì", "Í": "í", "Ĩ": "ĩ"}
"""Letters that TensorFlow writes in lower case as the locale of the process says, Turkish or Lithuanian."""


class TextStep(Preprocess):
    """A step that changes each text by itself."""

    reads_text: ClassVar[bool] = True

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the same shape, of text."""
        return need_text(spec, self.kind)


@register
class Lowercase(TextStep):
    """Text in lower case, by the rules of Unicode."""

    kind: Literal["lowercase"] = "lowercase"

    def reduced(self, values: np.ndarray) -> Lowercase:
        """Return a step without the rules of Unicode for text that is ASCII."""
        return _LowercaseAscii() if b"".join(values.flat).isascii() else self

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Return the text in lower case."""
        return lower(values)


class _LowercaseAscii(Lowercase):
    """ASCII text in lower case."""

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Return the text in lower case."""
        return tf.strings.lower(values)


@register
class RegexReplace(TextStep):
    r"""Text in which every match of a regular expression is replaced; ``\w`` and ``\d`` are of all scripts."""

    kind: Literal["regex_replace"] = "regex_replace"
    pattern: str
    """Regular expression of RE2, without look-around and back-references."""
    to: str = ""
    r"""Text that replaces a match; ``\1`` is its first group."""

    @field_validator("pattern")
    @classmethod
    def _valid(cls, pattern: str) -> str:
        if problem := _re2_problem(pattern, ""):
            raise ValueError(
                f"'{pattern}' is not a regular expression of RE2 (no look-around, no back-references): {problem}"
            )
        return pattern

    @field_validator("to")
    @classmethod
    def _fits(cls, to: str, given: ValidationInfo) -> str:
        if "pattern" in given.data and (problem := _re2_problem(given.data["pattern"], to)):
            raise ValueError(f"'{to}' cannot replace matches of '{given.data['pattern']}': {problem}")
        return to

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the same shape, of text."""
        if words_of_texts(spec) and _replaced("", self.pattern, self.to):
            raise ShapeError(
                f"{self.kind} makes words of the empty ones with which shorter texts end; put it before 'split'"
            )
        return super().output_spec(spec)

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Replace."""
        return tf.strings.regex_replace(values, _of_all_scripts(self.pattern), self.to)


def lower(text: Any) -> Any:
    """Return text in lower case as Python's ``str.lower`` does, whatever the locale of the process."""
    for upper, lowered in _BY_LOCALE.items():
        text = tf.strings.regex_replace(text, upper, lowered)
    return tf.strings.lower(text, encoding="utf-8")


def _re2_problem(pattern: str, to: str) -> str | None:
    """Return why RE2 takes a pattern or what replaces its matches for wrong."""
    import pyarrow as pa

    try:
        _replaced("", pattern, to)
    except pa.ArrowInvalid as error:
        return str(error).partition(": ")[2]
    return None


def _replaced(text: str, pattern: str, to: str) -> str:
    """Return a text with matches replaced by RE2, here that of Arrow, without TensorFlow."""
    import pyarrow as pa  # Not above: a quarter of a second that other configurations need not wait.
    import pyarrow.compute as pc

    pattern = _of_all_scripts(pattern)
    return str(pc.replace_substring_regex(pa.array([text]), pattern=pattern, replacement=to)[0])


def _of_all_scripts(pattern: str) -> str:
    r"""Return a pattern whose ``\w`` and ``\d`` match letters and digits of all scripts, as Python's do."""
    result, position, in_set = "", 0, False
    while position < len(pattern):
        character = pattern[position]
        pair = pattern[position : position + 2]
        if (members := _SETS.get(pair.lower())) is not None:
            negated = pair != pair.lower()
            if negated and in_set:
                raise ValueError(
                    f"'{pattern}' has {pair} inside brackets, which RE2 knows of ASCII alone; write [^...]"
                )
            result += members if in_set else f"[{'^' * negated}{members}]"
            position += 2
        elif in_set and pair == "[:" and (end := pattern.find(":]", position)) > 0:  # A class such as [:alpha:].
            result += pattern[position : end + 2]
            position = end + 2
        elif character == "\\":
            result += pair
            position += 2
        else:
            opens = character == "[" and not in_set
            in_set = opens or (in_set and character != "]")
            result += character
            position += 1
            if opens:  # A bracket that comes first is a member.
                first = re.match(r"\^?\]?", pattern[position:])
                assert first is not None
                result += first[0]
                position += len(first[0])
    return result


@register
class Split(Preprocess):
    """Words of a text: [words]; of shorter texts than the longest of a batch the rest is empty."""

    kind: Literal["split"] = "split"
    reads_text: ClassVar[bool] = True
    separator: str = ""
    """Text between words; by default any white space, at both ends too."""

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return a dimension of unknown length."""
        if need_text(spec, self.kind).shape:
            raise ShapeError(f"{self.kind} needs one text per example, got {spec}")
        return TensorSpec((None,), spec.dtype)

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Split."""
        words = tf.raw_ops.StringSplitV2(input=values, sep=self.separator)
        return tf.raw_ops.SparseToDense(
            sparse_indices=words.indices,
            output_shape=words.shape,
            sparse_values=words.values,
            default_value="",
            validate_indices=False,
        )
