"""Failures of the store: try again later, leave an entry out, or correct the configuration.

TrackingError      the store cannot be used as it is configured
StoreUnreachable   the store does not answer now, or not in time: the same call may succeed later
StoreRefused       the store answers, and refuses the call
RunDeleted         the run was deleted in the store
"""

from __future__ import annotations

import re
import sqlite3

from expkit.errors import ExpkitError, error_message
from expkit.redact import masked

__all__ = ["RunDeleted", "StoreRefused", "StoreUnreachable", "TrackingError", "failure"]

_LATER = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED",
          "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED", "ENDPOINT_NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED",
          "CUSTOMER_UNAUTHORIZED")  # fmt: skip
_CREDENTIALS = "it requires another user or password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
_CONFIGURED = {
    "UNAUTHENTICATED": _CREDENTIALS,
    "CUSTOMER_UNAUTHORIZED": _CREDENTIALS,
    "PERMISSION_DENIED": "this user may not write there",
    "ENDPOINT_NOT_FOUND": "no MLflow server answers there",
}
_SHORT = (
    (r"Connection refused", "connection refused"),
    (r"Failed to resolve|NameResolutionError|Name or service not known", "its name cannot be resolved"),
    (r"timed out|timeout", "no answer in time"),
    (r"Connection reset|Connection aborted|Remote end closed|Broken pipe", "the connection was cut"),
    (r"database is locked", "the database is locked"),
)
_BUSY = "|".join(("OperationalError", "InterfaceError", *(pattern for pattern, _ in _SHORT)))
"""Text of failures of a store itself: of its database, or of the connection."""
_LONGEST = 300


class TrackingError(ExpkitError):
    """Raised when the tracking store cannot be used as it is configured."""


class StoreUnreachable(Exception):
    """Raised when the store does not answer now; the same call may succeed later."""

    def __init__(self, message: str, *, internal: bool = False) -> None:
        super().__init__(message)
        self.internal = internal
        """True if the store answers that it failed itself, as some do about a record that they cannot keep."""


class StoreRefused(Exception):
    """Raised when the store answers and refuses the call."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class RunDeleted(Exception):
    """Raised when the run was deleted in MLflow; its records stay in the journal."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} was deleted in MLflow; its records stay in the run folder")


def failure(error: Exception, *, opening: bool = False) -> StoreUnreachable | StoreRefused:
    """Return the meaning of an error of MLflow, SQLAlchemy, requests or the system; its message contains no secret.

    Args:
        error: the error.
        opening: True for the first call to a store: an error that another configuration avoids is then a refusal.
    """
    text = _message(error)
    code = str(getattr(error, "error_code", ""))
    if opening and code in _CONFIGURED:
        return StoreRefused(_CONFIGURED[code], code)
    if opening and "valid JSON" in text:
        return StoreRefused("the page there is no MLflow server", code)
    if code:
        internal = code == "INTERNAL_ERROR" and not re.search(_BUSY, str(error))
        return StoreUnreachable(text, internal=internal) if code in _LATER else StoreRefused(text, code)
    if isinstance(error, sqlite3.Error):
        return StoreUnreachable(text) if "locked" in text else StoreRefused(text)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    later = kinds & {"OperationalError", "RequestException"} or isinstance(error, ConnectionError | TimeoutError)
    return StoreUnreachable(text) if later else StoreRefused(text)


def _message(error: Exception) -> str:
    text = str(error)
    for pattern, short in _SHORT:
        if re.search(pattern, text):
            return short
    driver = re.search(r"^\((?:sqlite3|psycopg2)[\w.]*\) (.+)", text, re.MULTILINE)
    return masked(driver[1] if driver else error_message(error))[:_LONGEST]
