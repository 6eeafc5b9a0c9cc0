"""Secrets in URIs, hidden wherever a URI is written down."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "is_masked", "masked", "without_user"]

HIDDEN = "***"

# The user's part ends at the last @ before the path; a password with a slash, which is no valid URI, is found too.
_USER = re.compile(r"(?<=://)(?:[^\s'\"/]*|[^\s'\"/@:]*:(?!\d+(?:/|$))[^\s'\"@]*)@")
_QUERY = re.compile(
    r"([?&][^=&#\s'\"]*(?:token|key|secret|pass|pwd|auth|sig|credential)[^=&#\s'\"]*=)[^&#\s'\"]*", re.IGNORECASE
)


def masked(text: str) -> str:
    """Return a text whose URIs tell neither user and password nor the values of secret query parameters."""
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))


def is_masked(uri: str) -> bool:
    """Return whether something of a URI was hidden."""
    return f"//{HIDDEN}@" in uri or f"={HIDDEN}" in uri


def without_user(uri: str) -> str:
    """Return a URI without the user's part."""
    return _USER.sub("", uri)
