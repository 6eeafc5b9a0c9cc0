"""The checkpoints in a folder: where each is, of which step, how it was judged, how large it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from expkit.checkpoints.formats.locate import checkpoints_right_in, find
from expkit.errors import CheckpointError, ExpkitError

__all__ = ["Listed", "checkpoints_in"]

_STEP = re.compile(r"-(\d+)(-\?{5}-of-\d+)?\Z")


@dataclass(frozen=True)
class Listed:
    """A checkpoint in a folder."""

    path: Path
    """Its prefix."""
    step: int | None
    """Global step, as its name or its record says; ``None`` where neither does."""
    size: int
    """Bytes of all its files."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the step, where expkit evaluated it."""
    latest: bool = False
    """Whether it is the one that the folder stands for."""


def checkpoints_in(folder: str, at: str) -> list[Listed]:
    """Return the checkpoints of a run folder, or right in a folder, or in folders of steps in it; by step, then name.

    Raises:
        CheckpointError: there are none.
    """
    try:
        prefixes = list(dict.fromkeys(_prefixes(Path(folder).expanduser()))) if folder.strip() else []
    except (OSError, RuntimeError):  # What ``find`` says of it.
        prefixes = []
    if not prefixes:
        prefixes = [find(folder, at).path]  # A single file; otherwise the error says what is allowed.
    try:
        latest = find(folder, at).path if len(prefixes) > 1 else prefixes[0]
    except ExpkitError:
        latest = None
    listed = [_listed(prefix, latest) for prefix in prefixes]
    return sorted(listed, key=lambda item: (-1 if item.step is None else item.step, str(item.path)))


def _prefixes(path: Path) -> Iterator[Path]:
    steps = [*path.glob("step-*"), *path.glob("checkpoints/step-*")]
    for place in (path, path / "checkpoints", *(place for place in steps if place.is_dir())):
        yield from (found.path for found in checkpoints_right_in(place))


def _listed(prefix: Path, latest: Path | None) -> Listed:
    files = [
        file
        for file in prefix.parent.glob("*")
        if file.name.startswith(f"{prefix.name}.") or fnmatchcase(file.name, prefix.name)
    ]
    step, metrics = _record(prefix.parent / "checkpoint.json")
    if step is None and (match := _STEP.search(prefix.name)):
        step = int(match[1])
    return Listed(prefix, step, sum(file.stat().st_size for file in files), metrics, prefix == latest)


def _record(file: Path) -> tuple[int | None, dict[str, float]]:
    if not file.is_file():
        return None, {}
    try:
        content = json.loads(file.read_text())
        return int(content["step"]), {str(name): float(value) for name, value in content["metrics"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError.at(str(file), "damaged; delete it to list the checkpoint without its metrics") from None
