"""Plugins: Python files and modules that register custom kinds when they are loaded."""

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
from expkit.registry import atomic_registration

__all__ = ["copy_plugins", "load_plugins"]


@dataclass(frozen=True)
class _File:
    path: Path
    content: bytes


_LOADED: dict[str, _File] = {}
"""Loaded files by their name in the configuration."""


def load_plugins(names: Sequence[str], folders: Sequence[Path], copies: Path | None = None) -> None:
    """Load plugins that are not loaded yet.

    Args:
        names: files that end in ``.py``, and modules.
        folders: search path of files.
        copies: folder with a run's copies of its plugins, searched first.

    Raises:
        ConfigError: with every plugin that is missing or cannot be loaded.
    """
    problems = []
    for index, name in enumerate(names):
        own = [copies / _copy_name(index, name)] if copies is not None else []
        try:
            if name.endswith(".py"):
                _load_file(name, [*own, *(folder / name for folder in folders)])
            else:
                _load_module(name)
        except _PluginError as error:
            problems.append(Problem(f"plugins[{index}]", str(error)))
    if problems:
        raise ConfigError(*problems)


def copy_plugins(names: Sequence[str], folder: Path) -> None:
    """Copy the plugins that are files to a folder, for the ``copies`` of ``load_plugins``."""
    for index, name in enumerate(names):
        if name in _LOADED:
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / _copy_name(index, name)) as partial:
                partial.write_bytes(_LOADED[name].content)


class _PluginError(Exception):
    """Raised with the reason why a plugin is not loaded."""


def _copy_name(index: int, name: str) -> str:
    return f"{index}_{Path(name).name}"


def _load_file(name: str, candidates: Sequence[Path]) -> None:
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise _PluginError(f"no file '{name}'; looked for {comma_list(map(str, candidates))}")
    try:
        file = _File(path.resolve(), path.read_bytes())
    except OSError as error:
        raise _PluginError(f"cannot read {path}: {error.strerror}") from None
    before = _LOADED.get(name)
    if before is not None:
        if before.content != file.content:
            raise _PluginError(
                f"{file.path} differs from {before.path}, which is loaded already; one program loads only one of them: "
                "make them equal, or start a new process"
            )
        return
    module = f"{path.stem}_{hashlib.sha256(file.content).hexdigest()[:8]}"
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module] = importlib.util.module_from_spec(spec)
        try:
            with atomic_registration():
                spec.loader.exec_module(sys.modules[module])
        except (Exception, SystemExit) as error:
            del sys.modules[module]
            raise _PluginError(f"{path} cannot be loaded: {describe_exception(error)}") from None
    _LOADED[name] = file


def _load_module(name: str) -> None:
    if name in sys.modules:
        return
    try:
        with atomic_registration():
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            fix = "install it, or give a file that ends in .py"
            raise _PluginError(f"no module '{error.name}'; {fix}") from None
        raise _PluginError(f"module '{name}' cannot be loaded: {describe_exception(error)}") from None
    except (Exception, SystemExit) as error:
        raise _PluginError(f"module '{name}' cannot be loaded: {describe_exception(error)}") from None
