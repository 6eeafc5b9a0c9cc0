"""Errors that a user can cause, each a list of problems with their location and a fix.

ExpkitError
  ConfigError        the configuration is wrong; found before anything is built
  DataError          the data is missing, damaged or does not fit the network
  CheckpointError    a checkpoint is missing, damaged or does not fit the variables
    DamagedCheckpointError   bytes of the file differ from those written
  ExportError        a graph cannot be frozen, or a frozen file cannot be read
  RunError           a run folder cannot be found, written or resumed
  TrainingError      training cannot continue (the loss is not finite)
"""

from __future__ import annotations

import difflib
import itertools
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from expkit.redact import masked

__all__ = [
    "MAX_EXPLAINED",
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
    "comma_list",
    "describe_exception",
    "did_you_mean",
    "error_message",
    "escaped",
    "limit_problems",
    "reading",
    "unknown",
]

MAX_EXPLAINED = 20
"""Problems of one kind that list the allowed words: both may be as many as the layers of a network."""
MAX_PROBLEMS = 100
"""Problems in one report."""


@dataclass(frozen=True)
class Problem:
    """One mistake: its path, and a message with the offender, the allowed values and a fix."""

    path: str
    message: str
    location: str = ""
    """File and line of the key, ``conf/network/mine.yaml:12``; empty if no file has it."""

    def __post_init__(self) -> None:
        for name in ("path", "message", "location"):
            object.__setattr__(self, name, masked(getattr(self, name)))

    def __str__(self) -> str:
        return ": ".join(part for part in (self.location, self.path, self.message) if part)


class ExpkitError(Exception):
    """Base of every error that a user can cause; carries every problem found."""

    def __init__(self, *problems: Problem) -> None:
        assert problems, "an error needs a problem"
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    @classmethod
    def at(cls, path: str, message: str) -> Self:
        """Return an error of one problem."""
        return cls(Problem(path, message))


class ConfigError(ExpkitError):
    """Raised when the configuration is wrong, before anything is built."""


class DataError(ExpkitError):
    """Raised when data is missing, damaged or does not fit the network."""


class CheckpointError(ExpkitError):
    """Raised when a checkpoint is missing, damaged or does not fit the variables."""


class DamagedCheckpointError(CheckpointError):
    """Raised when the bytes of a checkpoint differ from those written."""


class ExportError(ExpkitError):
    """Raised when a graph cannot be frozen or a frozen file cannot be read."""


class RunError(ExpkitError):
    """Raised when a run folder cannot be found, written or resumed."""


class TrainingError(ExpkitError):
    """Raised when training cannot continue."""


class Pruned(Exception):
    """Raised by an evaluation to end a run early; the message gives the step and the reason."""


@dataclass(frozen=True)
class _Rest(Problem):
    """The count of the problems that are not shown."""

    count: int = 0


def limit_problems(problems: Sequence[Problem]) -> list[Problem]:
    """Return the first ``MAX_PROBLEMS`` problems, then one that counts the rest; parts may be limited already."""
    known = [problem for problem in problems if not isinstance(problem, _Rest)]
    rest = sum(problem.count for problem in problems if isinstance(problem, _Rest))
    rest += max(0, len(known) - MAX_PROBLEMS)
    return [*known[:MAX_PROBLEMS], *([_Rest("", f"and {rest:,} more; fix these first", count=rest)] if rest else [])]


_OTHER_WORDS = {
    "num_epochs": "epochs",
    "max_steps": "steps",
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "map": "average_precision",
    "iterations": "steps",
    "lr": "learning_rate",
    "batch": "batch_size",
    "pad_sequence": "pad",
    "pad_sequences": "pad",
    "padding": "pad",
    "maxlen": "length",
    "max_length": "length",
    "tokenize": "split",
    "normalize": "standardize",
    "normalization": "standardize",
    "string_lookup": "vocabulary",
    "hashing": "hash_bucket",
    "discretization": "bucketize",
    "imputer": "impute",
    "lower": "lowercase",
    "momentum_decay": "momentum",
    "clip_norm": "global_clipnorm",
    "neurons": "units",
    "out_features": "units",
    "out_channels": "filters",
    "kernel": "kernel_size",
    "stride": "strides",
    "dilation": "dilation_rate",
    "p": "rate",
    "nonlinearity": "activation",
    "bias": "use_bias",
    "random_seed": "seed",
    "model": "network",
    "dataset": "data",
    "optim": "optimizer",
    "logger": "tracking",
    "mlflow": "tracking",
    "training": "train",
    "csv": "table",
    "parquet": "table",
}
"""Words of other programs, by which difflib finds nothing or the wrong word."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest allowed word, or an empty string."""
    words = list(allowed)
    other = _OTHER_WORDS.get(word)
    near = [other] if other in words else difflib.get_close_matches(word, words, n=1, cutoff=0.6)
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
        sentence: names the word, and where it is unknown.
        word: the unknown word.
        allowed: the known words.
        label: introduces the list of known words.
        most: known words in the message.
        shown: listed in place of the known words.
    """
    known = list(allowed)
    return (
        f"{sentence}{did_you_mean(word, known) or ';'} {label}: {comma_list(known if shown is None else shown, most)}"
    )


def escaped(text: str) -> str:
    """Return a text with characters that cannot be printed, as those that control a terminal, written as ``\\x1b``."""
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)


def comma_list(words: Iterable[str], most: int = 20) -> str:
    """Return words separated by commas, cut after ``most``; ``none`` when there are none."""
    names: Sequence[str] = list(words)
    shown = ", ".join(names[:most])
    return (f"{shown} and {len(names) - most} more" if len(names) > most else shown) or "none"


@contextmanager
def reading(at: str, problem: str, *, raises: type[ExpkitError] = ExpkitError, fix: str = "") -> Iterator[None]:
    """Turn whatever reading a file raises into one error: ``AT: PROBLEM: cause; FIX``.

    No list of exceptions is complete: a damaged file takes NumPy, TensorFlow and the standard library to places that
    nobody foresaw, and each raises what it likes.

    Args:
        at: the file, or the setting that named it.
        problem: says what the file is not.
        raises: class of the error.
        fix: the way out.
    """
    try:
        yield
    except ExpkitError:
        raise
    except Exception as error:
        cause = "its sizes need more memory than there is" if isinstance(error, MemoryError) else error_message(error)
        raise raises.at(at, f"{problem}: {cause.rstrip('.')}; {fix}" if fix else f"{problem}: {cause}") from error


def error_message(error: BaseException) -> str:
    """Return the line of a library's error that gives the cause.

    TensorFlow puts the traceback of the failing operation around it: the cause follows the line ``Node: ...``.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Graph execution error:")] or lines
    after_node = [after for line, after in itertools.pairwise(lines) if line.startswith("Node: ")]
    return (after_node or lines or [type(error).__name__])[0]


def describe_exception(error: BaseException) -> str:
    """Return an exception's type, its message, and the file and line that raised it."""
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    frames = traceback.extract_tb(error.__traceback__)
    file, line = (frames[-1].filename, frames[-1].lineno) if frames else ("", None)
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    return f"{type(error).__name__}: {text}" + (f" ({file}, line {line})" if line else "")
