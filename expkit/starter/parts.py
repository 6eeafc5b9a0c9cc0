"""The ready-made parts of a folder in a draft."""

from __future__ import annotations

from expkit.kinds.sources.base import Fields
from expkit.starter.draft import quoted, split_line
from expkit.starter.labels import as_words

__all__ = ["draws_parts", "folder_split", "parts_found"]

PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Names of folders by the part that they hold."""


def draws_parts(fields: Fields) -> bool:
    """Return True if test examples are drawn from all, because no folder holds them."""
    return not {"valid", "test"} & _parts(fields).keys()


def folder_split(fields: Fields, stratify: str | None) -> str:
    """Return the line of the split: ready-made parts where there are any, otherwise by a field of labels if given."""
    if draws_parts(fields):
        mixed = "part" in fields
        return split_line(stratify).replace("}", ", field: none}" if mixed else "}") + (
            "   # the folder is mixed" if mixed else ""
        )
    parts = _parts(fields)
    test = parts.get("test") or parts["valid"]
    valid = quoted(parts["valid"]) if {"valid", "test"} <= parts.keys() else "0.1"
    train = quoted(parts["train"]) if {"valid", "test"} <= parts.keys() else "0.9"
    return f"split: {{train: {train}, valid: {valid}, test: {quoted(test)}}}   # folders"


def parts_found(fields: Fields) -> list[str]:
    """Return a sentence about the ready-made parts that are the split, if there are any."""
    return [] if draws_parts(fields) else ["a ready-made split: " + ", ".join(_parts(fields).values())]


def _parts(fields: Fields) -> dict[str, str]:
    """Return the names of the ready-made parts that serve as training, validation and test examples."""
    names = sorted(set(as_words(fields["part"]))) if "part" in fields else []
    found = {part: next((name for name in names if name.lower() in words), "") for part, words in PARTS.items()}
    return {part: name for part, name in found.items() if name}
