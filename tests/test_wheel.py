"""The wheel: what it carries, and that it works without a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from support.command_line import REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    flags = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet", "-w", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", str(REPOSITORY), *flags], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("expkit-*.whl")
    return file


def test_the_wheel_carries_the_package_and_its_configuration_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    modules = {file.relative_to(REPOSITORY).as_posix() for file in (REPOSITORY / "expkit").rglob("*.py")}
    conf = {f"expkit/conf/{file.relative_to(REPOSITORY / 'conf')}" for file in (REPOSITORY / "conf").rglob("*.yaml")}
    schemas = {f"expkit/schema/{file.name}" for file in (REPOSITORY / "schema").glob("*.json")}
    assert "expkit/conf/config.yaml" in conf
    assert "expkit/schema/network.json" in schemas
    embedded = ("iris.csv", "sentences.csv", "sentences_vocab.txt", "wine.csv")
    tables = {f"expkit/kinds/sources/embedded/{name}" for name in embedded}
    assert {name for name in names if ".dist-info/" not in name} == modules | conf | schemas | tables | {
        "expkit/py.typed"
    }


def test_nothing_in_the_wheel_points_to_documents_that_it_does_not_have(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        texts = {name: content.read(name).decode() for name in content.namelist() if not name.endswith("/RECORD")}
    assert any(name.endswith("/METADATA") for name in texts)
    pointing = re.compile(r"\bdocs/|\bbenchmarks/|\btests/|\b[\w/]+\.md\b|README|CONTRIBUTING|CHANGELOG")
    found = {name: match[0] for name, text in texts.items() if (match := pointing.search(text))}
    assert found == {}


def test_the_wheel_names_the_program(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        (points,) = (name for name in content.namelist() if name.endswith("entry_points.txt"))
        assert "expkit = expkit.cli.main:main" in content.read(points).decode()


def test_an_unpacked_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "expkit", *words]
        done = subprocess.run(
            command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert "layer1/kernel" in run("names")
    assert "tower/conv/kernel" in run("names", "experiment=siamese")
    assert yaml.safe_load(run("train", "--cfg", "job"))["run"]["name"] == "digits_mlp"
    assert str(tmp_path / "site" / "expkit" / "conf") in run("train", "--info", "searchpath")
