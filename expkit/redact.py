"""Secrets in URIs, hidden in every file, log, message and line on the terminal.

``masked`` is the one function that makes a text showable. It is applied where texts leave the program: to the values of
the files in a run folder and of the journal, to the problems of errors, to log lines, and to the terminal.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, TypeVar, cast
from urllib.parse import unquote

__all__ = [
    "HIDDEN",
    "is_masked",
    "is_output_failure",
    "mask_logs",
    "masked",
    "masked_terminal",
    "masked_values",
    "without_user",
]

Values = TypeVar("Values")

HIDDEN = "***"

# Where user and password begin: after // and not ///, and also where a slash is missing or too many.
_BEGIN = r"(?:(?<=//)(?<!///)|(?<=http:/)|(?<=https:/)|(?<=http:///)|(?<=https:///))(?!/)"
# A name, then a colon and no port, then whatever a password may hold, with spaces up to its first @; and since a
# password may hold an @ or a slash, up to the last @ of the word.
_PASSWORD = r"[^\s/@:,]*:(?!\d+(?:[/?#'\"\s,;)\]}]|$)|\s|$)[^\n@]*@(?:[^\s@]*@)*"
_USER = re.compile(rf"{_BEGIN}(?:{_PASSWORD}|[^\s/?#,]*@)")
_ENCODED_USER = re.compile(r"(%(?:25)*3A(?:%(?:25)*2F){2})[^\s&]*%(?:25)*40", re.IGNORECASE)
_NAME = re.compile(r"([?&;#{]|%(?:25)*(?:3F|26|3B|23))([^=&;#?{\s]*?)(?:=|%(?:25)*3D)", re.IGNORECASE)
_SECRET = re.compile(r"token|(?<!viewStateShare)key|secret|pass|pwd|auth|sig|credential|odbc|jwt", re.IGNORECASE)
"""Names of secret parameters; the key of a shared view on MLflow's pages is none."""
_IN_LIST = re.compile(r"\{[^}]*\}|(?:(?!%(?:25)*(?:3B|26))[^;\s])*", re.IGNORECASE)
"""Value of a parameter between semicolons, as in a connection string."""
_IN_QUERY = re.compile(r"[^&\s]*")
_IN_URI = re.compile(r"[^&]*", re.DOTALL)
_CLOSING = re.compile(r"[\])}'\"`>,.:;]*\Z")
_URI = re.compile(r"//|%(?:25)*2F|jdbc:|odbc", re.IGNORECASE)
_WHOLE = re.compile(r"(?:[+~]*[\w./@]+=)?\s*['\"]?[a-z][\w+.:-]*:/", re.IGNORECASE)
_QUOTED = re.compile(r"['\"](?=[a-z][\w+.:-]*:/)", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text with user, password and the values of secret parameters hidden in its URIs.

    In doubt it hides more. A text that is a URI as a whole may hold spaces in these.
    """
    whole = _WHOLE.match(text) is not None and "\n" not in text
    text = _ENCODED_USER.sub(rf"\g<1>{HIDDEN}%40", _USER.sub(f"{HIDDEN}@", text))
    if _URI.search(text) is None:
        return text
    parts, done = [], 0
    for found in _NAME.finditer(text):
        if found.start() < done or not _SECRET.search(unquote(unquote(found[2]))):
            continue
        in_list = found[1] in (";", "{") or found[1].upper().endswith("3B")
        end = _end(text, found.end(), _IN_LIST if in_list else _IN_URI if whole else _IN_QUERY)
        closing = _CLOSING.search(text, found.end(), end)
        parts += [text[done : found.end()], HIDDEN, closing[0] if closing else ""]
        done = end
    return "".join([*parts, text[done:]])


def _end(text: str, start: int, value: re.Pattern[str]) -> int:
    """Return where the value of a parameter ends; in a quoted URI at the quotation mark, so that it may hold spaces."""
    found = value.match(text, start)
    assert found is not None
    quotes = [quote[0] for quote in _QUOTED.finditer(text, 0, start)]
    if quotes and value is _IN_QUERY:
        quoted = re.compile(rf"[^&\n]*?{quotes[-1]}(?=[\s,;:.)\]}}]|$)").match(text, start)
        return max(found.end(), quoted.end() if quoted is not None else 0)
    return found.end()


def masked_values(values: Values) -> Values:
    """Return plain data, such as JSON's, with every text in it ``masked``."""
    if isinstance(values, str):
        return cast(Values, masked(values))
    if isinstance(values, dict):
        return cast(Values, {masked_values(key): masked_values(value) for key, value in values.items()})
    if isinstance(values, list | tuple):
        return cast(Values, type(values)(masked_values(value) for value in values))
    return values


def is_masked(uri: str) -> bool:
    """Return whether a secret is hidden in a URI."""
    return f"//{HIDDEN}@" in uri or f"={HIDDEN}" in uri


def without_user(uri: str) -> str:
    """Return a URI without user and password."""
    return _USER.sub("", uri)


class _MaskedFormatter(logging.Formatter):
    """The formatter of a handler, with its text masked: also that of other programs' errors in a traceback."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return masked(self._formatter.format(record))


def mask_logs() -> None:
    """Mask all that the handlers of the root logger and of expkit's write from now on."""
    for handler in (*logging.getLogger().handlers, *logging.getLogger("expkit").handlers):
        if not isinstance(handler.formatter, _MaskedFormatter):
            handler.setFormatter(_MaskedFormatter(handler.formatter or logging.Formatter()))


class _MaskedStream:
    """A stream whose text is masked; all else is the stream's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        """The first error of writing, which others than the program may have dropped: argparse, ``logging``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text masked, which holds whole URIs: every line is written in one call."""
        with self._kept_failure():
            self._stream.write(masked(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, or raise the first error of writing again.

        Raises:
            OSError: what was written has not arrived.
        """
        if self.failure is not None:
            raise self.failure
        with self._kept_failure():
            self._stream.flush()

    @contextmanager
    def _kept_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error
            raise


def is_output_failure(error: Exception) -> bool:
    """Return whether an error is that of a terminal, pipe or file that the program's output could not be written to."""
    return any(error is getattr(stream, "failure", None) for stream in (sys.stdout, sys.stderr))


@contextmanager
def masked_terminal() -> Iterator[None]:
    """Mask all that this block, or the function that it decorates, writes to the terminal."""
    out, err = (cast(TextIO, _MaskedStream(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield
