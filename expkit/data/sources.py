"""Sources of examples: named arrays whose first dimension counts examples."""

from __future__ import annotations

import csv
import math
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from expkit.data.files import existing, read_idx
from expkit.errors import DataError, did_you_mean, listed
from expkit.registry import Kind, register

if TYPE_CHECKING:
    import numpy as np

    from expkit.data.stored import Array

__all__ = ["Arrays", "Source"]

Arrays = Mapping[str, "Array"]
"""Fields by name, in memory or on disk; all have the same number of examples."""


class Source(Kind):
    """Where examples come from."""

    family: ClassVar[str] = "source"

    @abstractmethod
    def load(self) -> Arrays:
        """Return all examples: NumPy arrays, or fields that stay on disk (``expkit.data.stored``).

        Raises:
            DataError: a file is missing, damaged or not what it should be.
        """

    def image_shape(self, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
        """Return height, width and channels of examples of a shape; ``None`` where they are no images."""
        if len(shape) != 3 or shape[2] not in (1, 3, 4) or None in shape[:2]:
            return None
        return shape  # type: ignore[return-value]


def _square(shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
    """Return the shape of a square image whose pixels are one row."""
    if len(shape) != 1 or shape[0] is None or math.isqrt(shape[0]) ** 2 != shape[0]:
        return None
    return math.isqrt(shape[0]), math.isqrt(shape[0]), 1


@register
class Digits(Source):
    """scikit-learn's handwritten digits: 1,797 images of 8 by 8 pixels from 0 to 16, and their labels 0 to 9.

    Fields: ``image`` [1797, 64] float32 (or [1797, 8, 8, 1] as images), ``label`` [1797] int64.
    """

    kind: Literal["digits"] = "digits"
    flat: bool = True
    """Whether an image is one row of 64 pixels; otherwise [8, 8, 1]."""

    def load(self) -> Arrays:
        """Return the embedded data set."""
        import numpy as np
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.asarray(digits.data, np.float32)
        return {
            "image": images if self.flat else images.reshape(-1, 8, 8, 1),
            "label": np.asarray(digits.target, np.int64),
        }

    def image_shape(self, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
        """Return height, width and channels, also of a row of pixels."""
        return super().image_shape(shape) or _square(shape)


@register
class Idx(Source):
    """Images and labels in the IDX format of MNIST, plain or gzipped.

    Fields: ``image`` float32, bytes divided by 255, [examples, pixels] or [examples, height, width, 1];
    ``label`` [examples] int64.
    """

    kind: Literal["idx"] = "idx"
    images: str
    """File of images (magic 0x00000803)."""
    labels: str
    """File of labels (magic 0x00000801)."""
    flat: bool = True
    """Whether an image is one row of pixels; otherwise [height, width, 1]."""

    def load(self) -> Arrays:
        """Return both files' examples."""
        import numpy as np

        images = read_idx(self.images, "images", dimensions=3)
        labels = read_idx(self.labels, "labels", dimensions=1)
        if len(images) != len(labels):
            raise DataError.at(
                "data.source", f"{self.images} has {len(images)} images but {self.labels} has {len(labels)} labels"
            )
        pixels = images.astype(np.float32) / np.float32(255 if images.dtype == np.uint8 else 1)
        shape = (len(images), -1) if self.flat else (*images.shape, 1)
        return {"image": pixels.reshape(shape), "label": labels.astype(np.int64)}

    def image_shape(self, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
        """Return height, width and channels, also of a row of pixels."""
        return super().image_shape(shape) or _square(shape)


@register
class Npz(Source):
    """Arrays of a NumPy ``.npz`` file, each a field."""

    kind: Literal["npz"] = "npz"
    path: str
    """The file."""
    fields: dict[str, str] = {}
    """Field names by array name, for the arrays to take; all, under their own names, when not given."""

    def load(self) -> Arrays:
        """Return the arrays."""
        import numpy as np

        file = existing(self.path, "path")
        if not zipfile.is_zipfile(file):
            raise DataError.at("data.source.path", f"{file} is not a readable .npz file: it is no zip archive")
        try:
            with np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files if not self.fields or name in self.fields}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError.at("data.source.path", f"{file} is not a readable .npz file: {error}") from None
        if missing := [name for name in self.fields if name not in arrays]:
            raise DataError.at("data.source.fields", f"no array {listed(missing)} in {file}")
        arrays = {self.fields.get(name, name): array for name, array in arrays.items()}
        if not arrays or any(array.ndim == 0 for array in arrays.values()):
            raise DataError.at("data.source.path", f"{file} needs arrays with a first dimension that counts examples")
        _check_sizes("data.source.path", f"the arrays of {file}", arrays)
        return arrays


def _check_sizes(at: str, which: str, arrays: Mapping[str, np.ndarray]) -> None:
    if len({len(array) for array in arrays.values()}) > 1:
        sizes = listed(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError.at(at, f"{which} differ in their number of examples: {sizes}")


@register
class StoredArrays(Source):
    """NumPy ``.npy`` files, each a field; they are read by example from disk and may be larger than memory."""

    kind: Literal["arrays"] = "arrays"
    fields: dict[str, str] = Field(min_length=1)
    """Files by field name."""

    def load(self) -> Arrays:
        """Return the fields, on disk."""
        import numpy as np

        from expkit.data.stored import Mapped

        maps: dict[str, np.memmap] = {}
        for name, path in self.fields.items():
            file = existing(path, f"fields.{name}")
            try:
                maps[name] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, EOFError, ValueError) as error:
                raise DataError.at(
                    f"data.source.fields.{name}", f"{file} is not a readable .npy file: {error}"
                ) from None
            if not isinstance(maps[name], np.memmap) or maps[name].ndim == 0:
                raise DataError.at(
                    f"data.source.fields.{name}",
                    f"{file} needs one array with a first dimension that counts examples (.npy, not .npz)",
                )
        _check_sizes("data.source.fields", "the files", maps)
        return {name: Mapped(array) for name, array in maps.items()}


@register
class Csv(Source):
    """Rows of a CSV file with a header: feature columns as one float32 field, one column as the label."""

    kind: Literal["csv"] = "csv"
    path: str
    """The file."""
    label: str
    """Column that becomes the field ``label`` (int64 where every value is a whole number, float32 otherwise)."""
    features: tuple[str, ...] = ()
    """Columns that become the field ``features`` [examples, columns]; all others when not given."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """Character between columns."""

    def load(self) -> Arrays:
        """Return ``features`` and ``label``."""
        import numpy as np

        file = existing(self.path, "path")
        try:
            with file.open(newline="", encoding="utf-8-sig") as text:
                reader = csv.reader(text, delimiter=self.delimiter)
                header: list[str] = next((row for row in reader if row), [])
                rows = [(reader.line_num, row) for row in reader if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError.at("data.source.path", f"{file} is not a readable CSV file: {error}") from None
        if not rows:
            raise DataError.at("data.source.path", f"{file} has no rows after its header")
        features = self.features or tuple(name for name in header if name != self.label)
        for column in (self.label, *features):
            if column not in header:
                near = did_you_mean(column, header) or ";"
                raise DataError.at("data.source", f"no column '{column}' in {file}{near} columns: {listed(header)}")
        if not features:
            raise DataError.at("data.source.path", f"{file} has no column but the label '{self.label}'; add features")
        for line, row in rows:
            if len(row) != len(header):
                raise DataError.at(
                    "data.source.path", f"{file} line {line}: {len(row)} columns, the header has {len(header)}"
                )
        table = {name: _numbers(file, rows, header, name) for name in (*features, self.label)}
        label = table[self.label]
        whole = bool(np.all(np.isfinite(label)) and np.all(label == np.round(label)))
        return {
            "features": np.stack([table[name] for name in features], axis=1).astype(np.float32),
            "label": label.astype(np.int64 if whole else np.float32),
        }


def _numbers(file: Path, rows: list[tuple[int, list[str]]], header: list[str], name: str) -> np.ndarray:
    import numpy as np

    column = header.index(name)
    values = np.empty(len(rows), np.float64)
    for i, (line, row) in enumerate(rows):
        try:
            values[i] = float(row[column])
        except ValueError:
            raise DataError.at(
                "data.source.path", f"{file} line {line}, column '{name}': '{row[column]}' is not a number"
            ) from None
    return values
