"""The IDX format of MNIST, which NumPy does not read."""

from __future__ import annotations

import gzip
import math
from typing import IO, TYPE_CHECKING, Literal

from expkit.errors import DataError, reading
from expkit.kinds.sources.base import Fields, Source, existing, square_image_shape
from expkit.registry import register

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Idx", "read_idx"]

_BLOCK_BYTES = 1 << 24
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
    header = 4 + 4 * dimensions
    with reading(at, f"{file} cannot be read", raises=DataError, fix="it is truncated or damaged, fetch it again"):
        with file.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        with gzip.open(file) if zipped else file.open("rb") as opened:
            content = opened.read(header)
            magic = content[:4]
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or magic[3] != dimensions:
                raise DataError.at(
                    at,
                    f"{file} is not an IDX file of {dimensions} dimension(s): magic 0x{magic.hex()}, expected "
                    f"0x000008{dimensions:02x}",
                )
            dtype = np.dtype(_IDX_TYPES[magic[2]])
            whole = len(content) == header
            shape = tuple(int(size) for size in np.frombuffer(content[4:], ">u4")) if whole else ()
            values = math.prod(shape) * dtype.itemsize if whole else 0
            if zipped or file.stat().st_size == header + values:
                content += _read(opened, values + 1)  # The checksum of a gzip file is compared at its end.
    found = len(content) if zipped else file.stat().st_size
    if not whole or found != header + values:
        raise DataError.at(
            at, f"{file} is truncated or damaged: {found} bytes, its header says {header + values}; fetch it again"
        )
    return np.frombuffer(content, dtype, offset=header).reshape(shape)


def _read(file: IO[bytes] | gzip.GzipFile, most: int) -> bytes:
    """Return the bytes that are left, up to a number of them that may be any; memory is taken for those there are."""
    blocks = []
    while most and (block := file.read(min(most, _BLOCK_BYTES))):
        blocks.append(block)
        most -= len(block)
    return b"".join(blocks)
