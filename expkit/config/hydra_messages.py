"""Messages of errors that Hydra and OmegaConf raise."""

from __future__ import annotations

import re

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from expkit.errors import Problem

__all__ = ["composition_message", "unreadable_override"]


def unreadable_override(override: str, also: str = "") -> Problem:
    """Return the problem of an override that cannot be parsed; ``also``: further allowed forms."""
    override = override.replace("\n", "\\n")
    key, _, value = override.partition("=")
    special = [] if re.match(r"\w+\(", value) else sorted(set(value) & set("()|*?^$+{}[]\\"))
    need = f"{', '.join(special)} in a text" if special else ""
    need = need if override.isascii() else "letters other than a to z"
    hint = f"; {need} need quotes: {key if override.isascii() else 'path.to.key'}='\"VALUE\"'" if need else ""
    return Problem("command line", f"cannot read the override '{override}'; write path.to.key=VALUE{also}{hint}")


def composition_message(error: BaseException) -> str:
    """Return the message of an error of Hydra or OmegaConf in one line, with that of its cause."""
    chain = [error, error.__cause__] if isinstance(error, HydraException) and error.__cause__ else [error]
    return ": ".join(text for text in map(_line, chain) if text) or type(error).__name__


def _line(error: BaseException) -> str:
    lines = str(error).splitlines()  # OmegaConf repeats keys and types after the first line.
    return " ".join(" ".join(lines[:1] if isinstance(error, OmegaConfBaseException) else lines).split())
