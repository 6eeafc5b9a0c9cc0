"""Configuration files, read within limits: one that is too large, too deep or says a thing twice is refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import AnyNode, DictConfig, ListConfig, Node, OmegaConf

from expkit.config.hydra_internals import FileSource, fill, reading_files_by, scalar_resolvers
from expkit.errors import ConfigError, Problem

__all__ = ["build", "files_within_limits", "read_node", "read_yaml", "shown_path"]

MOST_BYTES = 2_000_000
MOST_VALUES = 200_000
"""How many keys and values a file may hold, those that an alias stands for counted each time."""
MOST_DEPTH = 150
"""How many mappings and lists may lie in each other; a scope takes two."""

_NODES: dict[Path, tuple[int, int, yaml.Node | None]] = {}
"""Files as they were read, by time of change and size: a sweep composes them once for each of its jobs."""

_Native = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Native):  # type: ignore[misc,valid-type]
    """libyaml's parser, ten times faster, with OmegaConf's rules of what is a number and what is text."""

    yaml_implicit_resolvers = scalar_resolvers()


class _Source(FileSource):
    """Hydra's reader of files, within limits."""

    def read(self, path: Path) -> Node:
        try:
            content = read_yaml(path)
        except UnicodeDecodeError as error:
            said = f"is no UTF-8 text ({error.reason} at byte {error.start})"
            raise ConfigError(Problem(shown_path(path), said)) from None
        return _node(content) if isinstance(content, dict) else OmegaConf.create({} if content is None else content)


def _node(value: Any, key: Any = None, parent: DictConfig | None = None) -> Node:
    """Return what ``OmegaConf.create`` makes of a value, put together directly: in half the time for large files."""
    if isinstance(value, list):
        return ListConfig(value, key=key, parent=parent)
    if not isinstance(value, dict):
        return AnyNode(value, key=key, parent=parent)
    if not all(isinstance(name, str) for name in value):
        return DictConfig(value, key=key, parent=parent)
    mapping = DictConfig({}, key=key, parent=parent)
    fill(mapping, {name: _node(inside, name, mapping) for name, inside in value.items()})
    return mapping


def files_within_limits() -> AbstractContextManager[None]:
    """Let Hydra read the files of what is composed inside the block by ``read_yaml``."""
    return reading_files_by(_Source)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ConfigError: the file is too large, or has a key twice in one mapping.
        YAMLError: it is no YAML.
        OSError: it cannot be read.
    """
    root = read_node(path)
    with _slowly_if_wrong(path):
        return None if root is None else build(root)


def read_node(path: Path) -> yaml.Node | None:
    """Return a YAML file as its parser sees it, with the line of everything; raises as ``read_yaml`` does."""
    state = path.stat()
    known = _NODES.get(path)
    if known is not None and known[:2] == (state.st_mtime_ns, state.st_size):
        return known[2]
    size = state.st_size
    if size > MOST_BYTES:
        most = f"a configuration file may have {MOST_BYTES / 1e6:g} MB"
        raise ConfigError(Problem(shown_path(path), f"{size / 1e6:,.1f} MB; {most}: keep data in files of their own"))
    text = path.read_text(encoding="utf-8")
    with _slowly_if_wrong(path):
        _check_depth(text, path)
        root: yaml.Node | None = _Loader(text).get_single_node()
    if root is not None:
        _check_nodes(root, path)
    _NODES[path] = (state.st_mtime_ns, state.st_size, root)
    return root


def build(node: yaml.Node) -> Any:
    """Return what a node holds."""
    return _Loader("").construct_document(node)


@contextmanager
def _slowly_if_wrong(path: Path) -> Iterator[None]:
    """Read what is no YAML once more with the slow parser, which says more, the file's name among it."""
    try:
        yield
    except yaml.YAMLError:
        with path.open(encoding="utf-8") as file:
            yaml.load(file, Loader=yaml.SafeLoader)
        raise


def _check_depth(text: str, path: Path) -> None:
    """Refuse what would take parsers that call themselves beyond their stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                mark = event.start_mark
                place = f"{shown_path(path)}:{mark.line + 1}" if mark is not None else shown_path(path)
                raise ConfigError(Problem(place, f"more than {MOST_DEPTH} mappings and lists in each other; nest less"))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_nodes(root: yaml.Node, path: Path) -> None:
    counted: dict[int, int | None] = {}
    """Values by node; ``None`` while what it holds is being counted."""
    problems: list[Problem] = []

    def count(node: yaml.Node) -> int:
        key = id(node)
        if key not in counted:
            counted[key] = None
            scalar = isinstance(node, yaml.ScalarNode)
            inside = [] if scalar else [part for item in node.value for part in _parts(item)]
            if isinstance(node, yaml.MappingNode):
                problems.extend(_twice(node, path))
            counted[key] = 1 + sum(map(count, inside))
        values = counted[key]
        if values is None:
            place = f"{shown_path(path)}:{node.start_mark.line + 1}"
            raise ConfigError(Problem(place, "what this anchor names holds an alias of itself; write it out"))
        return values

    if count(root) > MOST_VALUES:
        most = f"more than {MOST_VALUES:,} keys and values, what aliases stand for counted each time"
        raise ConfigError(Problem(shown_path(path), f"{most}; write fewer"))
    if problems:
        raise ConfigError(*problems)


def _parts(item: Any) -> tuple[yaml.Node, ...]:
    return item if isinstance(item, tuple) else (item,)


def _twice(mapping: yaml.MappingNode, path: Path) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for key, _ in mapping.value:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.value in first:
            message = f"key '{key.value}' is given twice, first in line {first[key.value]}; keep one"
            yield Problem(f"{shown_path(path)}:{line}", message)
        elif isinstance(key, yaml.ScalarNode):
            first[key.value] = line


def shown_path(path: Path) -> str:
    """Return a path relative to the working folder where it lies inside."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
