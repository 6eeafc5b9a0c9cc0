"""Atomic writes, locks between processes, the message for an unwritable path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from expkit import fs
from expkit.fs import Locked, atomic_write, atomic_write_text, cannot_write, file_lock, partial_folder

HOLD = """
import sys
from pathlib import Path
from expkit.fs import file_lock

with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def full(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def write_half(file: Path, *, fails: bool) -> None:
    with atomic_write(file) as partial:
        partial.write_text("half")
        assert file.read_text() == "old"
        if fails:
            full()


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    for text in ("first", "größer"):
        atomic_write_text(file, text)
        assert file.read_text(encoding="utf-8") == text
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    atomic_write_text(file, "old")
    if failing != "write":
        monkeypatch.setattr(fs.os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        write_half(file, fails=failing == "write")
    assert (os.listdir(tmp_path), file.read_text()) == (["a.txt"], "old")


@pytest.mark.parametrize("ends_before", ["the content", "the replacement"])
def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file(ends_before: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    atomic_write_text(file, "old")
    if (child := os.fork()) == 0:
        with atomic_write(file) as partial:
            partial.write_text("ne")
            if ends_before == "the content":
                os._exit(9)
            fs.os.replace = lambda *_: os._exit(9)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert file.read_text() == "old"
    (left,) = set(os.listdir(tmp_path)) - {"a.txt"}
    assert left.startswith(".a.txt.")
    assert left.endswith(".partial")
    atomic_write_text(file, "new")
    assert file.read_text() == "new"


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with atomic_write(file) as slow:
        slow.write_text("slow")
        with atomic_write(file) as fast:
            fast.write_text("fast")
        assert file.read_text() == "fast"
    assert (file.read_text(), os.listdir(tmp_path)) == ("slow", ["a.txt"])


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_write_waits_for_the_content_before_it_gets_its_name_and_for_the_name(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = os.replace
    monkeypatch.setattr(fs, "force_to_disk", lambda path: done.append("folder" if path.is_dir() else "file"))
    monkeypatch.setattr(fs.os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    atomic_write_text(tmp_path / "a.txt", "text", durable=durable)
    assert done == (["file", "replace", "folder"] if durable else ["replace"])


def test_a_lock_is_held_by_one_process_until_it_ends(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Locked), file_lock(lock):
        pass
    waiting = subprocess.Popen(
        [sys.executable, "-c", HOLD.replace("]))", "]), wait=True)"), str(lock)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    holder.kill()  # it has no time to release anything
    assert waiting.communicate()[0] == "held\n"
    holder.communicate()
    with file_lock(lock):
        pass


def test_a_lock_keeps_the_content_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.write_text("line\n")
    with file_lock(file):
        pass
    assert file.read_text() == "line\n"


def test_the_message_for_an_unwritable_path_gives_the_path_the_cause_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory") as caught:
        atomic_write_text(tmp_path / "file" / "a.txt", "text")
    assert cannot_write("file/a.txt", caught.value) == "cannot write file/a.txt (Not a directory)"
    assert (
        cannot_write("a", PermissionError(13, "Permission denied"), "give another folder")
        == "cannot write a (Permission denied); give another folder"
    )
    assert cannot_write("a", ValueError("first\nsecond")) == "cannot write a (first)"


def test_folders_that_killed_processes_left_are_removed_and_those_in_use_are_not(tmp_path: Path) -> None:
    left, mine = tmp_path / ".out.0123abcd.partial", tmp_path / ".out.mine.partial"
    for folder in (left, mine):
        (folder / "deep").mkdir(parents=True)
    (tmp_path / ".out.76543210.partial").symlink_to(mine)
    with partial_folder(tmp_path / "out") as first, partial_folder(tmp_path / "out") as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not left.exists()
        second.rename(tmp_path / "out")
    assert sorted(item.name for item in tmp_path.iterdir()) == [".out.76543210.partial", ".out.mine.partial", "out"]
    assert (mine / "deep").is_dir()
