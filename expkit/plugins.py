"""Kinds of the user's own: Python files and modules that register them when they are loaded."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expkit.errors import ConfigError, Problem, comma_list, describe_exception
from expkit.fs import atomic_write
from expkit.registry import all_or_nothing

__all__ = ["keep_plugins", "load_plugins"]


@dataclass(frozen=True)
class _File:
    path: Path
    content: bytes


_LOADED: dict[str, _File] = {}
"""Files by the name that the configuration gives them."""


def load_plugins(names: Sequence[str], folders: Sequence[Path], kept: Path | None = None) -> None:
    """Load every plugin that is not loaded already.

    Args:
        names: files that end in ``.py``, and modules.
        folders: where files are looked for, in order.
        kept: folder into which a run has put its plugins; they go first.

    Raises:
        ConfigError: with every plugin that is not there or cannot be loaded.
    """
    problems = []
    for place, name in enumerate(names):
        own = [kept / _kept_name(place, name)] if kept is not None else []
        try:
            if name.endswith(".py"):
                _load_file(name, [*own, *(folder / name for folder in folders)])
            else:
                _load_module(name)
        except _Refused as error:
            problems.append(Problem(f"plugins[{place}]", str(error)))
    if problems:
        raise ConfigError(*problems)


def keep_plugins(names: Sequence[str], folder: Path) -> None:
    """Put a copy of every plugin that is a file into a folder, where ``load_plugins`` finds it again."""
    for place, name in enumerate(names):
        if name in _LOADED:
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / _kept_name(place, name)) as partial:
                partial.write_bytes(_LOADED[name].content)


class _Refused(Exception):
    """Raised with the sentence that says why a plugin is not loaded."""


def _kept_name(place: int, name: str) -> str:
    return f"{place}_{Path(name).name}"


def _load_file(name: str, candidates: Sequence[Path]) -> None:
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise _Refused(f"no file '{name}'; looked for {comma_list(map(str, candidates))}")
    try:
        file = _File(path.resolve(), path.read_bytes())
    except OSError as error:
        raise _Refused(f"cannot read {path}: {error.strerror}") from None
    before = _LOADED.get(name)
    if before is not None:
        if before.content != file.content:
            raise _Refused(
                f"{file.path} differs from {before.path}, which is loaded already; one program takes one of them: "
                "make them equal, or start anew"
            )
        return
    module = f"{path.stem}_{hashlib.sha256(file.content).hexdigest()[:8]}"
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module] = importlib.util.module_from_spec(spec)
        try:
            with all_or_nothing():
                spec.loader.exec_module(sys.modules[module])
        except (Exception, SystemExit) as error:
            del sys.modules[module]
            raise _Refused(f"{path} cannot be loaded: {describe_exception(error)}") from None
    _LOADED[name] = file


def _load_module(name: str) -> None:
    if name in sys.modules:
        return
    try:
        with all_or_nothing():
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            way = "install it, or give a file that ends in .py"
            raise _Refused(f"no module '{error.name}'; {way}") from None
        raise _Refused(f"module '{name}' cannot be loaded: {describe_exception(error)}") from None
    except (Exception, SystemExit) as error:
        raise _Refused(f"module '{name}' cannot be loaded: {describe_exception(error)}") from None
