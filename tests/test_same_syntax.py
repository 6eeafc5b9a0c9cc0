"""The program that holds two trees equal as syntax: what it passes over, and what it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import same_syntax
from support.same_syntax import Renames, compare

OLD = '''
"""A riddle."""

import os
from pkg.kin import near, wanted as w

__all__ = ["Thing", "told"]


class Thing:
    """What there is."""

    size: int = 0
    """How large."""

    def told(self, wanted: int) -> str:
        """Tell."""
        from pkg import kin
        from pkg import z

        return f"{z}{kin.near(wanted)} of pkg.kin {os.sep}"


def told(thing):
    "Tell of one."
    return near(thing.told(wanted=w))
'''
NEW = '''
"""Standard English."""

from pkg.family import nearest
from pkg.family import required as w
import os

__all__ = ["Thing", "told"]


class Thing:
    size: int = 0

    def told(self, required: int) -> str:
        from pkg import z, family

        return f"{z}{family.nearest(required)} of pkg.kin {os.sep}"


def told(thing):
    return nearest(thing.told(required=w))
'''
KIN = "def near(x):\n    return x\n\n\nwanted = 1\n"
FAMILY = "def nearest(x):\n    '''Return it.'''\n    return x\n\n\nrequired = 1\n"
RENAMES = Renames({"pkg.kin": "pkg.family"}, {"near": "nearest", "wanted": "required", "kin": "family"})


def test_docstrings_renames_and_the_order_of_imports_are_no_difference() -> None:
    found = compare({"pkg.a": OLD, "pkg.kin": KIN}, {"pkg.a": NEW, "pkg.family": FAMILY}, RENAMES)
    assert (found.differences, found.moved) == ([], [])


def test_all_that_is_not_renamed_is_a_difference() -> None:
    found = compare({"pkg.a": OLD, "pkg.kin": KIN}, {"pkg.a": NEW, "pkg.family": FAMILY}, Renames())
    assert {line.partition(":")[0] for line in found.differences} == {"pkg.a", "pkg.kin", "pkg.family"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return near(thing", "return near(1 + thing", "def told differs\n    -    return nearest(thing.told"),
        ("size: int = 0", "size: int = 1", "class Thing differs\n    -    size: int = 0"),
        ("of pkg.kin", "from pkg.kin", "class Thing differs"),
        ('__all__ = ["Thing", "told"]', '__all__ = ["Thing"]', "__all__: - told"),
        ("import os\n", "import os, sys\n", "imports: + import sys"),
        ("def told(thing)", "def said(thing)", "def told is gone"),
    ],
)
def test_a_change_is_reported(old: str, new: str, said: str) -> None:
    assert old in OLD
    found = compare(
        {"pkg.a": OLD}, {"pkg.a": OLD.replace(old, new).replace("near(", "nearest(")}, Renames({}, {"near": "nearest"})
    )
    assert any(line.startswith(f"pkg.a: {said}") for line in found.differences), found.differences


def test_words_may_be_any() -> None:
    old, new = {"a": "def f(x):\n    raise Error(f'no {x}', 'why')"}, {"a": "def f(x):\n    raise Error(f'{x}?', '')"}
    assert compare(old, new, Renames()).differences
    assert compare(old, new, Renames(), any_words=True).differences == []


def test_a_statement_that_moved_is_reported_but_no_difference() -> None:
    old = {"a": "import os\n\n\ndef f():\n    return os.sep\n\n\nx = 1", "b": "y = 2", "c": "from a import f"}
    new = {"a": "x = 1", "b": "import os\n\ny = 2\n\n\ndef f():\n    return os.sep\n", "c": "from b import f"}
    found = compare(old, new, Renames())
    assert (found.differences, found.moved) == ([], ["a: def f -> b"])


def test_two_modules_may_become_one() -> None:
    found = compare({"a": "x = 1", "b": "y = 2"}, {"c": "x = 1\ny = 2"}, Renames({"a": "c", "b": "c"}))
    assert (found.differences, found.moved) == ([], [])


def test_what_is_there_twice_is_there_twice() -> None:
    assert compare({"a": "f()\nf()"}, {"a": "f()"}, Renames()).differences == ["a: f is gone"]


def test_another_order_is_a_difference() -> None:
    found = compare({"a": "x = 1\ny = 2"}, {"a": "y = 2\nx = 1"}, Renames())
    assert found.differences == ["a: statements are in another order"]


def test_a_name_that_moved_is_imported_from_its_new_module() -> None:
    renames = Renames({"pkg.old": "pkg.sub.new"}, {"pkg.layer.Spec": "pkg.spec.TensorSpec", "Spec": "TensorSpec"})
    old = "from pkg.layer import Layer, Spec\nfrom pkg.old import f\nimport pkg.old.deep\nSpec, 'pkg.old.deep'"
    new = """\
import pkg.sub.new.deep
from pkg.layer import Layer
from pkg.spec import TensorSpec
from pkg.sub.new import f
TensorSpec, 'pkg.sub.new.deep'
"""
    found = compare({"m": old}, {"m": new}, renames)
    assert found.differences == []


def test_a_name_is_renamed_in_one_module_alone() -> None:
    renames = Renames(names_in={"a": {"x": "y"}})
    assert compare({"a": "x = 1", "b": "x = 1"}, {"a": "y = 1", "b": "x = 1"}, renames).differences == []


def test_the_program_compares_folders(tmp_path: Path) -> None:
    for side, name, source in (("old", "kin", KIN), ("new", "family", FAMILY)):
        (tmp_path / side / "pkg").mkdir(parents=True)
        (tmp_path / side / "pkg/__init__.py").write_text("")
        (tmp_path / side / f"pkg/{name}.py").write_text(source)
    (tmp_path / "map.json").write_text(json.dumps({"modules": RENAMES.modules, "names": RENAMES.names}))
    (tmp_path / "none.json").write_text("{}")

    def program(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, same_syntax.__file__, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = program("old", "new/pkg", "map.json")
    assert (done.returncode, done.stdout) == (0, "0 differences, 0 statements in other modules\n")
    assert program("old/pkg", "new/pkg", "none.json").returncode == 1
