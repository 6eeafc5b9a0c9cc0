"""The verb ``init`` on a folder of texts: what it finds, declares and refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from expkit.config.load import load
from expkit.data.dataset import load_dataset
from expkit.data.split import split_fields
from expkit.preflight import check
from support.command_line import call
from support.experiments import run

OWN = {"good": ("fine", "Great!", "lovely"), "bad": ("awful", "DULL", "poor")}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder: Path, encoding: str = "utf-8", count: int = 20, parts: tuple[str, ...] = ("",)) -> None:
    """Write texts of two classes, some of them awkward."""
    for part in parts:
        for name, own in OWN.items():
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                text = f"{own[index % 3]} film number{index}{part}, caf\xe9 {own[index % 2]}\r\n"
                (folder / part / name / f"{index:02}.txt").write_bytes(text.encode(encoding))


def written(folder: Path, kind: str) -> str:
    (file,) = (folder / "conf" / kind).iterdir()
    return file.read_text()


def test_a_folder_of_texts_becomes_an_experiment_that_declares_the_words_of_its_training_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "notes")
    awkward = {"08": b"", "09": b" \r\n", "10": "fine \U0001f600".encode(), "11": b"fine " * 50_000}
    for name, content in awkward.items():
        (tmp_path / "notes/good" / f"{name}.txt").write_bytes(content)
    (tmp_path / "notes/README.md").write_text("from where they are")
    done = call("init", "notes", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    monkeypatch.chdir(tmp_path)
    config = load(["experiment=notes", "train.steps=60", "tracking=none", "export=none"])
    training = split_fields(config.data.source.load(), config.data.split)["train"]["text"][:].tolist()
    words = {word for text in training for word in re.findall(r"\w+", text.decode().lower())}
    assert f"max_size: {len(words)}}}" in written(tmp_path, "data")
    assert done.out.splitlines() == [
        f"40 texts, {len(words)} words in the training part",
        "2 classes: bad 20, good 20",
        "notes: 1 file is left out, hidden or with another ending: README.md",
        "",
        "written: conf/data/notes.yaml",
        "written: conf/network/notes.yaml",
        "written: conf/experiment/notes.yaml",
        "",
        "next: expkit train experiment=notes",
    ]
    assert "batch_size: 16," in written(tmp_path, "experiment")
    (tmp_path / "notes/README.md").unlink()
    assert load_dataset(config, check(config).spec).warnings == ()
    assert run(config, tmp_path / "run").test["test/accuracy"] >= 0.75


@pytest.mark.parametrize(
    ("encoding", "words", "line"),
    [
        ("utf-16", (), "the texts are written with encoding: 'utf-16'"),
        ("utf-16-le", (), "the texts are written with encoding: 'utf-16-le'"),
        ("cp1252", ("--encoding", "cp1252"), "the texts are written with encoding: 'cp1252'"),
    ],
)
def test_the_encoding_is_found_or_given(
    encoding: str, words: tuple[str, ...], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "notes", encoding)
    done = call("init", "notes", *words, cwd=tmp_path)
    assert (done.code, done.err, done.out.splitlines()[1]) == (0, "", line)
    assert f"  encoding: '{encoding}'\n" in written(tmp_path, "data")
    monkeypatch.chdir(tmp_path)
    texts = load(["experiment=notes", "tracking=none"]).data.source.load()["text"]
    assert texts[:1].tolist() == ["awful film number0, caf\xe9 awful\r\n".encode()]


def test_a_folder_of_training_texts_alone_is_split(tmp_path: Path) -> None:
    write(tmp_path / "notes", parts=("train",), count=6)
    done = call("init", "notes", cwd=tmp_path)
    assert (done.code, done.err, "ready-made" in done.out) == (0, "", False)
    assert "stratify: label, field: none}   # the folder is mixed" in written(tmp_path, "data")


def test_a_class_without_a_training_text_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "notes", parts=("train", "test"), count=6)
    (tmp_path / "notes/test/odd").mkdir()
    (tmp_path / "notes/test/odd/1.txt").write_text("strange")
    done = call("init", "notes", cwd=tmp_path)
    assert (done.code, done.errors) == (
        2,
        ["error: notes: no training text is of the class odd; add some, or remove the class"],
    )


def test_ready_made_parts_are_the_split_and_the_batch_fits_the_training_part(tmp_path: Path) -> None:
    write(tmp_path / "notes", parts=("train", "test"), count=6)
    for index in range(6, 60):
        (tmp_path / "notes/test/bad" / f"{index}.txt").write_text(f"poor {index}")
    done = call("init", "notes", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "a ready-made split: train, test" in done.out.splitlines()
    assert "split: {train: 0.9, valid: 0.1, test: 'test'}   # folders" in written(tmp_path, "data")
    assert "batch_size: 8," in written(tmp_path, "experiment")


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (
            {"empty/x.md": b"a"},
            (),
            "data.source.path: the class 'empty' has no text: notes/empty holds no file that ends in .txt, but "
            "empty/x.md; remove the folder or fill it",
        ),
        (
            {"bad": None},
            (),
            "notes: all examples are of one class, good; two are needed",
        ),
        (
            {"rare/1.txt": b"a", "rare/2.txt": b"b"},
            (),
            "notes: 1 of 3 values of 'label' are in fewer than 3 examples, too few for the 3 parts: rare 2; remove or "
            "join rare classes, or predict something else",
        ),
        (
            {"good/a.png": b"", "good/b.JPG": b""},
            (),
            "notes: holds texts (bad/00.txt, bad/01.txt, bad/02.txt and 37 more) and images (good/a.png, good/b.JPG); "
            "give a folder of one kind: move the others out",
        ),
        (
            {"good/05.txt": b"caf\xe9"},
            (),
            "data.source.path: notes/good/05.txt is not text in utf-8: 'utf-8' codec can't decode byte 0xe9 in "
            "position 3: unexpected end of data; give its encoding, such as --encoding latin-1 or cp1252",
        ),
        (
            {"good/05.txt": "caf\xe9".encode("utf-16")},
            (),
            "data.source.path: notes/good/05.txt begins with the mark of utf-16, and is read as utf-8; give --encoding "
            "utf-16",
        ),
        (
            {},
            ("--encoding", "utf-16"),
            "data.source.path: notes/bad/00.txt has no byte 0, as text in utf-16 has; give its encoding, such as "
            "--encoding utf-8",
        ),
        (
            {},
            ("--encoding", "utf-9"),
            "--encoding: unknown encoding 'utf-9'; did you mean 'utf-8'? such as utf-8, utf-16, utf-32, ascii, "
            "latin-1, cp1252, cp1250, cp1251, shift_jis, gb18030",
        ),
        (
            dict.fromkeys([f"{name}/{index:02}.txt" for name in OWN for index in range(20)], "\U0001f600 !?".encode()),
            (),
            "notes: the texts of the training part have no words of letters or digits",
        ),
        ({"loose.txt": b"a"}, (), "data.source.path: notes has texts beside the folders of classes 'bad', 'good': "),
        ({"bad": None, "good": None, "1.txt": b"a"}, (), "notes: the texts are in no folders of classes; put those "),
        ({}, ("--delimiter", ";"), "--delimiter: is of a table, and notes is a folder; leave it out"),
        ({"bad": None, "good": None, "c/1.png": b""}, ("--encoding", "cp1252"), "--encoding: is of a table or of "),
        ({}, ("--label", "x"), "--label: notes holds no table; a column is of one table beside the images, which "),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(
    change: dict[str, bytes | None], words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    write(folder)
    for name, content in change.items():
        path = folder / name
        if content is None:
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    done = call("init", "notes", *words, cwd=tmp_path)
    assert (done.code, done.out, len(done.errors)) == (2, "", 1)
    assert done.errors[0].startswith(f"error: {said}")
    assert not (tmp_path / "conf").exists()
