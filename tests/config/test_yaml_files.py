"""Configuration files: read as OmegaConf reads them, refused beyond limits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hydra._internal.sources_registry import SourcesRegistry
from omegaconf import DictConfig, ListConfig, Node, OmegaConf

from expkit.config.load import load
from expkit.config.search import builtin_conf, searching
from expkit.config.yaml_files import MAX_BYTES, read_yaml
from expkit.errors import ConfigError

ANY = """
numbers: [1, -2, 1.5, 1e-3, 1_000, 0x1F, 0o17, .5, 1:30, +3, 1., 5e6]
words: [yes, "no", 'null', ~, null, on, 2020-01-01, true, "1.0", 1e, 0b2]
special: [.inf, -.inf]
base: &base {a: 1, b: [x, y]}
merged: {<<: *base, b: 2}
again: *base
text: |
  two
  lines
? key
: value
3: three
true: four
empty:
"""


def file(folder: Path, content: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    return [str(problem) for problem in caught.value.problems]


def test_a_file_is_read_as_omegaconf_reads_it(empty_folder: Path) -> None:
    path = file(empty_folder, ANY)
    assert OmegaConf.create(read_yaml(path)) == OmegaConf.load(path)
    assert read_yaml(path)["numbers"][3] == 1e-3
    assert read_yaml(path)["special"] == [math.inf, -math.inf]
    assert read_yaml(file(empty_folder, "# nothing\n")) is None


@pytest.mark.parametrize(
    "path", sorted(builtin_conf().rglob("*.yaml")), ids=lambda path: path.relative_to(builtin_conf()).as_posix()
)
def test_the_built_in_files_are_read_as_omegaconf_reads_them(path: Path) -> None:
    assert OmegaConf.create(read_yaml(path)) == OmegaConf.load(path)


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        pytest.param(
            "a:\n  b: 1\n  c: 2\n  b: 3\nd: {e: 1, f: {g: 1, g: 2}}\na: 4\n",
            [
                "mine.yaml:6: key 'a' is given twice, first on line 1; keep one",
                "mine.yaml:4: key 'b' is given twice, first on line 2; keep one",
                "mine.yaml:5: key 'g' is given twice, first on line 5; keep one",
            ],
            id="keys given twice",
        ),
        pytest.param(
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{n}: &{n} [{', '.join([f'*{p}'] * 10)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            ["mine.yaml: more than 200,000 keys and values, contents of aliases counted each time; write fewer"],
            id="anchors that explode",
        ),
        pytest.param(
            "a: 1\nb: &b\n  c: [*b]\n",
            ["mine.yaml:2: this anchor contains an alias of itself; write it out"],
            id="an anchor that holds itself",
        ),
        pytest.param(
            "a:\n" + " [\n" * 300_000,
            ["mine.yaml:151: more than 150 nested mappings and lists; nest less"],
            id="lists nested beyond any stack",
        ),
    ],
)
def test_a_file_beyond_limits_is_refused_with_its_line(empty_folder: Path, content: str, problems: list[str]) -> None:
    assert problems_of(file(empty_folder, content)) == problems


def test_a_file_that_is_too_large_is_refused_unread(empty_folder: Path) -> None:
    path = empty_folder / "mine.yaml"
    with path.open("wb") as sparse:
        sparse.truncate(100_000_000)
    assert problems_of(path) == [
        "mine.yaml: 100.0 MB; a configuration file may have 2 MB: keep data in files of their own"
    ]
    assert read_yaml(file(empty_folder, f"a: {'x' * (MAX_BYTES - 4)}\n"))["a"].startswith("x")


def test_invalid_yaml_is_reported_by_the_parser_with_the_files_name(empty_folder: Path) -> None:
    path = file(empty_folder, "a: [1\n")
    with pytest.raises(yaml.YAMLError, match=f'while parsing a flow sequence\n  in "{path}", line 1, column 4'):
        read_yaml(path)


@pytest.mark.parametrize("content", [ANY, "a: ${b}\nb: '???'\nc: {d: [1, {e: '${a}'}], f: {}, g: null, h: []}\n"])
def test_hydra_gets_what_omegaconf_would_make_of_a_file(empty_folder: Path, content: str) -> None:
    path = file(empty_folder, content)
    with searching():
        got = SourcesRegistry.instance().resolve("file")("test", f"file://{empty_folder}").load_config("mine").config
    expected = OmegaConf.load(path)
    assert got == expected
    assert _values(got) == _values(expected)


def _values(config: DictConfig | ListConfig) -> list[tuple[str, object, object]]:
    """Return type, key and place of every node, interpolations as they stand."""
    told: list[tuple[str, object, object]] = [(type(config).__name__, config._key(), config._get_full_key(None))]
    for key in range(len(config)) if isinstance(config, ListConfig) else list(config):
        node = config._get_node(key)
        assert isinstance(node, Node)
        inside = isinstance(node, DictConfig | ListConfig) and not node._is_none()
        told += _values(node) if inside else [(type(node).__name__, node._key(), node._get_full_key(None))]
    return told


def test_hydra_reads_by_the_same_limits_and_gives_its_reader_back(empty_folder: Path) -> None:
    (empty_folder / "conf" / "network").mkdir(parents=True)
    own = empty_folder / "conf" / "network" / "mine.yaml"
    own.write_text("outputs: {logits: logits}\noutputs: {}\n")
    with pytest.raises(ConfigError) as caught:
        load(["network=mine"])
    assert str(caught.value) == "conf/network/mine.yaml:2: key 'outputs' is given twice, first on line 1; keep one"
    assert load([]).run.name == "digits_mlp"
