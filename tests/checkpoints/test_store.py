"""Checkpoints on disk: complete or absent, the last and the best kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from expkit import tf1 as tf
from expkit.checkpoints.formats.locate import locate
from expkit.checkpoints.store import Checkpoint, CheckpointStore
from expkit.errors import CheckpointError
from support.experiments import checkpoint_values, write_checkpoint


def store(
    folder: Path, keep_last: int = 3, best: str | None = "valid/loss", mode: Literal["max", "min"] = "min"
) -> CheckpointStore:
    return CheckpointStore(folder, keep_last=keep_last, best_metric=best, best_mode=mode)


def writing(value: float) -> Callable[[str], bool]:
    """Return a writer of one variable."""
    return lambda prefix: bool(write_checkpoint(Path(prefix), {"v": value}))


def save(to: CheckpointStore, step: int, loss: float | None = None) -> Checkpoint:
    return to.save(writing(float(step)), b"graph", step, {} if loss is None else {"valid/loss": loss}, {})


def steps(of: CheckpointStore) -> list[int]:
    return [checkpoint.step for checkpoint in of.all()]


def test_save_keeps_variables_graph_metrics_and_state(tmp_path: Path) -> None:
    state = {"loss": {"sum": 0.1 + 0.2, "count": 3.0}}
    store(tmp_path).save(writing(7.0), b"graph", 5, {"valid/loss": 0.3}, state)
    found = store(tmp_path).latest()
    assert found == Checkpoint(
        step=5, prefix=tmp_path / "step-00000005/model", metrics={"valid/loss": 0.3}, state=state
    )
    assert (tmp_path / "step-00000005/model.meta").read_bytes() == b"graph"
    assert checkpoint_values(found.prefix) == {"v": 7.0}


def test_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    kept = store(tmp_path, keep_last=2, best=None)
    for step in (1, 2, 3, 4):
        save(kept, step, loss=float(step))
    assert steps(kept) == [3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "step-00000003", "step-00000004"]


@pytest.mark.parametrize(("keep_last", "forced"), [(1, {1, 2}), (2, {1, 2}), (3, {1, 2, 3})])
def test_a_checkpoint_is_deleted_only_after_another_is_forced_to_the_disk(
    keep_last: int, forced: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(tmp_path, keep_last=keep_last, best=None)
    for step in range(1, keep_last + 1):
        save(kept, step)
    first, fsync = tmp_path / "step-00000001", os.fsync
    seen = set()

    def noting(opened: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{opened}"))
        assert first.is_dir()
        if path.name.startswith("model.data"):
            seen.add(int(path.parent.name.removeprefix("step-")))
        fsync(opened)

    monkeypatch.setattr(os, "fsync", noting)
    save(kept, keep_last + 1)
    assert seen == forced
    assert not first.exists()


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 3)])
def test_the_best_checkpoint_is_kept_too_and_the_earlier_of_equals(
    tmp_path: Path, mode: Literal["max", "min"], best: int
) -> None:
    kept = store(tmp_path, keep_last=1, mode=mode)
    for step, loss in ((1, 0.5), (2, 0.1), (3, 0.9), (4, 0.9), (5, 0.1), (6, None)):
        save(kept, step, loss)
    assert steps(kept) == [best, 6]
    found = kept.best()
    assert found is not None
    assert found.step == best


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_that_is_not_a_number_is_never_the_best(tmp_path: Path, mode: Literal["max", "min"]) -> None:
    kept = store(tmp_path, mode=mode)
    for step, loss in ((1, float("nan")), (2, 0.5), (3, float("nan"))):
        save(kept, step, loss)
    found = kept.best()
    assert found is not None
    assert found.step == 2


def test_without_an_evaluated_checkpoint_there_is_no_best(tmp_path: Path) -> None:
    kept = store(tmp_path)
    assert (kept.latest(), kept.best(), kept.all()) == (None, None, [])
    save(kept, 1)
    assert kept.best() is None


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for step in (99_999_999, 100_000_000):
        save(kept, step)
    latest = kept.latest()
    assert latest is not None
    assert latest.step == 100_000_000


def test_tensorflow_finds_the_latest_checkpoint_by_the_pointer_file(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for step in (1, 2):
        save(kept, step)
    latest = tf.train.latest_checkpoint(str(tmp_path))
    assert latest == str(tmp_path / "step-00000002/model")
    assert checkpoint_values(latest) == {"v": 2.0}


def test_a_step_saved_again_replaces_the_earlier(tmp_path: Path) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    kept.save(writing(9.0), b"graph", 1, {}, {})
    assert (steps(kept), checkpoint_values(tmp_path / "step-00000001/model")) == ([1], {"v": 9.0})


def full_disk(error: BaseException) -> Callable[[str], bool]:
    """Return a writer that fails half way through."""

    def write(prefix: str) -> bool:
        Path(prefix + ".data-00000-of-00001").write_bytes(b"half")
        raise error

    return write


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "[Errno 28] No space left on device"),
    ],
    ids=["system", "TensorFlow"],
)
def test_a_failed_save_leaves_earlier_checkpoints_intact_and_no_partial_one(tmp_path: Path, error: Exception) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    with pytest.raises(CheckpointError) as caught:
        kept.save(full_disk(error), b"graph", 2, {}, {})
    assert str(caught.value) == (
        f"{tmp_path}: step 2 could not be saved ([Errno 28] No space left on device); earlier checkpoints are intact: "
        "fix that, and run.resume continues from the last"
    )
    assert steps(kept) == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "step-00000001"]
    assert checkpoint_values(locate(str(tmp_path), "restore.from").path) == {"v": 1.0}


def test_a_bug_is_not_reported_as_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        store(tmp_path).save(full_disk(ZeroDivisionError()), b"graph", 2, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_killed_save_is_ignored_and_cleaned_up_by_the_next(tmp_path: Path) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    partial = tmp_path / ".step-00000002.partial"
    partial.mkdir()
    (partial / "model.index").write_bytes(b"half")
    assert steps(kept) == [1]
    save(kept, 2)
    assert (steps(kept), partial.exists()) == ([1, 2], False)


def test_a_checkpoint_killed_before_the_pointer_moved_is_still_the_latest(tmp_path: Path) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    pointer = (tmp_path / "checkpoint").read_text()
    save(kept, 2)
    (tmp_path / "checkpoint").write_text(pointer)
    latest = kept.latest()
    assert latest is not None
    assert latest.step == 2


def flip(file: Path, place: int = -1) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def record_of(folder: Path) -> str:
    return (folder / "checkpoint.json").read_text()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "record cut off": (lambda at: (at / "checkpoint.json").write_text('{"step": 2'), "checkpoint.json cannot be read"),
    "record empty": (lambda at: (at / "checkpoint.json").write_text(""), "checkpoint.json cannot be read"),
    "record is not an object": (lambda at: (at / "checkpoint.json").write_text("[]"), "checkpoint.json cannot be read"),
    "record gone": (lambda at: (at / "checkpoint.json").unlink(), "checkpoint.json cannot be read"),
    "record changed": (
        lambda at: (at / "checkpoint.json").write_text(record_of(at).replace('"step": 2', '"step": 3')),
        "checkpoint.json does not have the checksum with which it was written",
    ),
    "values cut off": (
        lambda at: os.truncate(at / "model.data-00000-of-00001", 3),
        "model.data-00000-of-00001 has 3 bytes, 4 were written",
    ),
    "values gone": (
        lambda at: (at / "model.data-00000-of-00001").unlink(),
        "model.data-00000-of-00001 is missing",
    ),
    "index flipped": (
        lambda at: flip(at / "model.index", 9),
        "model.index does not have the checksum with which it was written",
    ),
    "graph flipped": (
        lambda at: flip(at / "model.meta"),
        "model.meta does not have the checksum with which it was written",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store(tmp_path)
    for step in (1, 2):
        save(kept, step)
    spoil, why = DAMAGES[damage]
    spoil(tmp_path / "step-00000002")
    found = store(tmp_path)
    for _ in range(2):
        latest = found.latest()
        assert latest is not None
        assert latest.step == 1
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"{tmp_path / 'step-00000002'} is damaged and skipped: {why}"]


def test_a_damaged_checkpoint_is_replaced_when_its_step_is_saved_again(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for step in (1, 2):
        save(kept, step)
    flip(tmp_path / "step-00000002/model.index", 9)
    found = store(tmp_path)
    assert found.latest() is not None
    save(found, 2)
    assert steps(found) == [1, 2]
    assert checkpoint_values(tmp_path / "step-00000002/model") == {"v": 2.0}


def test_where_every_checkpoint_is_damaged_each_is_named(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for step in (1, 2):
        save(kept, step)
    for step in (1, 2):
        (tmp_path / f"step-0000000{step}/checkpoint.json").write_text("")
    with pytest.raises(CheckpointError) as caught:
        store(tmp_path).latest()
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/step-0000000{step}: checkpoint.json cannot be read; no other checkpoint is intact: "
        f"delete {tmp_path} to start again"
        for step in (1, 2)
    ]


def test_checkpoints_at_multiples_are_kept_forever(tmp_path: Path) -> None:
    kept = CheckpointStore(tmp_path, keep_last=1, keep_every_steps=3, best_metric=None, best_mode="max")
    for step in range(1, 9):
        save(kept, step)
    assert steps(kept) == [3, 6, 8]


def test_the_newest_finite_checkpoint_is_kept_and_found_and_others_are_never_the_best(tmp_path: Path) -> None:
    kept = store(tmp_path, keep_last=1)
    save(kept, 1, 0.5)
    save(kept, 2, 0.9)
    for step in (3, 4):
        kept.save(lambda prefix: not writing(1.0)(prefix), b"graph", step, {"valid/loss": 0.1}, {})
    assert steps(kept) == [1, 2, 4]
    good, best = kept.latest_good(), kept.best()
    assert good is not None
    assert best is not None
    assert (good.step, best.step) == (2, 1)


def test_remains_of_a_killed_save_or_deletion_are_not_checkpoints_and_the_next_save_deletes_them(
    tmp_path: Path,
) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    for name in (".step-00000009.partial", ".step-00000008.gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.index").write_bytes(b"half")
    assert steps(kept) == [1]
    save(kept, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "step-00000001", "step-00000002"]


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store(tmp_path / "none").latest() is None

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refused)  # Root is refused nothing.
    with pytest.raises(CheckpointError) as caught:
        store(tmp_path).latest()
    assert str(caught.value) == f"{tmp_path}: cannot be read: Permission denied"
