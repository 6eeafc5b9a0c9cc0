"""Processes without expkit: an import of it fails there, wherever it is installed and whatever folders are called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["SHOWN", "without_expkit"]

SHOWN = """\
try:
    import expkit
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("expkit can be imported, so nothing is shown")
"""
"""The first lines of a program that is to run without expkit: they show that it does."""


def without_expkit(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment in which neither a Python process nor any that it starts can import expkit."""
    return {**environment, "PYTHONPATH": str(Path(__file__).with_name("without_expkit"))}
