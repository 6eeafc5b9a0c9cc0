"""Which module may import which library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import expkit

PACKAGE = Path(expkit.__file__).parent
ALLOWED = {
    "tensorflow": ("tf1.py",),
    "mlflow": ("tracking/",),
    "hydra": ("config/", "cli/", "tracking/"),
    "omegaconf": ("config/", "cli/", "tracking/"),
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
