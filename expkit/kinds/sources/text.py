"""A folder of text files as a source."""

from __future__ import annotations

from typing import Literal

from expkit.kinds.sources.base import Fields, Source
from expkit.kinds.sources.encoding import Encoding
from expkit.registry import register

__all__ = ["ENDINGS", "TextFolder"]

ENDINGS = (".txt",)


@register
class TextFolder(Source):
    """A folder of ``.txt`` files with a folder per class; files are read on demand, so all may exceed memory.

    Fields: ``text`` [examples], the texts as UTF-8; ``label`` [examples], the names of the folders, unless the files
    lie in the folder itself. Folders ``train``, ``valid`` and ``test`` above those of the classes are a ready-made
    split: ``part`` [examples] has their names. Examples are in the order of their paths; hidden files are left out.
    """

    kind: Literal["text"] = "text"
    path: str
    """The folder."""
    encoding: Encoding = "utf-8"
    """Encoding of the files, such as ``utf-8``, ``latin-1`` or ``utf-16``."""

    def load(self) -> Fields:
        """Return ``text``, on disk, with ``label`` and ``part`` where there are any."""
        from expkit.kinds.sources.files import checked_contents
        from expkit.kinds.sources.folder import list_folder

        listing = list_folder(self.path, ENDINGS, "text")
        text = checked_contents(listing, lambda starts: None, notes=listing.notes, encoding=self.encoding)
        return {"text": text, **listing.columns}
