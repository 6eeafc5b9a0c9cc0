"""Storage of Optuna's studies: a file or a database, by its URL."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from expkit.errors import ConfigError, error_message
from expkit.redact import masked

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

__all__ = ["open_storage"]

_JOURNAL = "journal:///"
_CONNECTING = {"sqlite": {"timeout": 60.0}, "postgresql": {"connect_timeout": 20}}
"""Seconds that a process waits for another that is writing, or for a server that does not answer."""


@cache
def open_storage(url: str) -> BaseStorage:
    """Return the storage at a URL; its tables are created if they are missing.

    Raises:
        ConfigError: it cannot be opened.
    """
    import optuna
    from optuna import storages

    optuna.logging.disable_default_handler()  # its messages go where everything is logged
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if url.startswith(_JOURNAL):
            from optuna.storages.journal import JournalFileBackend, JournalStorage

            backend = JournalFileBackend(file := url.removeprefix(_JOURNAL))
            _check_journal(Path(file))
            return JournalStorage(backend)
        for kind, option in _CONNECTING.items():
            if url.startswith(kind):
                engine = {"connect_args": option}
                return storages.get_storage(storages.RDBStorage(url, engine_kwargs=engine))
        return storages.get_storage(url)
    except Exception as error:  # SQLAlchemy, the driver and Optuna raise errors of their own
        raise ConfigError.at(
            "hydra.sweeper.storage",
            f"{masked(url)} cannot be opened ({masked(error_message(error))}); "
            "correct it, or omit it: the study is then stored in the sweep's folder",
        ) from None


def _check_journal(file: Path) -> None:
    """Check that a file is Optuna's, which it reads without a check of its own.

    Raises:
        ValueError: it is not.
    """
    with file.open("rb") as journal:
        first = journal.readline(100_000)
    try:
        is_entry = not first or "op_code" in json.loads(first)
    except (TypeError, ValueError):
        is_entry = first.startswith(b"{") and not first.endswith(b"\n")  # another process is writing it
    if not is_entry:
        raise ValueError("the file is no journal of Optuna")
