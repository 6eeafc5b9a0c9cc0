"""The list of checkpoints in a folder, each with its step, metrics and size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from expkit.checkpoints.formats.locate import checkpoints_in_folder, locate
from expkit.checkpoints.record import RECORD, Damage, recorded
from expkit.errors import CheckpointError, ExpkitError

__all__ = ["ListedCheckpoint", "checkpoints_in"]

_STEP = re.compile(r"-(\d+)(-\?{5}-of-\d+)?\Z")


@dataclass(frozen=True, kw_only=True)
class ListedCheckpoint:
    """A checkpoint in a folder."""

    path: Path
    """Its prefix."""
    step: int | None
    """Global step from its record or its name; ``None`` where neither has it."""
    size: int
    """Bytes of all its files."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the step, if expkit evaluated it."""
    latest: bool = False
    """True if opening the folder opens this checkpoint."""


def checkpoints_in(folder: str, at: str) -> list[ListedCheckpoint]:
    """Return the checkpoints of a run folder, directly in a folder or in its folders of steps; by step, then name.

    Raises:
        CheckpointError: there are none.
    """
    try:
        prefixes = list(dict.fromkeys(_prefixes(Path(folder).expanduser()))) if folder.strip() else []
    except Exception:  # ``locate`` reports it.
        prefixes = []
    if not prefixes:
        prefixes = [locate(folder, at).path]  # A single file, or the error that lists what is allowed.
    try:
        latest = locate(folder, at).path if len(prefixes) > 1 else prefixes[0]
    except ExpkitError:
        latest = None
    listed = [_listed(prefix, latest) for prefix in prefixes]
    return sorted(listed, key=lambda item: (-1 if item.step is None else item.step, str(item.path)))


def _prefixes(path: Path) -> Iterator[Path]:
    steps = [*path.glob("step-*"), *path.glob("checkpoints/step-*")]
    for folder in (path, path / "checkpoints", *(step for step in steps if step.is_dir())):
        yield from (found.path for found in checkpoints_in_folder(folder))


def _listed(prefix: Path, latest: Path | None) -> ListedCheckpoint:
    files = [
        file
        for file in prefix.parent.glob("*")
        if file.name.startswith(f"{prefix.name}.") or fnmatchcase(file.name, prefix.name)
    ]
    step, metrics = _record(prefix.parent)
    if step is None and (match := _STEP.search(prefix.name)):
        step = int(match[1])
    size = sum(file.stat().st_size for file in files)
    return ListedCheckpoint(path=prefix, step=step, size=size, metrics=metrics, latest=prefix == latest)


def _record(folder: Path) -> tuple[int | None, Mapping[str, float]]:
    if not (folder / RECORD).is_file():
        return None, {}
    try:
        content = recorded(folder)
    except Damage as damage:
        problem = f"damaged ({damage}); delete it to list the checkpoint without its metrics"
        raise CheckpointError.at(str(folder / RECORD), problem) from None
    return content["step"], content["metrics"]
