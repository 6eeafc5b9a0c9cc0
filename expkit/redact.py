"""Secrets in URIs, hidden in every file, log and message."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "is_masked", "masked", "without_user"]

HIDDEN = "***"

# User and password end at the last @ before the path; a password with a slash, an invalid URI, is found too.
_USER = re.compile(r"(?<=://)(?:[^\s'\"/]*|[^\s'\"/@:]*:(?!\d+(?:/|$))[^\s'\"@]*)@")
_QUERY = re.compile(
    r"([?&][^=&#\s'\"]*(?:token|key|secret|pass|pwd|auth|sig|credential)[^=&#\s'\"]*=)[^&#\s'\"]*", re.IGNORECASE
)


def masked(text: str) -> str:
    """Return a text with user, password and the values of secret query parameters hidden in its URIs."""
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))


def is_masked(uri: str) -> bool:
    """Return whether a secret is hidden in a URI."""
    return f"//{HIDDEN}@" in uri or f"={HIDDEN}" in uri


def without_user(uri: str) -> str:
    """Return a URI without user and password."""
    return _USER.sub("", uri)
