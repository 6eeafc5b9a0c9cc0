"""Folders of configuration files: the user's, the built-in one, those of ``--config-dir``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, ListConfig, Node, OmegaConf

from expkit.config.hydra_internals import config_loader, reading_files_by
from expkit.config.yaml_files import LimitedSource, read_yaml
from expkit.errors import ConfigError, Problem

__all__ = ["builtin_conf", "folders", "group_files", "primary_conf", "searching"]


def builtin_conf() -> Path:
    """Return the folder of expkit's own configuration files: in the package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def primary_conf() -> Path:
    """Return the folder that Hydra reads first: ``conf`` in the working folder, else the built-in one."""
    own = Path.cwd() / "conf"
    return own.resolve() if own.is_dir() else builtin_conf()


def folders(config_dirs: Sequence[str]) -> list[Path]:
    """Return the folders of configuration files, in the order in which they are searched."""
    return list(dict.fromkeys([primary_conf(), builtin_conf(), *(Path(name).resolve() for name in config_dirs)]))


class _Folders(SearchPathPlugin):  # type: ignore[misc]  # Hydra declares no types
    """Hydra plugin that searches the other folders after the user's, which then needs only the files that differ.

    A plugin acts on every Hydra program of its process, so this one is active only inside ``searching``. Folders are
    not given as ``hydra.searchpath``, which would replace the user's own.
    """

    others: ClassVar[Sequence[Path]] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.others:
            search_path.append("expkit", f"file://{folder}")


class _Source(LimitedSource):
    """Hydra's reader of files, with limits; the user's ``config.yaml`` has the built-in settings of Hydra beneath."""

    def read(self, path: Path) -> Node:
        node = super().read(path)
        if path != primary_conf() / "config.yaml" or path.parent == builtin_conf() or not isinstance(node, DictConfig):
            return node
        builtin = read_yaml(builtin_conf() / "config.yaml")
        defaults = node.get("defaults") or []
        if not isinstance(defaults, ListConfig):
            return node
        chosen = {_group(item) for item in defaults}
        own = [item for item in builtin["defaults"] if _group(item).startswith("hydra/") and _group(item) not in chosen]
        below = OmegaConf.create({"hydra": builtin["hydra"]})
        itself = [] if "_self_" in defaults else ["_self_"]
        return OmegaConf.merge(below, node, {"defaults": [*own, *defaults, *itself]})


def _group(item: Any) -> str:
    """Return the group of an item of a defaults list: ``override hydra/launcher: cores`` is of ``hydra/launcher``."""
    names = list(item) if isinstance(item, Mapping | DictConfig) else [item]
    return str(names[0] if names else "").removeprefix("override ").strip().removeprefix("/").partition("@")[0]


@contextmanager
def searching(config_dirs: Sequence[str] = ()) -> Iterator[None]:
    """Make Hydra search all folders, and reject files beyond limits, inside the block.

    Raises:
        ConfigError: a folder does not exist.
    """
    if missing := [name for name in config_dirs if not Path(name).is_dir()]:
        raise ConfigError(*(Problem("--config-dir", f"no folder {name}") for name in missing))
    _Folders.others = folders(config_dirs)[1:]
    try:
        with reading_files_by(_Source):
            yield
    finally:
        _Folders.others = ()


def group_files(group: str, config_dirs: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the names of the files of a group, in all folders; overrides may set ``hydra.searchpath``."""
    with searching(config_dirs):
        loader = config_loader(primary_conf())
        return list(loader.get_group_options(group, config_name="config", overrides=list(overrides)))


Plugins.instance().register(_Folders)
