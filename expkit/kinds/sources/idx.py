"""The IDX format of MNIST, which NumPy does not read."""

from __future__ import annotations

import gzip
import math
import zlib
from typing import TYPE_CHECKING, Literal

from expkit.errors import DataError
from expkit.kinds.sources.base import Fields, Source, existing, square_image_shape
from expkit.registry import register

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Idx", "read_idx"]

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@register
class Idx(Source):
    """Images and labels in the IDX format of MNIST, plain or gzipped.

    Fields: ``image`` float32, bytes divided by 255, [examples, pixels] or [examples, height, width, 1];
    ``label`` [examples] int64, or float64 where one is not a whole number.
    """

    kind: Literal["idx"] = "idx"
    images: str
    """File of images (magic 0x00000803)."""
    labels: str
    """File of labels (magic 0x00000801)."""
    flat: bool = True
    """Whether images are flattened to [pixels]; otherwise [height, width, 1]."""

    def load(self) -> Fields:
        """Return the examples of both files."""
        import numpy as np

        images = read_idx(self.images, "images", dimensions=3)
        labels = read_idx(self.labels, "labels", dimensions=1)
        if len(images) != len(labels):
            raise DataError.at(
                "data.source", f"{self.images} has {len(images)} images but {self.labels} has {len(labels)} labels"
            )
        pixels = images.astype(np.float32) / np.float32(255 if images.dtype == np.uint8 else 1)
        shape = (len(images), -1) if self.flat else (*images.shape, 1)
        whole = labels.dtype.kind != "f" or bool(np.all(np.mod(labels, 1) == 0))  # Of infinity and NaN that is NaN.
        return {"image": pixels.reshape(shape), "label": labels.astype(np.int64 if whole else np.float64)}

    def image_shape(self, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
        """Return height, width and channels, also of a flattened image."""
        return super().image_shape(shape) or square_image_shape(shape)


def read_idx(path: str, field: str, *, dimensions: int) -> np.ndarray:
    """Return the array of an IDX file, gzipped or plain.

    Raises:
        DataError: the file is missing, its magic number is not that of IDX with these dimensions, or its length does
            not match its header.
    """
    import numpy as np

    file = existing(path, field)
    at = f"data.source.{field}"
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError.at(at, f"{file} cannot be read ({error}); it is truncated or damaged, fetch it again") from None
    header = 4 + 4 * dimensions
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or magic[3] != dimensions:
        expected = f"0x000008{dimensions:02x}"
        raise DataError.at(
            at, f"{file} is not an IDX file of {dimensions} dimension(s): magic 0x{magic.hex()}, expected {expected}"
        )
    dtype = np.dtype(_IDX_TYPES[magic[2]])
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4")) if len(content) >= header else ()
    expected_bytes = header + math.prod(shape) * dtype.itemsize if shape else header
    if len(content) != expected_bytes or not shape:
        raise DataError.at(
            at,
            f"{file} is truncated or damaged: {len(content)} bytes, its header says {expected_bytes}; fetch it again",
        )
    return np.frombuffer(content, dtype, offset=header).reshape(shape)
