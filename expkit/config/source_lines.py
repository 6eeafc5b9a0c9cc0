"""Where the keys of a composed configuration stand: file and line, looked up only once something is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from expkit.config.hydra_internals import FileSource, reading_files_by
from expkit.config.load import builtin_conf, builtin_conf_behind, primary_conf, search_path
from expkit.config.yaml_files import build, read_node, shown_path
from expkit.errors import ConfigError, Problem

__all__ = ["locate_problems", "locating_problems"]

_PART = re.compile(r"\.?[^.\[]+|\[\d+\]")


@contextmanager
def locating_problems(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> Iterator[None]:
    """Give the problems of a ``ConfigError`` raised inside the block the file and line that they come from.

    Args:
        overrides: what the configuration inside is composed with.
        config_dirs: further folders of configuration files.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(*locate_problems(error.problems, overrides, config_dirs)) from None


def locate_problems(
    problems: Iterable[Problem], overrides: Sequence[str], config_dirs: Sequence[str] = ()
) -> list[Problem]:
    """Return problems with the file and line that they come from.

    Args:
        problems: of a configuration.
        overrides: what it is composed with.
        config_dirs: further folders of configuration files.
    """
    composition = _composition(overrides, config_dirs)
    return [replace(problem, location=composition.place(problem.path)) for problem in problems]


@dataclass(frozen=True)
class _File:
    name: str
    package: str
    """Dotted path that the file's content stands under."""
    content: yaml.Node
    _known: dict[int, dict[str, tuple[int, yaml.Node]]] = field(default_factory=dict)

    def keys(self, node: yaml.Node) -> dict[str, tuple[int, yaml.Node]]:
        """Return line and content of a node's keys, by name."""
        if id(node) not in self._known:
            self._known[id(node)] = {name: (line, value) for name, line, value in _items(node)}
        return self._known[id(node)]


@dataclass(frozen=True)
class _Composition:
    """What a configuration is made of, earlier parts first."""

    files: tuple[_File, ...]
    overridden: tuple[str, ...]
    """Keys given on the command line."""

    def place(self, path: str) -> str:
        """Return ``file:line`` of the key at a path or, where it is not there, of what it is missing in.

        The last file that has the key has set it; what is missing belongs to the first that has the part around it.
        An empty string where the command line had the last word, or no file knows of it.
        """
        if any(path == key or _inside(path, key) or _inside(key, path) for key in self.overridden):
            return ""
        depth, place = 0, ""
        for file in self.files:
            reached, line = _find(file, path)
            if reached > depth or reached == depth == len(path) > 0:
                depth, place = reached, f"{file.name}:{line}"
        return place if all(_common(path, key) <= depth for key in self.overridden) else ""


class _Outline(FileSource):
    """Hydra's reader of files that takes no more of them than says which others belong to them."""

    def read(self, path: Path) -> Node:
        root = read_node(path)
        kept: dict[str, Any] = {}
        if isinstance(root, yaml.MappingNode):
            kept = {key.value: build(value) for key, value in root.value if key.value in ("defaults", "hydra")}
        return OmegaConf.create(kept)


def _composition(overrides: Sequence[str], config_dirs: Sequence[str]) -> _Composition:
    folders = [Path(folder).resolve() for folder in config_dirs if Path(folder).is_dir()]
    GlobalHydra.instance().clear()
    try:
        with (
            builtin_conf_behind(),
            reading_files_by(_Outline),
            initialize_config_dir(str(primary_conf()), version_base="1.3"),
        ):
            words = [*search_path([str(folder) for folder in folders]), *overrides]
            loader = GlobalHydra.instance().config_loader()
            composed = loader.compute_defaults_list("config", words, RunMode.RUN)
        files = tuple(_files(composed.defaults, (primary_conf(), builtin_conf(), *folders)))
    except (ConfigError, HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError):
        return _Composition((), ())  # The error itself says then which file cannot be read.
    return _Composition(files, tuple(item.key_or_group for item in composed.config_overrides))


def _files(defaults: Sequence[Any], folders: Sequence[Path]) -> Iterator[_File]:
    for item in defaults:
        places = (folder / f"{item.config_path}.yaml" for folder in folders)
        path = next((place for place in places if item.config_path and place.is_file()), None)
        content = read_node(path) if path is not None else None
        if path is not None and content is not None:
            yield _File(shown_path(path), item.package or "", content)


def _find(file: _File, path: str) -> tuple[int, int]:
    """Return how many characters of a path lead to a key of the file, and the key's line; 0 where none do."""
    if file.package and path != file.package and not _inside(path, file.package):
        return 0, 0
    reached, line, node = len(file.package), file.content.start_mark.line + 1, file.content
    while reached < len(path):
        begin = reached + (path[reached] == ".")
        keys = file.keys(node)
        ends = [place.start() for place in re.finditer(r"[.\[]", path) if place.start() > begin] + [len(path)]
        end = next((end for end in reversed(ends) if path[begin:end] in keys), None)
        if end is None:
            break
        line, node = keys[path[begin:end]]
        reached = end
    return reached, line


def _items(node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield a node's keys, or the places of a list as ``[0]``, each with its line and what stands there.

    What is merged in by ``<<`` comes first, so that the node's own keys win.
    """
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"[{index}]", value.start_mark.line + 1, value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "<<":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    yield from _items(merged)
        for key, value in node.value:
            if key.value != "<<":
                yield str(key.value), key.start_mark.line + 1, value


def _inside(path: str, outer: str) -> bool:
    return path.startswith((f"{outer}.", f"{outer}["))


def _common(path: str, other: str) -> int:
    """Return how many characters of two paths lead through the same keys."""
    pairs = zip(_PART.findall(path), _PART.findall(other), strict=False)
    return sum(len(part) for part, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
