"""The run folder: a run on disk."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from expkit.config.load import plain, plain_yaml, plugins_folder, read
from expkit.config.schema import Config
from expkit.errors import ConfigError, ExpkitError, Problem, RunError
from expkit.fs import Locked, atomic_write_text, cannot_write, file_lock, read_json
from expkit.plugins import copy_plugins
from expkit.provenance import digest_of
from expkit.redact import masked_values

__all__ = [
    "RunFolder",
    "check_same",
    "config_digest",
    "flat",
    "locked",
    "short_names",
    "unwritable",
]

_log = logging.getLogger(__name__)

# Fields that may differ when a run is resumed: none changes a number of the steps already done.
_FREE = ("run.resume", "run.folder", "train.steps", "train.epochs", "tracking.", "export.")


_LENGTH = ("train.steps", "train.epochs")


class RunFolder:
    """A run on disk: its configuration, state, metrics, checkpoints and exports."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Config, overrides: Sequence[str]) -> RunFolder:
        """Create the folder with its configuration, or open it if it exists, to resume its run.

        Raises:
            RunError: the folder cannot be written, or holds another configuration.
        """
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if folder.config_file.is_file():
                check_same(folder, config)
            atomic_write_text(folder.config_file, plain_yaml(config))
            copy_plugins(config.plugins, folder.plugins)
            atomic_write_text(path / "overrides.yaml", yaml.safe_dump(masked_values(list(overrides)), width=1000))
            folder.update(digest=config_digest(config), name=config.run.name)
        except OSError as error:
            raise unwritable(path, error) from None
        return folder

    @property
    def config_file(self) -> Path:
        """The composed configuration."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def plugins(self) -> Path:
        """Copies of the plugins that are files."""
        return plugins_folder(self.path)

    @property
    def frozen(self) -> Path:
        """The frozen graph."""
        return self.path / "frozen.pb"

    @property
    def metrics_file(self) -> Path:
        """All metrics, one JSON object with ``step`` a line."""
        return self.path / "metrics.jsonl"

    @property
    def plots(self) -> Path:
        """Folder of the pictures."""
        return self.path / "plots"

    @property
    def samples(self) -> Path:
        """Folder of the images that the network draws at checkpoints, a file ``STEP.npy`` each."""
        return self.plots / "samples"

    @property
    def evidence_file(self) -> Path:
        """The data of the plots beside metrics."""
        return self.plots / "evidence.npz"

    @property
    def examples_file(self) -> Path:
        """The training examples of the contact sheet."""
        return self.plots / "examples.npz"

    @property
    def kept_files(self) -> list[Path]:
        """The files that describe the run, of which a tracker keeps copies."""
        names = (
            *("config.yaml", "overrides.yaml", "metrics.jsonl", "run.log", "preprocess.json", "frozen.pb"),
            *("frozen.parity.json", "restore.json", "frozen.restore.json"),
        )
        kept = [self.path / name for name in names if (self.path / name).is_file()]
        return [*kept, *sorted(self.plugins.glob("*.py"))]

    @property
    def preprocess_file(self) -> Path:
        """File of the fitted preprocessing, by field, and of the names of classes."""
        return self.path / "preprocess.json"

    def state(self) -> dict[str, Any]:
        """Return the content of ``run.json``: name, status, digest of the configuration, MLflow run."""
        return read_json(self.path / "run.json")

    def update(self, **values: Any) -> None:
        """Change values in ``run.json``."""
        atomic_write_text(
            self.path / "run.json", json.dumps({**self.state(), **masked_values(values)}, indent=2) + "\n"
        )

    def keep_receipt(self, receipt: str, of: str = "") -> None:
        """Write the receipt of a restore: ``restore.json``, or a verb's own ``VERB.restore.json``.

        Raises:
            OSError: the file cannot be written.
        """
        atomic_write_text(self.path / (f"{of}.restore.json" if of else "restore.json"), receipt)

    def config(self) -> Config:
        """Return the configuration of the run."""
        return read(self.config_file)

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append metrics of a step."""
        with self.metrics_file.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def metrics(self) -> list[dict[str, float]]:
        """Return all metrics, in the order logged; a line that was damaged or cut off is left out, with a warning."""
        if not self.metrics_file.is_file():
            return []
        found = []
        for number, line in enumerate(self.metrics_file.read_bytes().split(b"\n")[:-1], 1):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                values = None
            if _is_point(values):
                found.append(values)
            else:
                _warn_damaged(self.metrics_file, number)
        return found

    def drop_metrics_after(self, step: int) -> None:
        """Drop the metrics that a resumed run logs again: those of later steps, and of the test at its end."""
        if self.metrics_file.is_file():
            kept = [line for line in self.metrics() if line["step"] <= step and "test/loss" not in line]
            atomic_write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a run folder for this process, until the end of the block or of the process.

    Raises:
        RunError: another process of this machine holds it, or it cannot be written.
    """
    lock = path / ".lock"
    with ExitStack() as held:
        try:
            path.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(file_lock(lock))
        except Locked:
            holder = f"process {number}" if (number := lock.read_text().strip()) else "another process"
            raise RunError.at(
                str(path), f"{holder} is using this run; wait until it has ended, or start a new run"
            ) from None
        except OSError as error:
            raise unwritable(path, error) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _is_point(values: Any) -> bool:
    """Return True if values are a step with its metrics."""
    return (
        isinstance(values, dict)
        and type(values.get("step")) is int
        and all(type(value) in (int, float) for value in values.values())
    )


@cache
def _warn_damaged(file: Path, line: int) -> None:
    """Warn once, however often the file is read."""
    _log.warning("%s: line %d is damaged and left out", file, line)


def config_digest(config: Config) -> str:
    """Return a SHA-256 over the fields of a configuration that change its numbers or its length."""
    values = flat(plain(config))
    kept = {key: value for key, value in values.items() if not key.startswith(_FREE) or key in _LENGTH}
    return digest_of(kept)


def unwritable(path: Path, error: OSError) -> ExpkitError:
    """Return the error for a run folder that cannot be written."""
    return RunError.at("run.folder", cannot_write(path, error, "give a writable folder with run.folder=PATH"))


def check_same(folder: RunFolder, config: Config) -> None:
    """Raise ConfigError if the configuration of a run differs in a field that changes its numbers."""
    before = _stored(folder.config_file, _content(folder.config_file))
    now = flat(masked_values(plain(config)))
    problems = [
        Problem(
            key,
            f"is {now.get(key)!r}, but the run to resume has {before.get(key)!r}; undo that, or start a new run",
        )
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key) and not key.startswith(_FREE)
    ]
    if problems:
        raise ConfigError(*problems)


@lru_cache(maxsize=1)
def _stored(path: Path, content: bytes) -> dict[str, Any]:
    """Return the values of a run's configuration, which is validated once as long as the file's content stays."""
    return flat(plain(read(path)))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # Reading it as a configuration says what is wrong.


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings, their keys joined by dots; empty mappings stay as values."""
    if isinstance(values, dict) and values:
        return {
            k: v for key, value in values.items() for k, v in flat(value, f"{prefix}.{key}" if prefix else key).items()
        }
    return {prefix: values}


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the shortest unambiguous ends of dotted keys, by key."""
    short = {}
    for key in keys:
        parts = key.split(".")
        for count in range(1, len(parts) + 1):
            short[key] = ".".join(parts[-count:])
            if sum(other == short[key] or other.endswith(f".{short[key]}") for other in keys) == 1:
                break
    return short
