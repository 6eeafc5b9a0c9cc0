"""Reader of YAML files with limits: files that are too large or too deep, or repeat a key, are rejected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import AnyNode, DictConfig, ListConfig, Node, OmegaConf

from expkit.config.hydra_internals import FileSource, fill, scalar_resolvers
from expkit.errors import ConfigError, Problem

__all__ = ["LimitedSource", "construct", "display_path", "literal", "read_node", "read_yaml"]

MAX_BYTES = 2_000_000
MAX_VALUES = 200_000
"""Keys and values of a file, with the contents of aliases counted each time."""
MAX_DEPTH = 150
"""Levels of nested mappings and lists; a scope takes two."""

_LITERAL_MISSING = """${oc.decode:???}"""
"""The text ``???``, which as it is says that a value is missing."""

_NODES: dict[Path, tuple[int, int, yaml.Node | None]] = {}
"""Parsed files with their modification time and size: a sweep composes them once for each of its jobs."""

_FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_FastLoader):  # type: ignore[misc,valid-type]  # libyaml is optional
    """libyaml's parser, ten times faster than PyYAML's, with OmegaConf's rules for numbers and text."""

    yaml_implicit_resolvers = scalar_resolvers()


class LimitedSource(FileSource):
    """Hydra's reader of files, with limits."""

    def read(self, path: Path) -> Node:
        """Return the content of a file.

        Raises:
            ConfigError: it is too large, has a key twice, or is not text.
        """
        try:
            content = read_yaml(path)
        except UnicodeDecodeError as error:
            message = f"is not UTF-8 text ({error.reason} at byte {error.start})"
            raise ConfigError.at(display_path(path), message) from None
        return _node(content) if isinstance(content, dict) else OmegaConf.create({} if content is None else content)


def _node(value: Any, key: Any = None, parent: DictConfig | None = None) -> Node:
    """Return the same as ``OmegaConf.create``, in half the time for large files."""
    if isinstance(value, list):
        return ListConfig(value, key=key, parent=parent)
    if not isinstance(value, dict):
        return AnyNode(value, key=key, parent=parent)
    if not all(isinstance(name, str) for name in value):
        return DictConfig(value, key=key, parent=parent)
    mapping = DictConfig({}, key=key, parent=parent)
    fill(mapping, {name: _node(inside, name, mapping) for name, inside in value.items()})
    return mapping


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        ConfigError: the file is too large, or has a key twice in one mapping.
        YAMLError: it is not YAML.
        OSError: it cannot be read.
    """
    root = read_node(path)
    with _detailed_errors(path):
        return None if root is None else construct(root)


def read_node(path: Path) -> yaml.Node | None:
    """Return the root node of a YAML file, with line numbers; raises the errors of ``read_yaml``."""
    state = path.stat()
    known = _NODES.get(path)
    if known is not None and known[:2] == (state.st_mtime_ns, state.st_size):
        return known[2]
    size = state.st_size
    if size > MAX_BYTES:
        limit = f"a configuration file may have {MAX_BYTES / 1e6:g} MB"
        raise ConfigError.at(display_path(path), f"{size / 1e6:,.1f} MB; {limit}: keep data in files of their own")
    text = path.read_text(encoding="utf-8")
    with _detailed_errors(path):
        _check_depth(text, path)
        root: yaml.Node | None = _Loader(text).get_single_node()
    if root is not None:
        _check_nodes(root, path)
    _NODES[path] = (state.st_mtime_ns, state.st_size, root)
    return root


def literal(value: Any) -> Any:
    """Return plain data as composed files write it, whose texts ``${...}`` and ``???`` then name no other value."""
    if isinstance(value, dict):
        return {key: literal(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [literal(inside) for inside in value]
    if not isinstance(value, str):
        return value
    return _LITERAL_MISSING if value == "???" else re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)


def construct(node: yaml.Node) -> Any:
    """Return the content of a node."""
    return _Loader("").construct_document(node)


@contextmanager
def _detailed_errors(path: Path) -> Iterator[None]:
    """Parse invalid YAML again with the slow parser, whose error has more details and the file's name."""
    try:
        yield
    except yaml.YAMLError:
        with path.open(encoding="utf-8") as file:
            yaml.load(file, Loader=yaml.SafeLoader)
        raise


def _check_depth(text: str, path: Path) -> None:
    """Reject nesting too deep for recursive parsers."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                mark = event.start_mark
                location = f"{display_path(path)}:{mark.line + 1}" if mark is not None else display_path(path)
                raise ConfigError.at(location, f"more than {MAX_DEPTH} nested mappings and lists; nest less")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_nodes(root: yaml.Node, path: Path) -> None:
    counted: dict[int, int | None] = {}
    """Values by node; ``None`` while its content is being counted."""
    problems: list[Problem] = []

    def count(node: yaml.Node) -> int:
        key = id(node)
        if key not in counted:
            counted[key] = None
            scalar = isinstance(node, yaml.ScalarNode)
            inside = [] if scalar else [child for item in node.value for child in _children(item)]
            if isinstance(node, yaml.MappingNode):
                problems.extend(_duplicate_keys(node, path))
            counted[key] = 1 + sum(map(count, inside))
        values = counted[key]
        if values is None:
            location = f"{display_path(path)}:{node.start_mark.line + 1}"
            raise ConfigError.at(location, "this anchor contains an alias of itself; write it out")
        return values

    if count(root) > MAX_VALUES:
        limit = f"more than {MAX_VALUES:,} keys and values, contents of aliases counted each time"
        raise ConfigError.at(display_path(path), f"{limit}; write fewer")
    if problems:
        raise ConfigError(*problems)


def _children(item: Any) -> tuple[yaml.Node, ...]:
    return item if isinstance(item, tuple) else (item,)


def _duplicate_keys(mapping: yaml.MappingNode, path: Path) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for key, _ in mapping.value:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.value in first:
            message = f"key '{key.value}' is given twice, first on line {first[key.value]}; keep one"
            yield Problem(f"{display_path(path)}:{line}", message)
        elif isinstance(key, yaml.ScalarNode):
            first[key.value] = line


def display_path(path: Path) -> str:
    """Return a path for messages, relative to the working folder if it is inside."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
