"""Text files with a word per line, checked before any is used."""

from __future__ import annotations

from expkit.kinds.sources.base import located, no_file

__all__ = ["LARGEST", "read_words", "word_file_problem"]

LARGEST = 1 << 26
"""Bytes of a file of words; the vocabulary of BERT in 104 languages has 1 MB."""


def read_words(path: str) -> list[bytes]:
    """Return the lines of a file of words, without their ends; the last line may be empty.

    Raises:
        ValueError: it cannot be read, is too large, is not UTF-8, or has a word twice.
    """
    file = located(path)
    if file.exists() and not file.is_file():  # Opening a pipe would wait for its writer.
        raise ValueError(f"{file} is {no_file(file)}; give a file with a word per line")
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise ValueError(f"{file} has more than {LARGEST >> 20} MiB, which is not a list of words")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}, line {line}: no UTF-8; write the file as UTF-8") from None
    lines = [line.removesuffix(b"\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    if not lines[-1]:
        lines.pop()
    seen: dict[bytes, int] = {}
    for number, word in enumerate(lines, 1):
        if word and (first := seen.setdefault(word, number)) != number:
            raise ValueError(f"{file} has the word '{word.decode()[:80]}' twice, in lines {first} and {number}")
    return lines


def word_file_problem(path: str) -> str | None:
    """Return why a file of words cannot be used; ``None`` if it can."""
    try:
        read_words(path)
    except ValueError as error:
        return str(error)
    return None
