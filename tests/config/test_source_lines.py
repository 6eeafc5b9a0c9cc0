"""Where a mistake stands: the file and line that set a key, or nothing where the command line did."""

from __future__ import annotations

from pathlib import Path

import pytest

from expkit.config.search import builtin_conf
from expkit.config.source_lines import locating_problems
from expkit.errors import ConfigError
from expkit.preflight import load_checked

pytestmark = pytest.mark.usefixtures("empty_folder")

NETWORK = """\
# A network with mistakes.
inputs:
  image: {shape: [64]}
layers:
  conv:
    kind: conv2d
    filters: 3
    strides: fast
  a.b:
    kind: dense
    unit: 3
  norm: {kind: batch_norm,
         momentum: 3}
outputs: {logits: norm}
"""


def write(file: str, text: str) -> None:
    path = Path("conf") / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def places(*overrides: str, config_dirs: tuple[str, ...] = ()) -> dict[str, str]:
    """Return file and line by path of the problems of a composition that has some."""
    with pytest.raises(ConfigError) as caught:
        load_checked(overrides, config_dirs)
    return {problem.path: problem.location for problem in caught.value.problems}


def place_of(path: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught, locating_problems(overrides):
        raise ConfigError.at(path, "wrong")
    return caught.value.problems[0].location


def test_every_mistake_of_a_file_is_located() -> None:
    write("network/mine.yaml", NETWORK)
    assert places("network=mine") == {
        "network.layers.conv.kernel_size": "conf/network/mine.yaml:5",
        "network.layers.conv.strides": "conf/network/mine.yaml:8",
        "network.layers.a.b.units": "conf/network/mine.yaml:9",
        "network.layers.a.b.unit": "conf/network/mine.yaml:11",
        "network.layers.norm.momentum": "conf/network/mine.yaml:13",
    }


def test_the_place_comes_before_the_path() -> None:
    write("ema/mine.yaml", "enabled: true\ndecay: 1.5\n")
    with pytest.raises(ConfigError) as caught:
        load_checked(["ema=mine"])
    expected = "conf/ema/mine.yaml:2: ema.decay: must be less than 1 (allowed: > 0 and < 1), got 1.5"
    assert str(caught.value) == expected


def test_mistakes_that_only_the_whole_network_shows_are_located_too() -> None:
    write("network/mine.yaml", NETWORK.split("  conv:")[0] + "  a: {kind: dense, units: 3}\n"
          "  sum: {kind: add, input: [a, image]}\noutputs: {logits: nosuch}\n")  # fmt: skip
    assert places("network=mine") == {
        "network.outputs.logits": "conf/network/mine.yaml:7",
        "network.layers.sum": "conf/network/mine.yaml:6",
    }


def test_a_value_from_the_command_line_has_no_file() -> None:
    write("network/mine.yaml", NETWORK)
    locations = places(
        "network=mine", "network.layers.conv.strides=0", "++network.layers.norm={kind: dense, units: -1}"
    )
    assert locations["network.layers.conv.strides"] == ""
    assert locations["network.layers.norm.units"] == ""
    assert locations["network.layers.a.b.unit"] == "conf/network/mine.yaml:11"


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("+network.layers.new.kind=dropout", "network.layers.new.rate"),
        ("~network.layers.layer1.units", "network.layers.layer1.units"),
        ("network.layers.layer1.unit=3", "network.layers.layer1.unit"),
        ("data.split.train=0.9", "data.split"),
        ("+restore.rename=[{to: x}]", "restore.rename[0]"),
    ],
)
def test_what_the_command_line_made_wrong_is_not_blamed_on_a_file(override: str, path: str) -> None:
    assert places(override) == {path: ""}


def test_what_is_missing_is_missing_in_the_file_around_it() -> None:
    write("network/mine.yaml", "inputs: {image: {shape: [64]}}\nlayers: {a: {kind: dense, units: 10}}\n")
    assert places("network=mine", "network.layers.a.units=9") == {"network.outputs": "conf/network/mine.yaml:1"}


def test_the_last_file_that_sets_a_key_is_the_one() -> None:
    write("experiment/mine.yaml", "# @package _global_\ndefaults:\n  - override /ema: default\n\nema:\n  decay: 3\n")
    assert places("experiment=mine") == {"ema.decay": "conf/experiment/mine.yaml:6"}
    write("experiment/mine.yaml", "# @package _global_\nema: {start_step: -1}\nrun:\n  name: a b\n")
    write("ema/mine.yaml", "decay: 3\n")
    locations = places("experiment=mine", "ema=mine")
    assert locations["ema.decay"] == "conf/ema/mine.yaml:1"
    assert locations["ema.start_step"] == "conf/experiment/mine.yaml:2"
    assert locations["run.name"] == "conf/experiment/mine.yaml:4"


def test_a_file_that_a_file_builds_on_is_found() -> None:
    write("ema/base.yaml", "enabled: true\n\ndecay: 3\n")
    write("ema/mine.yaml", "defaults: [base]\nstart_step: 3\n")
    assert places("ema=mine") == {"ema.decay": "conf/ema/base.yaml:3"}


def test_built_in_files_and_folders_of_ones_own_are_found() -> None:
    data = builtin_conf() / "data" / "table.yaml"
    assert places("data=table") == {"data.source.path": f"{data}:5"}
    folder = Path("more/ema")
    folder.mkdir(parents=True)
    (folder / "more.yaml").write_text("decay: 3\n")
    assert places("ema=more", config_dirs=("more",)) == {"ema.decay": "more/ema/more.yaml:1"}


def test_keys_are_found_through_anchors_and_in_lists() -> None:
    write(
        "network/mine.yaml",
        "inputs: {image: {shape: [64]}}\nlayers:\n  a: &a\n    kind: dense\n    units: 0\n  b:\n    <<: *a\n"
        "outputs: {logits: b}\n",
    )
    assert places("network=mine") == {
        "network.layers.a.units": "conf/network/mine.yaml:5",
        "network.layers.b.units": "conf/network/mine.yaml:5",
    }
    write("restore/mine.yaml", "rename:\n  - {name: a, to: b}\n  - name: c\n    axis: -1\n")
    assert places("restore=mine") == {"restore.rename[1].axis": "conf/restore/mine.yaml:4"}


@pytest.mark.parametrize("path", ["", "nosuch", "networks.layers", "--config-dir"])
def test_a_path_that_no_file_knows_has_no_place(path: str) -> None:
    assert place_of(path) == ""


def test_a_composition_that_fails_is_reported_unchanged() -> None:
    assert places("optimizer=nosuch") == {"optimizer": ""}
    write("ema/broken.yaml", "decay: [1\n")
    assert places("ema=broken") == {"configuration": ""}
    assert places(config_dirs=("no/such",)) == {"--config-dir": ""}
