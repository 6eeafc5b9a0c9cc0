"""Messages for packages of the formats that are installed, but cannot be imported."""

from __future__ import annotations

__all__ = ["cannot_load", "is_loading_failure"]


def is_loading_failure(text: str) -> bool:
    """Return whether an error says that a package cannot be imported, as where it lacks a library of the system."""
    return text.startswith(("ImportError: ", "ModuleNotFoundError: "))


def cannot_load(target: str, cause: str) -> str:
    """Return the message for a package that a target needs."""
    fix = f"install it anew: pip install --force-reinstall 'expkit[{target}]'"
    return f"a package that it needs cannot be loaded ({cause}); {fix}"
