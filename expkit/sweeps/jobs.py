"""What a sweep is to run: its jobs checked, named by what they vary, told apart by what they compute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException

from expkit.config.load import composition_message, plain, unreadable_override
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem
from expkit.preflight import load_checked
from expkit.run_folder import config_digest, short_names

__all__ = ["Job", "checked", "digest", "key_of", "label", "parsed", "varied"]


@dataclass(frozen=True)
class Job:
    """A run that a sweep asks for, checked."""

    words: tuple[str, ...]
    """Its overrides."""
    config: Config
    label: str
    """What tells it from its siblings: ``units=64, rate=0.1``."""

    @property
    def digest(self) -> str:
        """What it is recognised by."""
        return digest(self.config)


def parsed(words: Sequence[str]) -> list[Override]:
    """Return overrides as Hydra reads them.

    Raises:
        ConfigError: one cannot be read.
    """
    try:
        return list(OverridesParser.create().parse_overrides(list(words)))
    except OverrideParseException as error:
        raise ConfigError(unreadable_override(str(error.override), ", or =A,B")) from None
    except HydraException as error:
        raise ConfigError(Problem("command line", composition_message(error))) from None


def varied(overrides: Iterable[Override]) -> list[str]:
    """Return the keys that a sweep varies."""
    return [str(item.get_key_element()).lstrip("+") for item in overrides if item.is_sweep_override()]


def label(keys: Sequence[str], words: Iterable[str]) -> str | None:
    """Return what tells a job from its siblings, or ``None`` where nothing varies."""
    names = short_names(keys)
    given = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word)
    return ", ".join(f"{names[key]}={_short(given[key])}" for key in keys if key in given) or None


def _short(value: str) -> str:
    """Return a number that has very many digits with five of them, and anything else as it is."""
    try:
        return f"{float(value):.5g}" if len(value) > 8 and "." in value else value
    except ValueError:
        return value


def checked(jobs: Sequence[Sequence[str]], keys: Sequence[str], folders: Sequence[str]) -> list[Job]:
    """Return the jobs of lists of overrides; all mistakes of all jobs are reported at once.

    Args:
        jobs: the overrides of each.
        keys: what varies.
        folders: those of ``--config-dir``.
    """
    found: list[Job] = []
    problems: dict[str, Problem] = {}
    for place, words in enumerate(jobs):
        try:
            config = load_checked(words, folders)[0]
            found.append(Job(tuple(words), config, label(keys, words) or config.run.name))
        except ConfigError as error:
            where = f" (job {place} of {len(jobs)}: {' '.join(words)})" if len(jobs) > 1 else ""
            for problem in error.problems:
                problems.setdefault(str(problem), replace(problem, message=f"{problem.message}{where}"))
    if problems:
        raise ConfigError(*problems.values())
    return found


def digest(config: Config) -> str:
    """Return what a run of a sweep is recognised by: all that changes its numbers, its length or what it exports."""
    return _sha256(config_digest(config), plain(config)["export"])


def key_of(*parts: object) -> str:
    """Return a sweep's key: the same for the same sweep, in whatever order its jobs come.

    Args:
        parts: plain data; those that are sets of digests are sorted by the caller.
    """
    return _sha256(*parts)


def _sha256(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
