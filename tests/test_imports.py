"""Which module may import which library."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import expkit

PACKAGE = Path(expkit.__file__).parent
ALLOWED = {
    "tensorflow": ("tf1.py", "export/model.py"),  # the latter is kept with the models that it loads
    "mlflow": ("tracking/",),
    "hydra": ("config/", "cli/", "sweeps/", "tracking/"),
    "omegaconf": ("config/", "cli/", "sweeps/", "tracking/"),
    "matplotlib": ("plots/",),
    "optuna": ("sweeps/study.py",),
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


# Rooms, lowest first: a module imports from its own room and from those before it.
ROOMS = (
    ("expkit", "dtypes", "errors", "masking", "registry", "plugins", "provenance", "timing", "tf1", "whole"),
    ("network", "network.names", "data", "training"),
    ("data.stored", "data.example", "data.records", "data.files"),
    ("network.initializers", "network.random", "network.layer", "network.layers", "data.sources", "data.tfrecord"),
    ("training.schedules", "training.optimizers", "training.losses", "training.metrics"),
    ("training.execution", "training.gradients", "training.multipliers", "training.snapshot", "training.state"),
    ("config",),
    ("network.expand", "network.lookup", "network.wellformed", "network.unfold", "network.order"),
    ("network.reading", "network.variables", "network.spec", "network.tensors"),
    (
        "training.ema",
        "preflight",
        "rundir",
        "network.build",
        "network.drawing",
        "network.drafting",
        "checkpoints",
        "data.dataset",
    ),
    ("data.pipeline", "data.stream", "plots", "report", "training.update"),
    ("training.step",),
    ("training.graphs",),
    ("training.executor", "checkpoints.restore"),
    ("training.loop", "training.autotune", "export"),
    ("experiment",),
    ("tracking",),
    ("sweeps",),
    ("cli", "__main__"),
)


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "expkit"


def room(module: str) -> int:
    """Return the room of the longest entry that the module's name begins with."""
    entries = {entry: place for place, names in enumerate(ROOMS) for entry in names}
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        if (entry := ".".join(parts[:count])) in entries:
            return entries[entry]
    raise AssertionError(f"no room for {module}")


def own_imports(file: Path) -> set[str]:
    modules = {name_of(other) for other in PACKAGE.rglob("*.py")}
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "expkit":
            base = str(node.module).partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base else alias.name
                found.add(inner if inner in modules else base or "expkit")
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] or "expkit" for a in node.names if a.name.partition(".")[0] == "expkit"}
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=name_of)
def test_imports_go_one_way(file: Path) -> None:
    upwards = {other for other in own_imports(file) if room(other) > room(name_of(file))}
    assert not upwards, f"{name_of(file)} imports {sorted(upwards)} from a later room"


def test_no_modules_import_each_other() -> None:
    # The list of verbs is read back by tab completion, inside a function.
    graph = {name_of(file): own_imports(file) - {"cli.main", name_of(file)} for file in PACKAGE.rglob("*.py")}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)
