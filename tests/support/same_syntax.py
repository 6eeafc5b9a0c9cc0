"""Hold two trees of Python equal as syntax, but for docstrings and a map of renames: moving shows to be nothing else.

    python tests/support/same_syntax.py OLD_TREE NEW_TREE MAP.json [--any-words]

Trees are folders that hold packages, or packages. The map, all of whose keys may be left out::

    {"modules": {"expkit.network.kin": "expkit.network.family"},
     "names": {"wanted": "required", "expkit.network.layer.TensorSpec": "expkit.tensor_spec.TensorSpec"},
     "names_in": {"expkit.cli.names": {"given": "arguments"}}}

A module stands for those below it. A plain name is renamed wherever it is an identifier, in ``names_in`` in one (old)
module; a dotted one where it is imported. What of strings is the path of a module is renamed too.

Top-level statements are compared one by one. One that stands in another module than the map says is told, but is no
difference, and imports of it may follow. Imports and ``__all__`` are compared as sets, and only of modules that no
statement left or entered. With ``--any-words`` all strings are equal, for a change that is one of messages too. Exit
code 1 where something differs.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

__all__ = ["Comparison", "Renames", "compare"]


@dataclass(frozen=True)
class Renames:
    """New names by old ones."""

    modules: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    names_in: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def module(self, path: str) -> str:
        """Return the new path of a module, or of what is in one."""
        for old in sorted(self.modules, key=len, reverse=True):
            if path == old or path.startswith(f"{old}."):
                return self.modules[old] + path[len(old) :]
        return path

    def imported(self, path: str, here: Mapping[str, str]) -> str:
        """Return the new path of what is imported: a module, or a name in one."""
        if path in self.names:
            return self.names[path]
        if (renamed := self.module(path)) != path:
            head, dot, name = renamed.rpartition(".")
            return f"{head}{dot}{name if path in self.modules else here.get(name, name)}"
        head, dot, name = path.rpartition(".")
        return f"{head}{dot}{here.get(name, name)}"

    def within(self, module: str) -> dict[str, str]:
        """Return how identifiers are renamed in an old module."""
        return {**{old: new for old, new in self.names.items() if "." not in old}, **self.names_in.get(module, {})}


@dataclass
class Comparison:
    """What was found."""

    differences: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    """Statements that stand in another module than the map says."""


@dataclass
class _Module:
    statements: dict[str, str]
    """Source by statement as ``ast.dump`` writes it, in order; one that is there twice has a number behind it."""
    apart: Mapping[str, set[str]]
    """What is compared as a set: imports, and what ``__all__`` lists."""


def _nothing() -> _Module:
    return _Module({}, {"imports": set(), "__all__": set()})


class _Renamed(ast.NodeTransformer):
    """Takes docstrings away and renames."""

    def __init__(self, renames: Renames, module: str, any_words: bool) -> None:
        self._renames, self._here, self._any_words = renames, renames.within(module), any_words

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for key, value in ast.iter_fields(node):
            if key in ("id", "attr", "arg", "name", "asname", "rest") and isinstance(value, str):
                setattr(node, key, self._here.get(value, value))
            elif key in ("names", "kwd_attrs") and value and isinstance(value[0], str):
                setattr(node, key, [self._here.get(name, name) for name in value])
            elif key == "body" and isinstance(value, list):
                setattr(node, key, _without_strings(value))
        visited = super().generic_visit(node)
        for key in ("body", "orelse", "finalbody"):
            if isinstance(value := getattr(visited, key, None), list):
                setattr(visited, key, _sorted_imports(value))
        return visited

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            node.value = "" if self._any_words else self._renames.module(node.value)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Constant("") if self._any_words else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> Any:
        return [
            ast.Import([ast.alias(self._renames.imported(name.name, self._here), self._bound(name.asname))])
            for name in sorted(node.names, key=lambda name: name.name)
        ]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        made = []
        for name in node.names:
            path = f"{node.module or ''}.{name.name}"
            head, _, new = (path if node.level else self._renames.imported(path, self._here)).rpartition(".")
            made.append(ast.ImportFrom(head, [ast.alias(new, self._bound(name.asname))], node.level))
        return sorted(made, key=ast.dump)

    def _bound(self, name: str | None) -> str | None:
        return None if name is None else self._here.get(name, name)


def _without_strings(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return statements without docstrings and strings below fields; ``pass`` where nothing is left."""
    left = [
        item
        for item in body
        if not (
            isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
        )
    ]
    return left or [ast.Pass()]


