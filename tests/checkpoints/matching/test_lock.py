"""The lock: written, read back, compared with a later network."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from expkit.checkpoints.matching.lock import diff_lock, lock_text, read_lock
from expkit.config.sections.restore import RestoreConfig
from expkit.errors import ConfigError
from expkit.tensor_spec import TensorSpec
from support.networks import spec_of
from support.plans import plan_between

BEFORE = """
layers:
  first: {kind: dense, units: 3}
  norm: {kind: batch_norm}
  last: {kind: dense, units: 2}
"""
AFTER = """
layers:
  first: {kind: dense, units: 3, scope: encoder, variables: {kernel: w}}
  norm: {kind: batch_norm, scale: false}
  more: {kind: dense, units: 7}
  last: {kind: dense, units: 2}
"""


def specs_of(text: str) -> dict[str, TensorSpec]:
    return {name: variable.spec for name, variable in spec_of(text).variables.items()}


def lock_of(text: str, folder: Path) -> dict[str, TensorSpec]:
    (folder / "lock.yaml").write_text(lock_text(spec_of(text), "expkit names --lock"))
    return read_lock(folder / "lock.yaml")


def test_locked_variables_are_read_back_in_order(tmp_path: Path) -> None:
    assert list(lock_of(BEFORE, tmp_path).items()) == list(specs_of(BEFORE).items())
    assert lock_of("layers: {a: {kind: flatten}}", tmp_path) == {}


def test_a_lock_states_its_purpose_and_its_command(tmp_path: Path) -> None:
    text = lock_text(spec_of(BEFORE), "expkit names network=mine --lock")
    assert text.startswith("# Every variable of the network by name")
    assert "# Written by: expkit names network=mine --lock\nvariables:\n  first/kernel: {shape: [4, 3], " in text


def test_an_unchanged_network_has_no_diff(tmp_path: Path) -> None:
    change = diff_lock(lock_of(BEFORE, tmp_path), spec_of(BEFORE))
    assert not change.orphans
    assert (dict(change.new), change.restore_section) == ({}, "")


def test_a_change_is_reported_with_rules_that_restore_earlier_checkpoints(tmp_path: Path) -> None:
    lock, now = lock_of(BEFORE, tmp_path), specs_of(AFTER)
    change = diff_lock(lock, spec_of(AFTER))
    assert change.orphans
    assert list(change.gone) == ["first/kernel", "first/bias", "norm/gamma"]
    assert list(change.new) == ["encoder/w", "encoder/bias", "more/kernel", "more/bias"]
    assert change.changed == {
        "last/kernel": (TensorSpec.of_variable((3, 2), "float32"), TensorSpec.of_variable((7, 2), "float32"))
    }
    section = change.restore_section
    assert section.splitlines() == [
        "restore:",
        "  rename:",
        "    - {name: first/kernel, to: encoder/w}",
        "    - {name: first/bias, to: encoder/bias}",
        "    # ambiguous: last/bias may be the same name",
        "  keep_initial: ['more/.*', last/kernel]",
    ]
    restore = RestoreConfig.model_validate(yaml.safe_load(section)["restore"], strict=False)
    shapes = [{name: spec.shape for name, spec in names.items()} for names in (now, lock)]
    plan = plan_between(*shapes, restore.keep_initial, rename=restore.rename)
    assert {item.variable: item.sources[0] for item in plan.assignments if item.sources != (item.variable,)} == {
        "encoder/w": "first/kernel",
        "encoder/bias": "first/bias",
    }
    assert plan.unused == {"restore": ("norm/gamma", "last/kernel")}


def test_only_new_variables_orphan_nothing(tmp_path: Path) -> None:
    change = diff_lock({}, spec_of(BEFORE))
    assert not change.orphans
    assert change.restore_section == "restore:\n  keep_initial: ['first/.*', 'norm/.*', 'last/.*']"


def test_ambiguous_names_are_commented_out(tmp_path: Path) -> None:
    one = "layers: {a: {kind: dense, units: 4, use_bias: false}, b: {kind: dense, units: 4, use_bias: false}}"
    change = diff_lock(lock_of(one, tmp_path), spec_of(one.replace("a:", "c:").replace("b:", "d:")))
    assert change.restore_section.splitlines() == [
        "restore:",
        "  # rename:",
        "    # ambiguous: c/kernel may be a/kernel, or b/kernel",
        "    # - {name: a/kernel, to: c/kernel}",
        "    # ambiguous: d/kernel may be b/kernel, or a/kernel",
        "    # - {name: b/kernel, to: d/kernel}",
    ]


def test_another_dtype_orphans_values_too() -> None:
    wide = TensorSpec.of_variable((4, 3), "float64")
    change = diff_lock(specs_of(BEFORE) | {"first/kernel": wide}, spec_of(BEFORE))
    assert (list(change.changed), change.orphans) == (["first/kernel"], True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "{file}: no such file; write it with expkit names --lock"),
        (b"\xff", "{file}: cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte; "
         "write it again with expkit names --lock"),
        (b"variables: [", "{file}: cannot be read: while parsing a flow node did not find expected node content in "
         '"<unicode string>", line 2, column 1; write it again with expkit names --lock'),
        (b"variables: !!binary aGk=", "{file}: cannot be read: Object of type bytes is not JSON "
         "serializable; write it again with expkit names --lock"),
        (b"", "{file}: needs a mapping, got nothing"),
        (b"names: {}", "{file}: variables: missing: it has no default (Variables by name); add variables=VALUE\n"
         "{file}: names: unknown field; allowed: variables"),
        (b"variables: {a: {shape: two, dtype: float32}}", "{file}: variables.a.shape: needs a list, got 'two' (text)"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_lock_is_rejected(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "lock.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_lock(file)
    assert str(caught.value) == said.replace("{file}", str(file))


def test_a_folder_is_not_a_lock(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: .*Is a directory"):
        read_lock(tmp_path)
