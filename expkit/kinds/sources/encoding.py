"""Names of text encodings."""

from __future__ import annotations

import codecs
from typing import Annotated

from pydantic import AfterValidator

from expkit.errors import did_you_mean

__all__ = ["Encoding"]

COMMON = ("utf-8", "utf-16", "utf-32", "ascii", "latin-1", "cp1252", "cp1250", "cp1251", "shift_jis", "gb18030")


def _checked(name: str) -> str:
    try:
        if codecs.lookup(name)._is_text_encoding:
            return name
    except (LookupError, ValueError):
        pass
    raise ValueError(f"unknown encoding '{name}'{did_you_mean(name, COMMON) or ';'} such as {', '.join(COMMON)}")


Encoding = Annotated[str, AfterValidator(_checked)]
"""A text encoding that Python knows."""
