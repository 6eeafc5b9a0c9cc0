"""The lock of a network: its variables in a file, for comparison with a later version of the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from expkit.checkpoints.matching.match import Suggestion, suggest
from expkit.checkpoints.matching.rules_yaml import restore_section
from expkit.config.explain import explain
from expkit.errors import ConfigError, Problem, reading
from expkit.network.spec import NetworkSpec
from expkit.registry import Section
from expkit.tensor_spec import TensorSpec

__all__ = ["LOCK_FILE", "LockDiff", "diff_lock", "lock_text", "read_lock"]

LOCK_FILE = "network.lock.yaml"

_HEADER = """\
# Every variable of the network by name, in the order of their creation. Keep this file in git: `expkit check` fails if
# an edit would orphan values in earlier checkpoints, and prints the rules that restore them.
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


@dataclass(frozen=True, kw_only=True)
class LockDiff:
    """Changes of a network's variables since it was locked."""

    gone: Mapping[str, TensorSpec]
    new: Mapping[str, TensorSpec]
    changed: Mapping[str, tuple[TensorSpec, TensorSpec]]
    """Locked and present shape and dtype."""
    suggestion: Suggestion
    locked: tuple[str, ...]
    """All locked names."""

    @property
    def orphans(self) -> bool:
        """True if an old checkpoint contains a value that no variable of the network fits."""
        return bool(self.gone or self.changed)

    @property
    def restore_section(self) -> str:
        """The ``restore`` section, as YAML, that restores old checkpoints; an empty string if none is needed."""
        return restore_section(self.suggestion, self.locked)


def lock_text(spec: NetworkSpec, command: str) -> str:
    """Return the lock of a network as YAML; ``command`` is quoted in its header."""
    lines = [
        f"  {name}: {{shape: {list(variable.shape)}, dtype: {variable.dtype}}}"
        for name, variable in spec.variables.items()
    ]
    return "\n".join([_HEADER.format(command=command) + "variables:", *(lines or ["  {}"])]) + "\n"


def read_lock(path: Path) -> dict[str, TensorSpec]:
    """Return the locked variables by name.

    Raises:
        ConfigError: the file does not exist, or is not a lock.
    """
    if not path.exists():
        raise ConfigError.at(str(path), "no such file; write it with expkit names --lock")
    with reading(str(path), "cannot be read", raises=ConfigError, fix="write it again with expkit names --lock"):
        try:
            raw = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:  # Several lines, of which the last say where.
            raise ValueError(" ".join(str(error).split())) from None
        content = json.dumps(raw)
    try:
        lock = _Lock.model_validate_json(content)
    except ValidationError as error:
        problems = explain(error, raw, _Lock)
        raise ConfigError(*(Problem(item.path, item.message, str(path)) for item in problems)) from None
    return {name: TensorSpec.of_variable(item.shape, item.dtype) for name, item in lock.variables.items()}


def diff_lock(lock: Mapping[str, TensorSpec], spec: NetworkSpec) -> LockDiff:
    """Compare a lock with a network, and suggest rules to restore old checkpoints."""
    now = {name: variable.spec for name, variable in spec.variables.items()}
    return LockDiff(
        gone={name: locked for name, locked in lock.items() if name not in now},
        new={name: present for name, present in now.items() if name not in lock},
        changed={name: (locked, now[name]) for name, locked in lock.items() if name in now and now[name] != locked},
        suggestion=suggest(lock, now, in_order=True),
        locked=tuple(lock),
    )
