"""Prefixes, folders, runs and files that locate a file of variables."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.formats.locate import ALLOWED, VariableFile, locate
from expkit.checkpoints.listing import checkpoints_in
from expkit.checkpoints.store import CheckpointStore
from expkit.errors import CheckpointError
from support.experiments import checkpoint_values, write_checkpoint


def found(source: Path | str) -> VariableFile:
    return locate(str(source), "restore.from")


def said(source: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        found(source)
    return str(caught.value)


def written(prefix: str, value: float) -> bool:
    write_checkpoint(Path(prefix), {"v": value})
    return True


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a run folder with two checkpoints."""
    kept = CheckpointStore(tmp_path / "run/checkpoints", keep_last=3, best_metric=None, best_mode="min")
    for step in (1, 2):
        kept.save(partial(written, value=float(step)), b"graph", step, {}, {})
    return tmp_path / "run"


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_name_is_not_the_working_folder(saved: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(saved)
    with pytest.raises(CheckpointError) as caught:
        found(source)
    assert str(caught.value) == f"restore.from: is empty; {ALLOWED}"
    with pytest.raises(CheckpointError, match="folder: is empty; allowed: "):
        checkpoints_in(source, "folder")


@pytest.mark.parametrize(
    ("source", "prefix"),
    [
        ("", "checkpoints/step-00000002/model"),
        ("checkpoints", "checkpoints/step-00000002/model"),
        ("checkpoints/step-00000001", "checkpoints/step-00000001/model"),
        ("checkpoints/step-00000001/model", "checkpoints/step-00000001/model"),
        ("checkpoints/step-00000001/model.index", "checkpoints/step-00000001/model"),
    ],
    ids=["run folder", "folder with a pointer", "folder of one checkpoint", "prefix", "index"],
)
def test_a_checkpoint_is_found_by(saved: Path, source: str, prefix: str) -> None:
    assert found(saved / source) == VariableFile(saved / prefix, "v2")


def test_a_home_folder_is_written_with_a_tilde(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    assert found("~/run").path == saved / "checkpoints/step-00000002/model"


def test_the_working_folder_may_be_the_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved)
    assert found(".").path == Path("checkpoints/step-00000002/model")
    monkeypatch.chdir(saved / "checkpoints")
    assert found("..").path == Path("../checkpoints/step-00000002/model")


def test_a_copied_run_still_finds_its_latest_checkpoint(saved: Path) -> None:
    moved = saved.rename(saved.with_name("moved"))
    assert checkpoint_values(found(moved).path) == {"v": 2.0}


def test_a_pointer_to_a_missing_file_names_the_file(saved: Path) -> None:
    (saved / "checkpoints/step-00000002/model.index").unlink()
    assert said(saved) == (
        f"restore.from: {saved}/checkpoints/checkpoint names step-00000002/model, whose .index file is missing"
    )


@pytest.mark.parametrize("version", [tf.train.SaverDef.V2, tf.train.SaverDef.V1], ids=["v2", "v1"])
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_checkpoints_of_a_plain_saver_are_found(tmp_path: Path, version: int, sharded: bool) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=3.0)
        session.run(tf.global_variables_initializer())
        for step in (10, 20):
            saver = tf.train.Saver(write_version=version, sharded=sharded)
            saver.save(session, str(tmp_path / "model.ckpt"), global_step=step)
    format, end = ("v2", "") if version == tf.train.SaverDef.V2 else ("v1", "-?????-of-00001" if sharded else "")
    assert found(tmp_path) == VariableFile(tmp_path / f"model.ckpt-20{end}", format)
    assert found(tmp_path / "model.ckpt-10") == VariableFile(tmp_path / f"model.ckpt-10{end}", format)
    listed = checkpoints_in(str(tmp_path), "here")
    assert [(item.path, item.step, item.latest) for item in listed] == [
        (tmp_path / f"model.ckpt-{step}{end}", step, step == 20) for step in (10, 20)
    ]
    assert all(item.size > 40 for item in listed)
    (tmp_path / "checkpoint").unlink()
    assert said(tmp_path) == (
        f"restore.from: several checkpoints in {tmp_path}; give the prefix of one: "
        f"model.ckpt-10{end}, model.ckpt-20{end}"
    )
    assert [item.latest for item in checkpoints_in(str(tmp_path), "here")] == [False, False]


