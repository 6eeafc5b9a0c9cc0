"""Files that are given as tables and are none, and text in another encoding, by their first bytes."""

from __future__ import annotations

import codecs

__all__ = ["FIRST_BYTES", "content_problem", "encoding_problem", "likely_encoding"]

FIRST_BYTES = 4096
"""Number of bytes that are looked at."""
AS_CSV = "write the table as a CSV or Parquet file"
UNPACK = "unpack it, or compress it by gzip, which is read as it is"
FORMATS = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("a workbook of Excel", "save its sheet as a CSV file"),
    b"BZh": ("compressed by bzip2", UNPACK),
    b"\xfd7zXZ\0": ("compressed by xz", UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", UNPACK),
    b"7z\xbc\xaf": ("a 7z archive", UNPACK),
    b"%PDF": ("a PDF document", AS_CSV),
    b"SQLite format 3\0": ("an SQLite database", AS_CSV),
    b"\x89HDF": ("an HDF5 file", AS_CSV),
    b"ARROW1": ("an Arrow (Feather) file", AS_CSV),
    b"ORC": ("an ORC file", AS_CSV),
    b"PARE": ("an encrypted Parquet file", "write it without encryption"),
    b"\x93NUMPY": ("a NumPy array", "read it with data=arrays"),
    b"\x80\x04\x95": ("a pickle, which could run any code and is not read", AS_CSV),
    b"\x80\x05\x95": ("a pickle, which could run any code and is not read", AS_CSV),
}
PAGES = (b"<!doctype html", b"<html", b"<?xml")
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16 does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def content_problem(start: bytes) -> str | None:
    """Return the format that the first bytes of a file show, with the way out; ``None`` if it may be a table."""
    if start.startswith(b"PK\x03\x04"):
        if b"xl/" in start or b"[Content_Types].xml" in start or b"opendocument.spreadsheet" in start:
            return "is a workbook of Excel or another office program, not a CSV file; save its sheet as a CSV file"
        return f"is a ZIP archive; {UNPACK}"
    for magic, (name, fix) in FORMATS.items():
        if start.startswith(magic):
            return f"is {name}, not a CSV file; {fix}"
    if start[257:262] == b"ustar":
        return f"is a tar archive; {UNPACK}"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(PAGES):
        return "is a web page or XML, not a CSV file; download the table itself"
    if text.startswith((b"[{", b"[\n", b'{"')):
        return f"is JSON, not a CSV file; {AS_CSV}"
    return None


def encoding_problem(start: bytes, encoding: str) -> str | None:
    """Return why a text that begins so is in another encoding, with the way out; ``None`` if it may be in this one."""
    known = codecs.lookup(encoding).name
    marked = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    if marked is not None and not known.startswith(marked):
        return f"begins with the mark of {marked}, and is read as {encoding}; give data.source.encoding={marked}"
    if known.startswith(("utf-16", "utf-32")):
        if not start or marked or b"\0" in start:
            return None
        return f"has no byte 0, as text in {encoding} has; give its encoding, such as data.source.encoding=utf-8"
    likely = likely_encoding(start)
    if likely is None or likely == known:
        return None
    return (
        f"is not text in {encoding}: every other byte is 0, as in {likely} without its mark; give "
        f"data.source.encoding={likely}"
    )


def likely_encoding(start: bytes) -> str | None:
    """Return the encoding that a text shows that begins so; ``None`` if it may be any."""
    if marked := next((name for mark, name in MARKS.items() if start.startswith(mark)), None):
        return marked
    if b"\0" not in start:
        return None
    even, odd = (start[place::2].count(0) * 2 > len(start[place::2]) for place in (0, 1))
    return None if even == odd else "utf-16-be" if even else "utf-16-le"
