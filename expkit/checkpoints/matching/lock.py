"""The lock: a network's names, shapes and dtypes kept in a file, and what an edit would do to old checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from expkit.checkpoints.matching.match import Made, Suggestion, suggest
from expkit.checkpoints.matching.rules_yaml import section
from expkit.config.explain import explain
from expkit.errors import ConfigError, Problem
from expkit.network.spec import NetworkSpec
from expkit.registry import Section

__all__ = ["LOCK_FILE", "Change", "as_made", "compare", "locked", "mend", "read_lock"]

LOCK_FILE = "network.lock.yaml"

_HEADER = """\
# Every variable of the network by name, in the order in which they are made. Keep this file in git: `expkit check`
# fails where an edit would orphan the checkpoints made before it, and prints the rule that mends it.
# Written by: {command}
"""


class _Variable(Section):
    shape: tuple[int, ...]
    """Sizes of all dimensions."""
    dtype: str
    """Type of the values."""


class _Lock(Section):
    variables: dict[str, _Variable]
    """Variables by name."""


@dataclass(frozen=True)
class Change:
    """What became of a network's variables since it was locked."""

    gone: Mapping[str, Made]
    new: Mapping[str, Made]
    changed: Mapping[str, tuple[Made, Made]]
    """Shape and dtype as locked and as they are."""
    suggestion: Suggestion
    locked: tuple[str, ...]
    """All names that were locked."""

    @property
    def orphans(self) -> bool:
        """Whether a value of an old checkpoint has lost its variable."""
        return bool(self.gone or self.changed)


def as_made(spec: NetworkSpec) -> dict[str, Made]:
    """Return what every variable of a network is made as, by name."""
    return {name: Made(variable.shape, variable.dtype) for name, variable in spec.variables.items()}


def locked(spec: NetworkSpec, command: str) -> str:
    """Return the lock of a network as YAML; ``command`` is told in its header."""
    lines = [f"  {name}: {{shape: {list(made.shape)}, dtype: {made.dtype}}}" for name, made in as_made(spec).items()]
    return "\n".join([_HEADER.format(command=command) + "variables:", *(lines or ["  {}"])]) + "\n"


def read_lock(path: Path) -> dict[str, Made]:
    """Return what a lock says of every variable, by name.

    Raises:
        ConfigError: there is no such file, or it is no lock.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        lock = _Lock.model_validate_json(json.dumps(raw))
    except FileNotFoundError:
        raise ConfigError(Problem(str(path), "no such file; write it with expkit names --lock")) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            Problem(str(path), f"cannot be read: {said}; write it again with expkit names --lock")
        ) from None
    except ValidationError as error:
        problems = explain(error, raw, _Lock)
        raise ConfigError(*(Problem(item.path, item.message, str(path)) for item in problems)) from None
    return {name: Made(item.shape, item.dtype) for name, item in lock.variables.items()}


def compare(lock: Mapping[str, Made], now: Mapping[str, Made]) -> Change:
    """Return what an edit changed, and what brings the values of old checkpoints to where they belong."""
    return Change(
        {name: made for name, made in lock.items() if name not in now},
        {name: made for name, made in now.items() if name not in lock},
        {name: (made, now[name]) for name, made in lock.items() if name in now and now[name] != made},
        suggest(lock, now, in_order=True),
        tuple(lock),
    )


def mend(change: Change) -> str:
    """Return the ``restore`` section, as YAML, that restores old checkpoints; an empty string where none is needed."""
    return section(change.suggestion, change.locked)
