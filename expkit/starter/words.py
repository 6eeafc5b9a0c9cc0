"""The words of texts in a draft: how texts are cut into words, and how many words the training part has."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import yaml

from expkit.config.sections.data import SplitConfig
from expkit.data.compute import computed, fit_steps
from expkit.data.preprocess import FieldPreprocessing, raw_spec
from expkit.data.split import split_fields
from expkit.kinds.preprocess.base import Preprocess
from expkit.kinds.preprocess.text import Lowercase, RegexReplace, Split
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import Array, scan

__all__ = ["VOCABULARY", "common_length", "text_steps", "training_rows", "word_count"]

VOCABULARY = 5000
"""Different words of texts that a network knows at most."""
LONGEST = 64
"""Words of a text that a network reads."""
PATTERN = r"[^\w\s]"
_CUT: tuple[Preprocess, ...] = (Lowercase(), RegexReplace(pattern=PATTERN, to=" "), Split())


def text_steps(words: int, length: int) -> list[str]:
    """Return the steps of texts in YAML.

    Args:
        words: number of different words.
        length: number of words of a text.
    """
    return [
        "{kind: lowercase}",
        f"{{kind: regex_replace, pattern: '{PATTERN}', to: ' '}}",
        "{kind: split}",
        f"{{kind: vocabulary, max_size: {words}}}",
        f"{{kind: pad, length: {length}}}",
    ]


def training_rows(fields: Fields, split: str) -> np.ndarray:
    """Return the numbers of the training examples, given the line of YAML that splits them."""
    fields = {**fields, "row": np.arange(len(next(iter(fields.values()))))}
    return np.asarray(
        split_fields(fields, SplitConfig.model_validate(yaml.safe_load(split)["split"]))["train"]["row"][:]
    )


def word_count(texts: Array, most: int) -> int:
    """Return the number of different words of training texts, at most ``most``; 0 if they have none.

    Raises:
        DataError: a text cannot be read.
    """
    cut = fit_steps(FieldPreprocessing(field="text", raw=raw_spec(_CUT, texts)), _CUT, texts)
    with closing(computed(cut, texts)) as batches:
        words = {word for _, values in batches for word in values.reshape(-1).tolist()}
    return min(most, len(words - {b""}))


def common_length(texts: Array) -> int:
    """Return the number of words up to which 95 of 100 texts are long, at most that which a network reads."""
    lengths = [len(text.split()) for _, batch in scan(texts) for text in batch.tolist()]
    return max(1, min(LONGEST, int(np.percentile(lengths, 95))))
