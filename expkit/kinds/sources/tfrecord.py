"""TFRecord files as a source."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from expkit.errors import DataError
from expkit.kinds.sources.base import Fields, Source, existing
from expkit.kinds.sources.tfrecord_feature import Feature
from expkit.registry import register

__all__ = ["TFRecord"]


@register
class TFRecord(Source):
    """TFRecord files of ``tf.train.Example`` or ``tf.train.SequenceExample``, which may exceed memory.

    An index of the records is built in one pass at the start, which checks the checksum of every length; that of a
    record's bytes is checked whenever the record is read, on demand. Compressed files (GZIP, ZLIB) have no random
    access: every start unpacks them into a temporary file, which takes the time and the disk space of the whole data.
    """

    kind: Literal["tfrecord"] = "tfrecord"
    files: str | tuple[str, ...]
    """File, pattern such as ``data/train-*.tfrecord``, or a list of those; the files of a pattern are sorted."""
    features: dict[str, Feature] = Field(min_length=1)
    """Features to read, by name; each becomes a field."""

    @model_validator(mode="after")
    def _distinct(self) -> TFRecord:
        for name, feature in self.features.items():
            if feature.length is not None and f"{name}_length" in self.features:
                raise ValueError(f"the field '{name}_length' is that of the lengths of '{name}', and a feature")
        return self

    def load(self) -> Fields:
        """Return the features, on disk."""
        from expkit.kinds.sources.tfrecord_fields import RecordField, RecordLengths
        from expkit.kinds.sources.tfrecord_index import Records

        records = Records([file for pattern in self._patterns() for file in _matching(pattern)])
        fields = {name: RecordField(records, name, item) for name, item in self.features.items()}
        lengths = {
            f"{name}_length": RecordLengths(fields[name])
            for name, item in self.features.items()
            if item.length is not None
        }
        return {**fields, **lengths}

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
