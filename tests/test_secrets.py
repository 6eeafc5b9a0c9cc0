"""Secrets in URIs: none is in a line on the terminal, a file of a run, a record in MLflow or a message."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit.config.load import load, quoted
from expkit.errors import ConfigError, ExpkitError, Problem, RunError
from expkit.redact import mask_logs, masked, masked_terminal, masked_values
from expkit.run_folder import RunFolder, check_same
from expkit.sweeps.given_overrides import parse_overrides
from expkit.sweeps.jobs import _label
from expkit.sweeps.sweep_folder import SweepFolder
from expkit.tracking.errors import failure
from expkit.tracking.journal import Journal
from support.command_line import BARE, call
from support.secret_uris import SECRET, URIS

EACH = pytest.mark.parametrize("uri", URIS)


def contains_secret(folder: Path) -> list[Path]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.relative_to(folder) for file in files if SECRET.encode() in file.read_bytes()]


def test_there_are_at_least_sixty_forms_and_each_holds_the_secret() -> None:
    assert len(set(URIS)) == len(URIS) >= 60
    assert all(SECRET in uri for uri in URIS)


@EACH
def test_a_uri_is_masked_alone_and_inside_other_text_and_stays_so(uri: str) -> None:
    for text in (uri, f"tracking.uri={uri}", f"tracking.uri='{uri}'", f'got "{uri}" (text)', f"['{uri}', 'x']"):
        shown = masked(text)
        assert SECRET not in shown
        assert masked(shown) == shown
        assert "***" in shown


PUNCTUATION = st.text(st.sampled_from("ab'\"`@/?#:;=&%\\[]{}()<>$!|-_.~+*^"), max_size=6)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(before=PUNCTUATION, after=PUNCTUATION)
def test_a_password_may_hold_anything(before: str, after: str) -> None:
    """The law: whatever stands around the secret in a password or a parameter, it is hidden."""
    for uri in (f"postgresql://user:{before}{SECRET}{after}@host/db", f"https://host/x?password={SECRET}{after}"):
        for text in (uri, f"the store '{uri}' cannot be opened", f"tracking.uri={uri}"):
            assert SECRET not in masked(text)


@EACH
def test_exceptions_hold_no_secret(uri: str) -> None:
    found = [
        str(RunError.at(uri, f"{uri} does not exist")),
        str(ExpkitError(Problem("tracking.uri", f"needs a number, got '{uri}' (text)", location=uri))),
        str(failure(ValueError(f"could not connect to '{uri}'"))),
    ]
    assert SECRET not in "".join(found)


@EACH
def test_files_and_the_journal_hold_no_secret(uri: str, tmp_path: Path) -> None:
    RunFolder(tmp_path).update(error=uri, more={"deep": [uri]})
    SweepFolder(tmp_path).update(runs={"0_a": {"label": uri}})
    journal = Journal(tmp_path)
    address = {"uri": uri, "experiment": uri}
    journal.append("begin", address=address, name=uri, params={"a": uri}, tags={"b": uri})
    journal.append("finish", status="FAILED", error=f"no '{uri}'", milliseconds=1)
    assert contains_secret(tmp_path) == []
    assert masked_values(address) == journal.read(0)[0].values["address"]
    varied = parse_overrides(["tracking.uri=a,b"])
    assert SECRET not in _label(varied, [f"tracking.uri={uri}"])


def test_the_log_and_the_terminal_hold_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("expkit.secrets")
    handler = logging.FileHandler(tmp_path / "run.log")
    logging.getLogger().addHandler(handler)
    try:
        mask_logs()
        with masked_terminal():
            for uri in URIS:
                print(f"store '{uri}'")
                sys.stderr.writelines([f"error: {uri!r}\n"])
                try:
                    raise ValueError(f"no '{uri}'")
                except ValueError:
                    log.exception("it failed")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    shown = capsys.readouterr()
    assert shown.out.count("store '") == shown.err.count("error: '") + shown.err.count('error: "') == len(URIS)
    assert (tmp_path / "run.log").read_text().count("Traceback") == len(URIS)
    assert SECRET not in shown.out + shown.err
    assert contains_secret(tmp_path) == []


FAILING = """
from typing import Literal
from expkit import Loss, register
from support.secret_uris import URIS

@register
class Failing(Loss):
    kind: Literal["failing"] = "failing"

    def problem(self, output, labels):
        return None

    def values(self, output, labels):
        raise RuntimeError(" and ".join(repr(uri) for uri in URIS))
"""


@pytest.fixture
def settings_words() -> list[str]:
    """Overrides that put every form into the configuration."""
    return [f"+network.settings.u{number}={quoted(uri)}" for number, uri in enumerate(URIS)]


def test_a_run_whose_configuration_holds_all_forms_leaves_none_anywhere(
    empty_folder: Path, settings_words: list[str]
) -> None:
    words = [*BARE, "train.steps=2", *settings_words]
    done = call("train", *words, cwd=empty_folder)
    assert (done.code, SECRET in done.out + done.err) == (0, False)
    assert contains_secret(empty_folder) == []
    (folder,) = (RunFolder(file.parent) for file in empty_folder.glob("runs/*/*/run.json"))
    config = load(words)
    assert len(config.network.settings) >= len(URIS)
    check_same(folder, config)  # a resumed run knows its configuration again, hidden as it is


def test_a_run_that_fails_with_all_forms_leaves_none_anywhere(empty_folder: Path) -> None:
    (empty_folder / "failing.py").write_text(FAILING)
    words = ["plugins=[failing.py]", "train.losses={main: {kind: failing}}", "tracking=local", "export=none"]
    done = call("train", "train.steps=2", *words, cwd=empty_folder)
    assert (done.code, SECRET in done.out + done.err) == (1, False)
    assert "error: RuntimeError: 'postgresql://***@host/db' and " in done.err
    assert contains_secret(empty_folder) == []
    (folder,) = (RunFolder(file.parent) for file in empty_folder.glob("runs/*/*/run.json"))
    assert str(folder.state()["error"]).startswith("RuntimeError: 'postgresql://***@host/db' and ")
    assert "Traceback" in (folder.path / "run.log").read_text()


def test_messages_about_words_that_are_wrong_hold_no_secret(empty_folder: Path) -> None:
    """Types, unknown fields, unknown values, words that cannot be parsed: all forms in one command each."""
    numbers = [f"+network.inputs.i{number}.shape={quoted(uri)}" for number, uri in enumerate(URIS)]
    unknown = [f"+network.inputs.i{number}.colour={quoted(uri)}" for number, uri in enumerate(URIS)]
    kinds = [f"+network.layers.l{number}.kind={quoted(uri)}" for number, uri in enumerate(URIS)]
    for words in (numbers, unknown, kinds):
        with pytest.raises(ConfigError) as caught:
            load(words)
        assert SECRET not in str(caught.value)
        done = call("train", *words, cwd=empty_folder)
        assert (done.code, SECRET in done.out + done.err) == (2, False)
    for uri in URIS[::6]:
        for word in (f"tracking.uri={uri}]", uri, f"restore.from={quoted(uri)}", f"train.steps={quoted(uri)}"):
            done = call("restore-plan", word, cwd=empty_folder)
            assert done.code == 2
            assert SECRET not in done.out + done.err
    assert contains_secret(empty_folder) == []
