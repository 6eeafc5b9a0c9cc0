"""File and line of the keys of a composed configuration, looked up only for errors."""

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
from expkit.config.search import folders, primary_conf, searching
from expkit.config.yaml_files import construct, display_path, read_node
from expkit.errors import CheckpointError, ConfigError, Problem

__all__ = ["locate_problems", "locating_problems"]

_SEGMENT = re.compile(r"\.?[^.\[]+|\[\d+\]")


@contextmanager
def locating_problems(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> Iterator[None]:
    """Add file and line to the problems of a ``ConfigError`` or ``CheckpointError`` raised inside the block.

    Args:
        overrides: overrides of the configuration.
        config_dirs: further folders of configuration files.
    """
    try:
        yield
    except (ConfigError, CheckpointError) as error:
        raise type(error)(*locate_problems(error.problems, overrides, config_dirs)) from None


def locate_problems(problems: Iterable[Problem], overrides: Sequence[str], config_dirs: Sequence[str]) -> list[Problem]:
    """Return problems with their file and line.

    Args:
        problems: problems of a configuration.
        overrides: its overrides.
        config_dirs: further folders of configuration files.
    """
    composition = _composition(overrides, config_dirs)
    return [replace(problem, location=composition.location(problem.path)) for problem in problems]


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    package: str
    """Dotted path of the file's content in the configuration."""
    content: yaml.Node
    _known: dict[int, dict[str, tuple[int, yaml.Node]]] = field(default_factory=dict)

    def keys(self, node: yaml.Node) -> dict[str, tuple[int, yaml.Node]]:
        """Return line and content of a node's keys, by key."""
        if id(node) not in self._known:
            self._known[id(node)] = {name: (line, value) for name, line, value in _items(node)}
        return self._known[id(node)]


@dataclass(frozen=True)
class _Composition:
    """Files and overrides of a configuration, in the order in which they are merged."""

    files: tuple[_File, ...]
    overridden: tuple[str, ...]
    """Keys given on the command line."""

    def location(self, path: str) -> str:
        """Return ``file:line`` of the key at a path, or of the mapping that lacks it.

        The last file with the key sets it; a missing key belongs to the first file with the mapping around it. The
        result is empty if the command line sets the key, or if no file has the mapping.
        """
        if any(path == key or _inside(path, key) or _inside(key, path) for key in self.overridden):
            return ""
        depth, location = 0, ""
        for file in self.files:
            reached, line = _longest_match(file, path)
            if reached > depth or reached == depth == len(path) > 0:
                depth, location = reached, f"{file.name}:{line}"
        return location if all(_common_length(path, key) <= depth for key in self.overridden) else ""


class _DefaultsSource(FileSource):
    """Hydra's reader of files, which reads only their defaults lists and Hydra's settings."""

    def read(self, path: Path) -> Node:
        root = read_node(path)
        kept: dict[str, Any] = {}
        if isinstance(root, yaml.MappingNode):
            kept = {key.value: construct(value) for key, value in root.value if key.value in ("defaults", "hydra")}
        return OmegaConf.create(kept)


def _composition(overrides: Sequence[str], config_dirs: Sequence[str]) -> _Composition:
    GlobalHydra.instance().clear()
    try:
        with (
            searching(config_dirs),
            reading_files_by(_DefaultsSource),
            initialize_config_dir(str(primary_conf()), version_base="1.3"),
        ):
            loader = GlobalHydra.instance().config_loader()
            composed = loader.compute_defaults_list("config", list(overrides), RunMode.RUN)
        files = tuple(_files(composed.defaults, folders(config_dirs)))
    except (ConfigError, HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError):
        return _Composition((), ())  # The error itself names the file that cannot be read.
    return _Composition(files, tuple(item.key_or_group for item in composed.config_overrides))


def _files(defaults: Sequence[Any], searched: Sequence[Path]) -> Iterator[_File]:
    for item in defaults:
        candidates = (folder / f"{item.config_path}.yaml" for folder in searched)
        path = next((file for file in candidates if item.config_path and file.is_file()), None)
        content = read_node(path) if path is not None else None
        if path is not None and content is not None:
            yield _File(name=display_path(path), package=item.package or "", content=content)


def _longest_match(file: _File, path: str) -> tuple[int, int]:
    """Return the length of the longest prefix of a path that is a key of the file, and its line; 0 if there is none."""
    if file.package and path != file.package and not _inside(path, file.package):
        return 0, 0
    reached, line, node = len(file.package), file.content.start_mark.line + 1, file.content
    while reached < len(path):
        begin = reached + (path[reached] == ".")
        keys = file.keys(node)
        ends = [match.start() for match in re.finditer(r"[.\[]", path) if match.start() > begin] + [len(path)]
        end = next((end for end in reversed(ends) if path[begin:end] in keys), None)
        if end is None:
            break
        line, node = keys[path[begin:end]]
        reached = end
    return reached, line


def _items(node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield the keys of a mapping, or the indices of a list as ``[0]``, each with its line and content.

    Keys merged by ``<<`` come first, so that the node's own keys win.
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


def _common_length(path: str, other: str) -> int:
    """Return the length of the longest common prefix of two paths, in whole keys."""
    pairs = zip(_SEGMENT.findall(path), _SEGMENT.findall(other), strict=False)
    return sum(len(segment) for segment, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