def _sorted_imports(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return statements with imports that follow each other in the order of their text."""
    made: list[ast.stmt] = []
    for is_import, items in groupby(body, lambda item: isinstance(item, ast.Import | ast.ImportFrom)):
        made += sorted(items, key=ast.unparse if is_import else lambda _: "")
    return made


def _read(source: str, module: str, renames: Renames, any_words: bool) -> _Module:
    tree = _Renamed(renames, module, any_words=False).visit(ast.parse(source))
    statements: dict[str, str] = {}
    seen: Counter[str] = Counter()
    apart: dict[str, set[str]] = {"imports": set(), "__all__": set()}
    here = renames.within(module)
    for item in tree.body:
        if isinstance(item, ast.Import | ast.ImportFrom):
            apart["imports"].add(ast.unparse(item))
        elif isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "__all__":
            apart["__all__"] |= {here.get(name, name) for name in ast.literal_eval(item.value)}
        elif not isinstance(item, ast.Pass):
            if any_words:
                item = _Renamed(Renames(), module, any_words=True).visit(item)
            dumped = ast.dump(item)
            seen[dumped] += 1
            statements[f"{dumped} {seen[dumped]}"] = ast.unparse(item)
    return _Module(statements, apart)


def compare(old: Mapping[str, str], new: Mapping[str, str], renames: Renames, *, any_words: bool = False) -> Comparison:
    """Compare two trees of sources by module."""
    before: dict[str, _Module] = {}
    for name, source in old.items():
        read, into = _read(source, name, renames, any_words), before.setdefault(renames.module(name), _nothing())
        into.statements.update(read.statements)
        for what, lines in read.apart.items():
            into.apart[what].update(lines)
    after = {name: _read(source, name, Renames(), any_words) for name, source in new.items()}
    nothing = _nothing()
    found = Comparison()
    gone = {name: _only(before[name], after.get(name, nothing)) for name in before}
    come = {name: _only(after[name], before.get(name, nothing)) for name in after}
    touched, follow = _match_moved(gone, come, found)
    for name in sorted({*before, *after}):
        was, is_now = before.get(name, nothing), after.get(name, nothing)
        found.differences += [f"{name}: {line}" for line in _differing(gone.get(name, {}), come.get(name, {}))]
        if name in touched:
            continue
        kept = [key for key in was.statements if key in is_now.statements]
        if kept != [key for key in is_now.statements if key in was.statements]:
            found.differences.append(f"{name}: statements are in another order")
        for what, lines in was.apart.items():
            old_lines, new_lines = {follow.get(line, line) for line in lines}, is_now.apart[what]
            found.differences += [f"{name}: {what}: - {line}" for line in sorted(old_lines - new_lines)]
            found.differences += [f"{name}: {what}: + {line}" for line in sorted(new_lines - old_lines)]
    return found


def _only(one: _Module, other: _Module) -> dict[str, str]:
    return {key: source for key, source in one.statements.items() if key not in other.statements}


def _match_moved(
    gone: Mapping[str, dict[str, str]], come: Mapping[str, dict[str, str]], found: Comparison
) -> tuple[set[str], dict[str, str]]:
    """Take out what left one module for another.

    Returns:
        The modules that something left or entered, and imports of what did so by the imports they were.
    """
    touched: set[str] = set()
    follow: dict[str, str] = {}
    places = {key: name for name, statements in come.items() for key in statements}
    for name, statements in gone.items():
        for key in list(statements):
            if (place := places.pop(key, None)) is not None:
                title = _title(statements.pop(key))
                found.moved.append(f"{name}: {title} -> {place}")
                come[place].pop(key)
                touched |= {name, place}
                what = title.rpartition(" ")[2]
                follow[f"from {name} import {what}"] = f"from {place} import {what}"
    return touched, follow


def _differing(gone: Mapping[str, str], come: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines in which statements of a module differ, those of the same name side by side."""
    new = {_title(source): source for source in come.values()}
    for source in gone.values():
        title = _title(source)
        if (other := new.pop(title, None)) is None:
            yield f"{title} is gone"
            continue
        lines = difflib.unified_diff(source.splitlines(), other.splitlines(), lineterm="", n=0)
        changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        yield "\n".join([f"{title} differs", *(f"    {line}" for line in changed)])
    yield from (f"{title} is new" for title in new)


def _title(source: str) -> str:
    """Return what a statement is called: the first line that is not a decorator, up to what it is given."""
    first = next(line for line in source.splitlines() if not line.startswith("@"))
    return first.partition("(")[0].partition(" = ")[0].partition(":")[0][:80]


def sources(tree: Path) -> dict[str, str]:
    """Return the sources of a tree by module."""
    root = tree.parent if (tree / "__init__.py").exists() else tree
    made = {}
    for file in sorted(tree.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        made[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text()
    return made


def main() -> int:
    """Compare, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD_TREE")
    parser.add_argument("new", type=Path, metavar="NEW_TREE")
    parser.add_argument("map", type=Path, metavar="MAP.json")
    parser.add_argument("--any-words", action="store_true", help="all strings are equal")
    given = parser.parse_args()
    renames = Renames(**json.loads(given.map.read_text()))
    found = compare(sources(given.old), sources(given.new), renames, any_words=given.any_words)
    for line in found.moved:
        print(f"moved: {line}")
    for line in found.differences:
        print(line)
    print(f"{len(found.differences)} differences, {len(found.moved)} statements in other modules")
    return int(bool(found.differences))


if __name__ == "__main__":
    raise SystemExit(main())
