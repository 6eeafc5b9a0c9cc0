"""What the files under ``conf/network`` say of themselves."""

from __future__ import annotations

import shlex

from expkit.config.search import builtin_conf


def head(name: str) -> list[str]:
    """Return the lines that a file has on top, above the one for editors."""
    text = (builtin_conf() / "network" / f"{name}.yaml").read_text(encoding="utf-8")
    return text.partition("# yaml-language-server:")[0].splitlines()


def command(name: str) -> list[str]:
    """Return the words after ``expkit train`` in the command that a file has on top."""
    lines = head(name)
    (first,) = (number for number, line in enumerate(lines) if line.startswith("# Train: "))
    rest = next(n for n, line in enumerate([*lines[first + 1 :], "# "], first + 1) if not line.startswith("#    "))
    words = shlex.split(" ".join(line.removeprefix("# Train: ").strip("# ") for line in lines[first:rest]))
    return words[words.index("train") + 1 :]