def test_the_variables_of_a_saved_model_are_found(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "variables" / "variables", {"v": 1.0})
    assert found(tmp_path) == VariableFile(tmp_path / "variables" / "variables", "v2")


def test_the_error_for_another_file_lists_what_is_allowed(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "absent", tmp_path / "absent/too"):
        assert said(source) == f"restore.from: no checkpoint at {source}; {ALLOWED}"
    np.save(tmp_path / "one.npy", np.zeros(3))
    assert said(tmp_path / "one.npy") == (
        f"restore.from: {tmp_path}/one.npy is damaged or not a file of variables; {ALLOWED}"
    )


def test_names_that_no_system_accepts_are_reported() -> None:
    assert said(Path("a" * 300)).startswith(f"restore.from: cannot read {'a' * 300}: [Errno 36] File name too long: ")
    with pytest.raises(CheckpointError, match=r"here: cannot read a+: \[Errno 36\] File name too long"):
        checkpoints_in("a" * 300, "here")
    assert said(Path("~nobody-of-this-name/x")) == (
        f"restore.from: cannot read ~nobody-of-this-name/x: Could not determine home directory; {ALLOWED}"
    )


def test_a_damaged_record_is_named_where_checkpoints_are_listed(saved: Path) -> None:
    record = saved / "checkpoints/step-00000001/checkpoint.json"
    record.write_text("[]")
    with pytest.raises(CheckpointError) as caught:
        checkpoints_in(str(saved), "here")
    assert (
        str(caught.value)
        == f"{record}: damaged (checkpoint.json cannot be read); delete it to list the checkpoint without its metrics"
    )


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("it's.ckpt-7", rb"it\'s.ckpt-7"),
        ("\u00e8.ckpt-7", rb"\303\250.ckpt-7"),
        ("\u00e8.ckpt-7", "\u00e8.ckpt-7".encode()),
        ('a"b\\c.ckpt', rb"a\"b\\c.ckpt"),
        ("tab\t.ckpt", rb"tab\t.ckpt"),
        ("x.ckpt", rb"\x78.ckpt"),
    ],
)
def test_a_pointer_is_read_with_the_escapes_in_which_tensorflow_writes_it(
    tmp_path: Path, name: str, written: bytes
) -> None:
    (tmp_path / "checkpoint").write_bytes(b'model_checkpoint_path: "' + written + b'"\n')
    for other in (name, "other.ckpt"):
        (tmp_path / f"{other}.index").touch()
    assert locate(str(tmp_path), "SOURCE") == VariableFile(tmp_path / name, "v2")


def test_a_pointer_that_tensorflow_writes_is_read(tmp_path: Path) -> None:
    for name in ('it\'s "q" \u00e8\\n.ckpt-7', "plain.ckpt-8"):
        tf.train.update_checkpoint_state(str(tmp_path), name, [name])
        (tmp_path / f"{name}.index").touch()
        assert locate(str(tmp_path), "SOURCE").path == tmp_path / name


def test_a_moved_folder_whose_pointer_is_absolute_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "step-00000007").mkdir()
    for inside in ("model.ckpt-7", "step-00000007/model"):
        (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "/gone/{inside}"\n')
        (tmp_path / f"{inside}.index").touch()
        caplog.clear()
        assert locate(str(tmp_path), "SOURCE").path == tmp_path / inside
        assert caplog.messages == [
            f"{tmp_path}/checkpoint names /gone/{inside}, which is missing; {tmp_path}/{inside} is read in its place"
        ]
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/gone/nosuch"\n')
    with pytest.raises(CheckpointError, match=r"checkpoint names /gone/nosuch, whose \.index file is missing"):
        locate(str(tmp_path), "SOURCE")
