"""Which module may import which library."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import expkit

PACKAGE = Path(expkit.__file__).parent
ALLOWED = {
    "tensorflow": ("tf1.py", "export/model.py", "export/targets/runtimes.py"),  # the last two run without expkit
    "mlflow": ("tracking/",),
    "hydra": ("config/", "cli/", "runs/", "sweeps/", "tracking/"),
    "omegaconf": ("config/", "preflight.py", "cli/", "runs/", "sweeps/", "tracking/"),
    "matplotlib": ("plots/", "report/plots/"),
    "fcntl": ("fs.py",),
    "optuna": (
        *("sweeps/optuna_study.py", "sweeps/optuna_storage.py", "sweeps/optuna_internals.py"),
        *("sweeps/pruners.py", "sweeps/samplers.py"),
    ),
}


def imported(file: Path) -> Iterator[str]:
    """Yield the first part of every absolute import, wherever in the module it stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield ast.unparse(node.args[0]).strip("'").partition(".")[0]


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_the_libraries_of_its_room(file: Path) -> None:
    place = file.relative_to(PACKAGE).as_posix()
    wrong = {library for library in imported(file) if not place.startswith(ALLOWED.get(library, ("",)))}
    assert not wrong, f"{place} imports {sorted(wrong)}; allowed only in {[ALLOWED[library] for library in wrong]}"


FLOORS = (
    (
        "cache",
        "errors",
        "fs",
        "garbage",
        "machine",
        "metric_names",
        "npy_files",
        "protobuf_wire",
        "redact",
        "tensor_spec",
        "tf1",
        "timing",
    ),
    ("plugins", "provenance", "registry"),
    ("kinds",),
    ("config",),
    ("network", "run_folder", "run_lookup"),
    ("checkpoints", "data", "diagram", "preflight", "recorded"),
    ("importer", "starter", "training"),
    ("export", "plots"),
    ("report", "sweeps"),
    ("evaluation", "experiment", "result", "start", "trackers"),
    ("tracking",),
    ("runs",),
    ("__main__", "api", "cli", "expkit"),
)
"""Folders and single modules, lowest first: imports go down or stay on their floor."""
SPLIT = ("checkpoints",)
"""Folders whose own folders are houses by themselves."""


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "expkit"


def floor(module: str) -> int:
    folder = module.partition(".")[0]
    return next(number for number, names in enumerate(FLOORS) if folder in names)


def house(module: str) -> str:
    """Return the folder of a module; of a split one, the folder inside it."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in SPLIT and len(parts) > 2 else parts[0]


@cache
def own_modules() -> frozenset[str]:
    """Return the names of all modules of expkit."""
    return frozenset(name_of(other) for other in PACKAGE.rglob("*.py"))


@cache
def own_imports(file: Path) -> frozenset[str]:
    """Return the modules of expkit that a file imports, inside functions and for type checking too."""
    modules = own_modules()
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "expkit":
            base = str(node.module).partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base else alias.name
                found.add(inner if inner in modules else base or "expkit")
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] or "expkit" for a in node.names if a.name.partition(".")[0] == "expkit"}
    return frozenset(found)


def test_every_folder_stands_on_one_of_at_most_thirteen_floors() -> None:
    names = [name for floor_names in FLOORS for name in floor_names]
    assert len(FLOORS) <= 13
    assert sorted(names) == sorted({name_of(file).partition(".")[0] for file in PACKAGE.rglob("*.py")})


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=name_of)
def test_imports_go_down(file: Path) -> None:
    upwards = {other for other in own_imports(file) if floor(other) > floor(name_of(file))}
    assert not upwards, f"{name_of(file)} imports {sorted(upwards)} from a floor above it"


def test_no_folders_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        here = house(name_of(file))
        graph.setdefault(here, set()).update({house(other) for other in own_imports(file)} - {here})
    assert set(graphlib.TopologicalSorter(graph).static_order()) >= set(graph)


def test_no_modules_import_each_other() -> None:
    graph = {name_of(file): own_imports(file) - {name_of(file)} for file in PACKAGE.rglob("*.py")}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)
