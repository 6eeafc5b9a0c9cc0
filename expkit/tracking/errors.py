"""What a failure of the store means: try again later, leave a record out, or mend the configuration.

TrackingError    the store cannot be used as it is configured
Unreachable      the store does not answer now, or not in time: the same call may succeed later
Refused          the store answers, and does not take this
"""

from __future__ import annotations

import re
import sqlite3

from expkit.errors import ExpkitError, error_message
from expkit.redact import masked

__all__ = ["Refused", "TrackingError", "Unreachable", "failure"]

_LATER = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED",
          "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED", "ENDPOINT_NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED",
          "CUSTOMER_UNAUTHORIZED")  # fmt: skip
_CONFIGURED = {
    "UNAUTHENTICATED": "it wants another user or password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "CUSTOMER_UNAUTHORIZED": "it wants another user or password; "
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
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
_LONGEST = 300


class TrackingError(ExpkitError):
    """Raised when the tracking store cannot be used as it is configured."""


class Unreachable(Exception):
    """Raised when the store does not answer now; the same call may succeed later."""


class Refused(Exception):
    """Raised when the store answers and does not take what it is given."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def failure(error: Exception, *, opening: bool = False) -> Unreachable | Refused:
    """Return what an error of MLflow, SQLAlchemy, requests or the system means; its text tells no secret.

    Args:
        error: what was raised.
        opening: whether this is the first call: what only another configuration mends is then refused.
    """
    text = _said(error)
    code = str(getattr(error, "error_code", ""))
    if opening and code in _CONFIGURED:
        return Refused(_CONFIGURED[code], code)
    if opening and "valid JSON" in text:
        return Refused("what answers there is no MLflow server", code)
    if code:
        return Unreachable(text) if code in _LATER else Refused(text, code)
    if isinstance(error, sqlite3.Error):
        return Unreachable(text) if "locked" in text else Refused(text)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    later = kinds & {"OperationalError", "RequestException"} or isinstance(error, ConnectionError | TimeoutError)
    return Unreachable(text) if later else Refused(text)


def _said(error: Exception) -> str:
    text = str(error)
    for pattern, short in _SHORT:
        if re.search(pattern, text):
            return short
    driver = re.search(r"^\((?:sqlite3|psycopg2)[\w.]*\) (.+)", text, re.MULTILINE)
    return masked(driver[1] if driver else error_message(error))[:_LONGEST]
