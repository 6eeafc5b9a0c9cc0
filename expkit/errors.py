"""Errors a user can cause, each a list of problems that name a place and a way out.

ExpkitError
  ConfigError        the configuration is wrong; found before anything is built
  DataError          the data is missing, damaged or does not fit the network
  CheckpointError    a checkpoint is missing, damaged or does not fit the variables
    DamagedCheckpointError   its bytes are not those that were written
  ExportError        a graph cannot be frozen, or a frozen file cannot be read
  RunError           a run folder cannot be found, written or continued
  TrainingError      training cannot go on (the loss is not finite)
"""

from __future__ import annotations

import difflib
import itertools
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "MOST_EXPLAINED",
    "CheckpointError",
    "ConfigError",
    "DamagedCheckpointError",
    "DataError",
    "ExpkitError",
    "ExportError",
    "Problem",
    "Pruned",
    "RunError",
    "TrainingError",
    "did_you_mean",
    "first_of",
    "listed",
    "reason",
    "said_at",
    "unknown",
]

MOST_EXPLAINED = 20
"""How many mistakes of one kind are told with what was allowed: both may be as many as a network has layers."""
MOST_TOLD = 100
"""How many mistakes are told at once."""


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, and a sentence with the offender, what was allowed and the way out."""

    path: str
    message: str
    place: str = ""
    """File and line of the key, ``conf/network/mine.yaml:12``, where a file has it."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.path, self.message) if part)


class ExpkitError(Exception):
    """Base of every error that a user can cause; carries all problems found at once."""

    def __init__(self, *problems: Problem) -> None:
        assert problems, "an error needs a problem"
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    @classmethod
    def at(cls, path: str, message: str) -> ExpkitError:
        """Make an error of one problem."""
        return cls(Problem(path, message))


class ConfigError(ExpkitError):
    """Raised when the configuration is wrong, before anything is built."""


class DataError(ExpkitError):
    """Raised when data is missing, damaged or does not fit the network."""


class CheckpointError(ExpkitError):
    """Raised when a checkpoint is missing, damaged or does not fit the variables."""


class DamagedCheckpointError(CheckpointError):
    """Raised when the bytes of a checkpoint are not those that were written."""


class ExportError(ExpkitError):
    """Raised when a graph cannot be frozen or a frozen file cannot be read."""


class RunError(ExpkitError):
    """Raised when a run folder cannot be found, written or continued."""


class TrainingError(ExpkitError):
    """Raised when training cannot go on."""


class Pruned(Exception):
    """Raised where a run is judged while it trains, to end it early; says at which step, and why."""


def first_of(problems: Sequence[Problem]) -> list[Problem]:
    """Return problems, of very many the first and how many there are besides."""
    if len(problems) <= MOST_TOLD:
        return list(problems)
    return [*problems[:MOST_TOLD], Problem("", f"and {len(problems) - MOST_TOLD:,} more; mend these first")]


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest allowed word, or an empty string."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def unknown(
    sentence: str,
    word: str,
    allowed: Iterable[str],
    *,
    label: str = "allowed",
    most: int = 20,
    shown: Iterable[str] | None = None,
) -> str:
    """Return a message about an unknown word: ``no layer 'dens'; did you mean 'dense'? allowed: conv2d, dense``.

    Args:
        sentence: names the word, and the place where it is unknown.
        word: the unknown word.
        allowed: the known words.
        label: introduces the list of known words.
        most: known words in the message.
        shown: listed in place of the known words.
    """
    known = list(allowed)
    return f"{sentence}{did_you_mean(word, known) or ';'} {label}: {listed(known if shown is None else shown, most)}"


def listed(words: Iterable[str], most: int = 20) -> str:
    """Return words as one comma-separated string, cut after ``most``; ``none`` when there are none."""
    names: Sequence[str] = list(words)
    shown = ", ".join(names[:most])
    return (f"{shown} and {len(names) - most} more" if len(names) > most else shown) or "none"


def reason(error: BaseException) -> str:
    """Return the sentence of a library's error that says what happened.

    TensorFlow wraps it in where the failing operation was made: the line after ``Node: ...`` is the one.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    after_node = [after for line, after in itertools.pairwise(lines) if line.startswith("Node: ")]
    return (after_node or lines or [type(error).__name__])[0]


def said_at(error: BaseException) -> str:
    """Return an error's type, what it says, and the file and line where it came up."""
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    frames = traceback.extract_tb(error.__traceback__)
    file, line = (frames[-1].filename, frames[-1].lineno) if frames else ("", None)
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    return f"{type(error).__name__}: {text}" + (f" ({file}, line {line})" if line else "")
