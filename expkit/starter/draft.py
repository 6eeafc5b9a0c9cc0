"""The draft of a project: its files, and a summary of the data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from expkit.config.search import builtin_conf
from expkit.config.yaml_files import literal
from expkit.errors import ConfigError, comma_list
from expkit.fs import atomic_write_text, cannot_write

__all__ = ["Draft", "check_name", "name_of", "quoted", "split_line", "write_draft"]

GROUPS = ("data", "network", "experiment")
BATCH_SIZE = 32
EPOCHS = 20
"""Number of times that a first training sees every example."""
FEWEST_STEPS, MOST_STEPS = 500, 20_000
YAML_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}
"""Words that YAML or Hydra take for other values than text."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A configuration that reads some data, and trains a small network on it."""

    name: str
    """Name of the three files, and of the experiment."""
    data: str
    """Content of ``conf/data/NAME.yaml``."""
    network: str
    """Content of ``conf/network/NAME.yaml``."""
    train: Sequence[str]
    """Lines of the section ``train`` of the experiment, besides the number of steps."""
    group: str
    """File of ``conf/train`` that the experiment begins with."""
    training_examples: int
    """Number of examples of the training part."""
    found: Sequence[str]
    """Sentences about the data."""
    evaluated_at_once: int | None = None
    """Examples of an evaluation's batch, where the 1000 of ``conf/train`` take much memory."""


def name_of(path: Path) -> str:
    """Return a name for files and runs from that of the data, which none of the files that expkit ships has."""
    stem = path.resolve().name.partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_").lower() or "data"
    if not _is_name(name):
        return f"my_{name}"
    shipped = any((builtin_conf() / group / f"{name}.yaml").exists() for group in GROUPS)
    return f"my_{name}" if shipped else name


def check_name(name: str) -> None:
    """Check a name for files.

    Raises:
        ConfigError: it has other characters than letters, digits, ``_`` and ``-``, or YAML reads it as a value.
    """
    if not _is_name(name):
        raise ConfigError.at(
            "--name",
            f"'{name}' is not a name for files; allowed: a letter, then letters, digits, _ and -, and no word such as "
            "null or true",
        )


def _is_name(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name)) and name.lower() not in YAML_WORDS


def quoted(text: str) -> str:
    """Return text of any characters as a YAML scalar in quotes, in which ``${...}`` names no value elsewhere."""
    text = literal(text)
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    marks = (mark if mark.isprintable() and mark not in '"\\' else f"\\U{ord(mark):08x}" for mark in text)
    return f'"{"".join(marks)}"'


def split_line(stratify: str | None) -> str:
    """Return the line of a split into three parts, each with all classes of a field of labels if there is one."""
    by_label = f", stratify: {stratify}" if stratify is not None else ""
    return f"split: {{train: 0.7, valid: 0.1, test: 0.2, seed: 0{by_label}}}"


def write_draft(draft: Draft, folder: Path) -> list[Path]:
    """Write the files of a draft below ``conf`` in a folder; none is overwritten.

    Raises:
        ConfigError: a file exists, or cannot be written.
    """
    files = {folder / "conf" / place: content for place, content in _files(draft).items()}
    if existing := [str(file) for file in files if file.exists()]:
        raise ConfigError.at(
            "--name", f"{comma_list(existing)} exist already and are not overwritten; give another --name"
        )
    try:
        for file, content in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(file, content)
    except OSError as error:
        raise ConfigError.at("conf", cannot_write(folder / "conf", error)) from None
    return list(files)


def _files(draft: Draft) -> Mapping[str, str]:
    batch_size = min(BATCH_SIZE, 1 << draft.training_examples.bit_length() - 1)
    steps = min(max(EPOCHS * draft.training_examples // batch_size, FEWEST_STEPS), MOST_STEPS)
    every = max(steps // 10, 50)
    at_once = [] if draft.evaluated_at_once is None else [f"evaluation_batch_size: {draft.evaluated_at_once}"]
    train = f"{{steps: {steps}, batch_size: {batch_size}, evaluate_every_steps: {every}, save_every_steps: {every}}}"
    training = (
        [f"train: {train}   # about {EPOCHS} epochs"]
        if not draft.train and not at_once
        else [
            "train:",
            f"  steps: {steps}               # about {EPOCHS} epochs",
            f"  batch_size: {batch_size}",
            f"  evaluate_every_steps: {every}",
            f"  save_every_steps: {every}",
            *(f"  {line}" for line in (*at_once, *draft.train)),
        ]
    )
    experiment = [
        "# @package _global_",
        f"# A first network on {draft.name}.",
        f"# Command:  expkit train experiment={draft.name}",
        "defaults:",
        f"  - override /network: {draft.name}",
        f"  - override /data: {draft.name}",
        "  - override /optimizer: adam",
        f"  - override /train: {draft.group}",
        "",
        f"run: {{name: {draft.name}}}",
        *training,
    ]
    return {
        f"data/{draft.name}.yaml": draft.data,
        f"network/{draft.name}.yaml": draft.network,
        f"experiment/{draft.name}.yaml": "\n".join(experiment) + "\n",
    }
