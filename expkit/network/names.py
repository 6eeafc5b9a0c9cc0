"""Scope names and reuse: the rules of ``tf.compat.v1.variable_scope``, without TensorFlow."""

from __future__ import annotations

import re
import zlib
from typing import Literal

__all__ = [
    "INDEX",
    "NAME_RULE",
    "Reuse",
    "absolute",
    "ema_name",
    "inherit",
    "is_name",
    "is_path",
    "is_state",
    "join",
    "name_seed",
    "operation_name",
    "state_name",
]

Reuse = Literal["false", "true", "auto"]
"""``false``: a variable that exists is an error; ``true``: one that does not exist is; ``auto``: neither."""

INDEX = "{index}"
"""Placeholder for the number of a repetition."""

NAME_RULE = "letters, digits, '_', '-' and '.', starting with a letter, a digit or '.', inside a scope with '_' too"
_NAME = re.compile(r"[A-Za-z0-9_.\-]+\Z")


def is_name(word: str, *, inside: bool = False) -> bool:
    """Return True if a word is allowed between the slashes of a name; ``..`` is not, because names become paths.

    A word ``inside`` a scope may begin with ``_``; TensorFlow keeps for itself the names that begin so as a whole.
    """
    return bool(_NAME.match(word)) and word[0] not in ("-" if inside else "-_") and word.strip(".") != ""


def operation_name(field: str) -> str:
    """Return the name of a field of the data as a part of an operation's name: a table's column may have any."""
    return re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", field)


def is_path(words: str, *, inside: bool = False) -> bool:
    """Return True if every word of a slash-separated name is a name."""
    first, *rest = words.split("/")
    return is_name(first, inside=inside) and all(is_name(word, inside=True) for word in rest)


def join(scope: str, name: str) -> str:
    """Return ``scope/name``; either may be empty."""
    return f"{scope}/{name}" if scope and name else scope or name


def absolute(parent: str, scope: str) -> str:
    """Return the full name of ``scope`` opened inside ``parent``.

    A leading ``/`` starts from the root; an empty scope adds nothing.
    """
    return scope[1:] if scope.startswith("/") else join(parent, scope)


def inherit(parent: Reuse, own: Reuse, *, from_root: bool = False) -> Reuse:
    """Return the reuse in force inside a scope.

    ``false`` inherits, as in TensorFlow, where ``reuse=False`` never undoes an outer ``reuse=True``; ``true`` and
    ``auto`` replace the outer scope's. A scope that starts from the root inherits from the root, which reuses nothing.
    """
    return own if own != "false" or from_root else parent


def ema_name(variable: str) -> str:
    """Return the name of a variable's exponential moving average (``tf.train.ExponentialMovingAverage``)."""
    return f"{variable}/ExponentialMovingAverage"


def state_name(layer: str, name: str) -> str:
    """Return the full name of a state that a layer carries from batch to batch, by the layer's path."""
    return join(layer, f"carried_{name}")


def is_state(name: str) -> bool:
    """Return whether a full name is that of a state."""
    return name.rpartition("/")[2].startswith("carried_")


def name_seed(name: str) -> int:
    """Return a hash of the name in [0, 2**31), the same on every machine."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF
