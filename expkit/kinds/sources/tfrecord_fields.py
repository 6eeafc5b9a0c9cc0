"""Features of TFRecord files as arrays: of one shape, or padded to it."""

from __future__ import annotations

import hashlib
import math
from typing import final

import numpy as np

from expkit.errors import DataError, unknown
from expkit.kinds.sources.on_disk import DiskArray, aligned_empty, file_state
from expkit.kinds.sources.strings import strings
from expkit.kinds.sources.tfrecord_example import Features, Values
from expkit.kinds.sources.tfrecord_feature import Feature
from expkit.kinds.sources.tfrecord_index import Records

__all__ = ["RecordField", "RecordLengths"]

TRIED_RECORDS = 64
"""First records of which one must have a feature of varying length, which may be absent where it is empty."""


@final
class RecordField(DiskArray):
    """A feature of all records as an array of one shape and dtype."""

    def __init__(self, records: Records, name: str, feature: Feature) -> None:
        """Create the field, and check the first records.

        Raises:
            DataError: the feature is not there, or of another shape.
        """
        self.records = records
        self._name = name
        self._feature = feature
        self._dtype = np.dtype(object if feature.dtype == "string" else feature.dtype)
        self._item = math.prod(feature.shape)
        varying = () if feature.length is None else (feature.length,)
        self._shape = (len(records), *varying, *feature.shape)
        first = list(records.examples(np.arange(min(len(records), TRIED_RECORDS if varying else 1))))
        if not any(name in features for features in first):
            sentence = f"{records.location(0)} has no such feature"
            raise self._error(unknown(sentence, name, sorted(first[0]), label="it has"))
        self._values(first[0], 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """Size of all examples, in bytes; of strings, at most."""
        return self.records.nbytes if self.dtype.hasobject else super().nbytes

    def identity(self) -> bytes:
        """Return a digest of the names, sizes and times of change of the files, and of how the feature is read."""
        states = [file_state(str(file)) for file in self.records.files]
        text = f"{self._name} {self._feature.model_dump_json()} {states}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Return the sizes in bytes of the examples at indices; of strings, at most."""
        return self.records.sizes(indices) if self.dtype.hasobject else super().sizes(indices)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the feature of some records, read in the order of the files.

        Raises:
            DataError: a record lacks the feature, or has another number of values.
        """
        shape = (len(indices), *self.shape[1:])
        values = np.empty(shape, object) if self.dtype.hasobject else aligned_empty(shape, self.dtype)
        for position, index, features in self.records.read(indices):
            values[position] = self._values(features, index)
        return values

    def length(self, features: Features, index: int) -> int:
        """Return the number of items of a record, of those that are kept."""
        return min(len(self._flat(features, index)) // self._item, self._feature.length or 0)

    def _values(self, features: Features, index: int) -> np.ndarray | bytes:
        flat = self._flat(features, index)
        if self._feature.length is None:
            shaped = flat.reshape(self.shape[1:])
            return bytes(shaped[()]) if self.dtype.hasobject and not self.shape[1:] else shaped
        padded = np.full(self.shape[1:], b"" if self.dtype.hasobject else self._feature.padding, self.dtype)
        found = flat.reshape(-1, *self._feature.shape)[: self._feature.length]
        padded[: len(found)] = found
        return padded

    def _flat(self, features: Features, index: int) -> np.ndarray:
        """Return all values of a record, of the field's dtype; their number is checked."""
        found = features.get(self._name)
        if found is None and self._feature.length is None:
            sentence = f"{self.records.location(index)} has no such feature"
            raise self._error(unknown(sentence, self._name, sorted(features), label="it has"))
        values = self._joined([] if found is None else found, index)
        if self._feature.dtype == "string":
            if isinstance(values, np.ndarray) and len(values):
                raise self._error(f"{self.records.location(index)} has numbers; give another dtype than string")
            flat = strings(list(values), (len(values),))
            self._check_count(len(flat), 1, "strings", index)
        elif isinstance(values, np.ndarray):
            self._check_count(len(values), 1, "values", index)
            flat = self._converted(values, index)
        else:
            content = b"".join(values)
            self._check_count(len(content), self.dtype.itemsize, "bytes", index)
            flat = np.frombuffer(content, self.dtype)
        return flat

    def _joined(self, found: Values | tuple[Values, ...], index: int) -> Values:
        """Return the values of all steps of a feature list one behind the other; others as they are."""
        if not isinstance(found, tuple):
            return found
        if len({len(step) for step in found}) > 1:
            raise self._error(f"{self.records.location(index)} has steps of different numbers of values")
        if all(isinstance(step, np.ndarray) for step in found) and found:
            return np.concatenate(found)
        return [value for step in found for value in step]

    def _check_count(self, got: int, size: int, what: str, index: int) -> None:
        """Check the number of values, or of bytes where ``size`` is that of a value."""
        feature, item = self._feature, self._item * size
        if feature.length is None and got != item:
            raise self._error(
                f"{self.records.location(index)} has {got} {what}, but shape {list(feature.shape)} of {feature.dtype} "
                f"needs {item}; give the shape and dtype that were written, a length if the number varies, and dtype "
                "string for encoded images"
            )
        if feature.length is None:
            return
        if got % item:
            raise self._error(
                f"{self.records.location(index)} has {got} {what}, which is not a multiple of the {item} of shape "
                f"{list(feature.shape)} of {feature.dtype}"
            )
        if got // item > feature.length and feature.on_longer == "stop":
            raise self._error(
                f"{self.records.location(index)} has {got // item} items, more than length {feature.length}; increase "
                "it, or drop the rest with on_longer: cut"
            )

    def _converted(self, written: np.ndarray, index: int) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            values = written.astype(self.dtype)
            differ = np.flatnonzero(values.astype(written.dtype) != written)
        if len(differ) and not written.dtype.kind == self.dtype.kind == "f":  # Floats are rounded to other floats.
            value, other = written[differ[0]], "float64" if written.dtype.kind == "f" else "int64"
            sentence = f"{self.records.location(index)} has the value {value}, which {self.dtype} does not hold"
            raise self._error(f"{sentence}; give another dtype, such as {other}")
        return values

    def _error(self, message: str) -> DataError:
        return DataError.at(f"data.source.features.{self._name}", message)


@final
class RecordLengths(DiskArray):
    """Numbers of items, at most its length, of a feature that varies in length."""

    def __init__(self, field: RecordField) -> None:
        self._field = field

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""
        return (len(self._field),)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values."""
        return np.dtype(np.int64)

    def identity(self) -> bytes:
        """Return a digest of the field's."""
        return hashlib.sha256(b"lengths" + self._field.identity()).digest()

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the numbers of items of some records."""
        values = aligned_empty((len(indices),), self.dtype)
        for position, index, features in self._field.records.read(indices):
            values[position] = self._field.length(features, index)
        return values
