"""The verb ``check``: its report of an edit, and its exit codes for pipelines."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import call

NETWORK = """\
inputs: {image: {shape: [64]}}
layers:
  hidden: {kind: dense, units: 16, scope: encoder/hidden}
  logits: {kind: dense, units: 10}
outputs: {logits: logits}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a network of its own and its lock."""
    (tmp_path / "conf" / "network").mkdir(parents=True)
    (tmp_path / "conf" / "network" / "mine.yaml").write_text(NETWORK)
    assert call("names", "network=mine", "--lock", cwd=tmp_path).code == 0
    return tmp_path


def edit(project: Path, before: str, after: str) -> None:
    file = project / "conf" / "network" / "mine.yaml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


def test_a_network_as_locked_passes(project: Path) -> None:
    done = call("check", "network=mine", cwd=project)
    assert (done.code, done.out, done.err) == (0, "network.lock.yaml: all 4 variables as locked\n", "")


def test_an_edit_without_other_variables_passes(project: Path) -> None:
    edit(project, "units: 16", "units: 16, activation: relu")
    edit(project, "  logits:", "  drop: {kind: dropout, rate: 0.5}\n  logits:")
    assert call("check", "network=mine", cwd=project).code == 0


RENAMED = """\
network.lock.yaml: this edit would orphan 2 of the values in earlier checkpoints
  gone     encoder/hidden/kernel [64, 16] float32
  gone     encoder/hidden/bias [16] float32
  new      body/hidden/kernel [64, 16] float32
  new      body/hidden/bias [16] float32

to restore earlier checkpoints (restore.from names the checkpoint):

restore:
  rename:
    - {pattern: 'encoder/(.*)', to: 'body/\\1'}

if the edit is intended, write the lock again: expkit names --lock
"""


def test_a_renamed_scope_fails_with_the_rule_that_fixes_it(project: Path) -> None:
    edit(project, "encoder/", "body/")
    done = call("check", "network=mine", cwd=project)
    assert (done.code, done.out, done.err) == (1, RENAMED, "")


ADDED = """\
network.lock.yaml: 2 new; every value in earlier checkpoints still has its variable
  new      more/kernel [16, 16] float32
  new      more/bias [16] float32

to restore earlier checkpoints (restore.from names the checkpoint):

restore:
  keep_initial: ['more/.*']

if the edit is intended, write the lock again: expkit names --lock
"""


def test_a_new_layer_passes_with_a_list_of_variables_that_old_checkpoints_lack(project: Path) -> None:
    edit(project, "  logits:", "  more: {kind: dense, units: 16}\n  logits:")
    done = call("check", "network=mine", cwd=project)
    assert (done.code, done.out, done.err) == (0, ADDED, "")


def test_another_shape_fails(project: Path) -> None:
    done = call("check", "network=mine", "network.layers.logits.units=12", cwd=project)
    assert done.code == 1
    assert "  changed  logits/kernel [16, 10] float32, now [16, 12] float32\n" in done.out
    assert "restore:\n  keep_initial: ['logits/.*']\n" in done.out


def test_a_removed_layer_fails(project: Path) -> None:
    edit(project, "  hidden: {kind: dense, units: 16, scope: encoder/hidden}\n", "")
    done = call("check", "network=mine", cwd=project)
    assert done.code == 1
    assert "  gone     encoder/hidden/kernel [64, 16] float32\n" in done.out


def test_the_printed_rules_restore_an_old_checkpoint(project: Path) -> None:
    short = ["network=mine", "train.steps=1", "tracking=none", "export=none"]
    assert call("train", *short, "hydra.run.dir=old", cwd=project).code == 0
    edit(project, "encoder/", "body/")
    printed = call("check", "network=mine", cwd=project).out
    section = printed[printed.index("restore:") : printed.index("\nif the edit")]
    (project / "conf" / "restore").mkdir()
    (project / "conf" / "restore" / "mend.yaml").write_text(
        "from: old\n" + "".join(line[2:] + "\n" for line in section.splitlines()[1:])
    )
    done = call("train", *short, "restore=mend", "hydra.run.dir=new", cwd=project)
    assert (done.code, done.err) == (0, "")


def test_a_mistake_has_exit_code_2(project: Path) -> None:
    done = call("check", "network=mine", "--lock", "nosuch.yaml", cwd=project)
    said = "error: nosuch.yaml: no such file; write it with expkit names --lock"
    assert (done.code, done.errors, done.out) == (2, [said], "")
    done = call("check", "network=mine", "network.layers.logits.units=0", cwd=project)
    assert (done.code, done.out) == (2, "")


def test_without_a_lock_the_whole_configuration_is_checked(tmp_path: Path) -> None:
    done = call("check", cwd=tmp_path)
    said = (
        "no mistake found: 4 variables, 4 trained\n"
        "network.lock.yaml: none, so names are not compared; expkit names --lock writes it\n"
    )
    assert (done.code, done.out, done.err) == (0, said, "")
    done = call("check", "+network.layers.unused={kind: dense, units: 3, input: layer1}", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "unused/kernel" in done.err
    done = call("check", "train.losses.main.output=nosuch", cwd=tmp_path)
    assert done.errors == ["error: train.losses.main.output: no output 'nosuch'; allowed: logits"]
