"""The verb ``schema``: to the terminal or a file, of the whole or of one section's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expkit.config.json_schema import FILES, file_schema, whole_schema
from expkit.config.search import builtin_conf
from expkit.sweeps.sweeper_selection import HydraSettings
from support.command_line import call, run


def test_the_schema_of_a_whole_configuration_is_printed(tmp_path: Path) -> None:
    done = call("schema", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == whole_schema()


@pytest.mark.parametrize("section", FILES)
def test_the_schema_of_a_sections_files_is_written_to_a_file(section: str, tmp_path: Path) -> None:
    done = call("schema", "mine.json", "--section", section, cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "wrote mine.json\n", "")
    assert json.loads((tmp_path / "mine.json").read_text()) == file_schema(section, HydraSettings)


def test_a_section_that_is_none_is_answered_with_those_that_are(tmp_path: Path) -> None:
    done = call("schema", "--section", "networks", cwd=tmp_path)
    assert done.code == 2
    known = ", ".join(f"'{name}'" for name in FILES)
    assert done.errors[-1].endswith(f"argument --section: invalid choice: 'networks' (choose from {known})")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    done = call("schema", "no/such.json", cwd=tmp_path)
    assert (done.code, done.errors) == (2, ["error: FILE: cannot write no/such.json (No such file or directory)"])


def test_the_kinds_of_a_plugin_are_in_the_schema() -> None:
    examples = builtin_conf().parent / "docs" / "examples"
    done = run("schema", "--section", "network", "--plugin", "my_layers.py", cwd=examples)
    assert (done.code, done.err) == (0, "")
    schema = json.loads(done.out)
    assert "gate" in schema["$defs"]["layer"]["properties"]["kind"]["anyOf"][0]["enum"]
    openness = schema["$defs"]["Gate"]["properties"]["openness"]
    assert openness["description"].startswith("Added to the input of the sigmoid")
    assert openness["anyOf"][0] == {"maximum": 10, "minimum": -10, "type": "number"}


def test_a_plugin_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = call("schema", "--plugin", "nosuch.py", cwd=tmp_path)
    assert done.code == 2
    assert "nosuch.py" in done.errors[0]
