"""TFRecord files as a source."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Literal

from pydantic import Field

from expkit.errors import DataError
from expkit.kinds.sources.base import Fields, Source, existing
from expkit.registry import Positive, Section, register

__all__ = ["Feature", "TFRecord"]


class Feature(Section):
    """A feature of a ``tf.train.Example`` as a field of the data, for the source ``tfrecord``."""

    shape: tuple[Positive, ...] = ()
    """Sizes of an example's dimensions; empty for a single value."""
    dtype: Literal["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"] = "float32"
    """Dtype of the values; the bytes of a ``bytes_list`` are read as this dtype."""


@register
class TFRecord(Source):
    """TFRecord files of ``tf.train.Example``; records are read from disk on demand, so files may exceed memory.

    An index of the records is built in one pass at the start, which checks the checksum of every length; that of a
    record's bytes is checked whenever the record is read. Compressed files have no random access and are refused.
    """

    kind: Literal["tfrecord"] = "tfrecord"
    files: str | tuple[str, ...]
    """File, pattern such as ``data/train-*.tfrecord``, or a list of those; the files of a pattern are sorted."""
    features: dict[str, Feature] = Field(min_length=1)
    """Features to read, by name; each becomes a field."""

    def load(self) -> Fields:
        """Return the features, on disk."""
        from expkit.kinds.sources.tfrecord_index import RecordField, Records

        records = Records([file for pattern in self._patterns() for file in _matching(pattern)])
        fields = {name: RecordField(records, name, item.shape, item.dtype) for name, item in self.features.items()}
        for field in fields.values():
            field[:1]  # reports a wrong name or shape before anything is built
        return fields

    def _patterns(self) -> tuple[str, ...]:
        return (self.files,) if isinstance(self.files, str) else self.files


def _matching(pattern: str) -> list[Path]:
    expanded = str(Path(pattern).expanduser())
    if not glob.has_magic(expanded):
        return [existing(pattern, "files")]
    found = sorted(glob.glob(expanded, recursive=True))
    if not found:
        raise DataError.at(
            "data.source.files", f"no file matches {pattern}; give the path or pattern of existing files"
        )
    return [Path(file) for file in found]
