"""The run folder: made, recorded in, found again, continued only as what it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from expkit.config.schema import Config
from expkit.errors import ConfigError, RunError
from expkit.run_folder import RunFolder, config_digest, flat, locked
from expkit.run_lookup import find_run, named_path, resumable, run_of_uri
from support.command_line import ENVIRONMENT, call
from support.experiments import CNN, config_of


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path, optimizer={"kind": "adam", "learning_rate": 1e-05, "epsilon": 1e-08})


def changed(config: Config, **sections: dict[str, Any]) -> Config:
    """Return a configuration with some fields of sections changed."""
    updates = {name: getattr(config, name).model_copy(update=fields) for name, fields in sections.items()}
    return config.model_copy(update=updates)


def test_a_new_folder_holds_the_configuration_as_it_was_composed(tmp_path: Path, config: Config) -> None:
    folder = RunFolder.create(tmp_path / "a/b", config, [])
    assert folder.config() == config
    assert folder.state() == {"digest": config_digest(config), "name": "small"}
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.yaml", "overrides.yaml", "run.json"]


def test_a_configuration_with_text_that_looks_like_something_else_comes_back(tmp_path: Path) -> None:
    network = {**CNN, "rules": {"r": {"variables": r"conv/(kernel|bias)", "regularizer": {"l2": 1e-10}}}}
    turned = {"name": "1e-5", "to": "on", "transform": [{"transpose": [1, 0]}, {"slice": [None, [0, None]]}]}
    more = {"1e-5": {"from": "off", "weights": "ema_if_present", "exclude": ["null"]}}
    restore = {"from": "null", "rename": [{"pattern": r"a/(\d+)", "to": r"b/\1"}, turned], "sources": more}
    config = config_of(tmp_path, network=network, restore=restore)
    assert RunFolder.create(tmp_path / "run", config, []).config() == config


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["train.steps=5", "a='b: c # d'", 'x="y"', "- z", "l={a: [1, 2]}", r"p='(.*)\1'", "é=ü", "emoji=\U0001f600"],
        ["two\nlines", "tab\there", "\x7f", " space "],
    ],
)
def test_overrides_are_kept_as_yaml(tmp_path: Path, config: Config, words: list[str]) -> None:
    RunFolder.create(tmp_path / "run", config, words)
    assert yaml.safe_load((tmp_path / "run/overrides.yaml").read_text()) == words


def test_a_folder_of_the_same_configuration_is_opened_again(tmp_path: Path, config: Config) -> None:
    RunFolder.create(tmp_path / "run", config, []).update(mlflow_run_id="abc")
    longer = changed(config, train={"steps": 99}, run={"resume": "auto"}, export={"enabled": False})
    again = RunFolder.create(tmp_path / "run", longer, ["x=1"])
    assert again.state()["mlflow_run_id"] == "abc"
    assert again.config() == longer


def test_a_folder_of_another_configuration_is_refused_with_every_key_that_differs(
    tmp_path: Path, config: Config
) -> None:
    RunFolder.create(tmp_path / "run", config, [])
    other = config_of(tmp_path, optimizer={"kind": "sgd", "learning_rate": 0.5}, train={"batch_size": 4, "steps": 1})
    with pytest.raises(ConfigError) as caught:
        RunFolder.create(tmp_path / "run", other, [])
    way_out = "undo that, or start a new run"
    assert [str(problem) for problem in caught.value.problems] == [
        f"optimizer.kind: is 'sgd', but the run to resume has 'adam'; {way_out}",
        f"optimizer.learning_rate: is 0.5, but the run to resume has 1e-05; {way_out}",
        f"optimizer.beta_1: is None, but the run to resume has 0.9; {way_out}",
        f"optimizer.beta_2: is None, but the run to resume has 0.999; {way_out}",
        f"optimizer.epsilon: is None, but the run to resume has 1e-08; {way_out}",
        f"train.batch_size: is 4, but the run to resume has 8; {way_out}",
    ]
    assert RunFolder(tmp_path / "run").config() == config


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path, config: Config) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        RunFolder.create(tmp_path / "file/run", config, [])
    assert str(caught.value) == (
        f"run.folder: cannot write {tmp_path}/file/run (Not a directory); give a writable folder with run.folder=PATH"
    )


def test_the_state_is_changed_key_by_key_and_survives_damage(tmp_path: Path, config: Config) -> None:
    folder = RunFolder.create(tmp_path / "run", config, [])
    folder.update(status="RUNNING")
    folder.update(status="FINISHED")
    assert folder.state() == {"digest": config_digest(config), "name": "small", "status": "FINISHED"}
    (folder.path / "run.json").write_text('{"status": ')
    assert folder.state() == {}


@pytest.fixture
def folder(tmp_path: Path, config: Config) -> RunFolder:
    made = RunFolder.create(tmp_path / "run", config, [])
    for step in (1, 2, 3):
        made.log_metrics(step, {"train/loss": step / 10})
    return made


def test_metrics_come_back_in_order(folder: RunFolder) -> None:
    assert folder.metrics() == [{"step": step, "train/loss": step / 10} for step in (1, 2, 3)]
    assert RunFolder(folder.path / "absent").metrics() == []


def test_metrics_after_a_step_are_dropped(folder: RunFolder) -> None:
    folder.drop_metrics_after(2)
    assert [line["step"] for line in folder.metrics()] == [1, 2]
    folder.log_metrics(3, {"train/loss": 0.0})
    assert [line["step"] for line in folder.metrics()] == [1, 2, 3]
    RunFolder(folder.path / "absent").drop_metrics_after(0)


def test_metrics_of_the_end_are_dropped_because_a_run_that_goes_on_ends_again(folder: RunFolder) -> None:
    folder.log_metrics(3, {"test/loss": 0.5, "test/loss/ema": 0.4})
    folder.drop_metrics_after(3)
    assert folder.metrics() == [{"step": step, "train/loss": step / 10} for step in (1, 2, 3)]


@pytest.mark.parametrize("torn", ['{"step": 4, "train/lo', '{"step": 4, "train/loss": 0.4}', "{"])
def test_a_last_line_that_was_cut_off_is_left_out_and_cleaned_up(folder: RunFolder, torn: str) -> None:
    with folder.metrics_file.open("a") as file:
        file.write(torn)
    assert [line["step"] for line in folder.metrics()] == [1, 2, 3]
    folder.drop_metrics_after(3)
    folder.log_metrics(4, {"train/loss": 0.5})
    assert folder.metrics()[3:] == [{"step": 4, "train/loss": 0.5}]


FREE: list[dict[str, dict[str, Any]]] = [
    {"run": {"resume": "auto"}},
    {"run": {"folder": "elsewhere"}},
    {"tracking": {"experiment": "other"}},
    {"export": {"tolerance": 0.5}},
]
BOUND: list[dict[str, dict[str, Any]]] = [
    {"run": {"seed": 1}},
    {"run": {"name": "other"}},
    {"train": {"steps": 7}},
    {"train": {"batch_size": 9}},
    {"ema": {"decay": 0.5}},
    {"restore": {"weights": "ema"}},
]


@pytest.mark.parametrize("fields", FREE, ids=str)
def test_what_changes_no_number_does_not_change_the_digest(config: Config, fields: dict[str, Any]) -> None:
    assert config_digest(changed(config, **fields)) == config_digest(config)


@pytest.mark.parametrize("fields", BOUND, ids=str)
def test_what_changes_numbers_or_length_changes_the_digest(config: Config, fields: dict[str, Any]) -> None:
    assert config_digest(changed(config, **fields)) != config_digest(config)


def made(config: Config, name: str, status: str | None) -> RunFolder:
    folder = RunFolder.create(Path(config.run.folder) / name, config, [])
    if status is not None:
        folder.update(status=status)
    return folder


def test_without_resume_nothing_is_continued(config: Config) -> None:
    made(config, "2026-01-01/00-00-00_small", "FAILED")
    assert resumable(config) is None


def test_auto_continues_the_newest_unfinished_run_of_the_same_configuration(config: Config) -> None:
    auto = changed(config, run={"resume": "auto"})
    assert resumable(auto) is None
    made(config, "2026-01-01/23-00-00_small", "FAILED")
    wanted = made(config, "2026-01-02/10-00-00_small", None)
    made(config, "2026-01-02/11-00-00_small", "FINISHED")
    made(changed(config, ema={"decay": 0.5}), "2026-01-02/12-00-00_small", "FAILED")
    made(config, "2026-01-02/09-00-00_small", "KILLED")
    found = resumable(auto)
    assert found is not None
    assert found.path == wanted.path


def test_a_path_continues_that_run_even_when_finished(config: Config) -> None:
    run = made(config, "2026-01-01/00-00-00_small", "FINISHED")
    found = resumable(changed(config, run={"resume": str(run.path)}, train={"steps": 1000}))
    assert found is not None
    assert found.path == run.path


def test_a_run_of_another_configuration_cannot_be_continued(config: Config) -> None:
    run = made(config, "2026-01-01/00-00-00_small", None)
    with pytest.raises(ConfigError) as caught:
        resumable(changed(config, run={"resume": str(run.path), "seed": 4}))
    assert str(caught.value) == ("run.seed: is 4, but the run to resume has 0; undo that, or start a new run")


def test_a_run_is_found_by_its_folder(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(config, "2026-01-01/00-00-00_small", None)
    assert find_run(str(run.path)).path == run.path
    monkeypatch.setenv("HOME", str(run.path.parent))
    assert find_run("~/00-00-00_small").path == run.path


def test_what_is_no_run_is_reported_with_those_there_are(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the runs where one works are told too
    day = Path(config.run.folder) / "2026-01-01"
    runs = [made(config, f"2026-01-01/0{hour}-00-00_small", None).path for hour in (1, 2)]
    for asked, what in (
        (day / "03-00-00_small", "does not exist"),
        (day, "is not a run folder (config.yaml and run.json are not in it)"),
    ):
        with pytest.raises(RunError) as caught:
            find_run(str(asked))
        assert str(caught.value) == f"{asked}: {what}; runs: {runs[1]}, {runs[0]}"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("", "'': names no run"),
        (" ", "' ': names no run"),
        ("~nobody-of-this-name/run", "~nobody-of-this-name/run: cannot be read (Could not determine home directory.)"),
        ("q" * 300, f"{'q' * 300}: cannot be read ("),
    ],
    ids=["empty", "blank", "nobody's home", "too long"],
)
def test_a_name_that_cannot_be_of_a_run_is_reported(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, said: str
) -> None:
    monkeypatch.chdir(made(config, "2026-01-01/01-00-00_small", None).path)
    with pytest.raises(RunError) as caught:
        find_run(asked)
    assert str(caught.value).startswith(said)
    assert "; runs: " in str(caught.value)


def test_flat_joins_keys_by_dots_and_keeps_empty_mappings_and_lists() -> None:
    values = {"a": {"b": 1, "c": {"d": None}}, "e": {}, "f": [1, {"g": 2}]}
    assert flat(values) == {"a.b": 1, "a.c.d": None, "e": {}, "f": [1, {"g": 2}]}


HOLD = """\
import sys
from pathlib import Path
from expkit.run_folder import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_a_process_is_at_work_on_is_refused_to_others_until_it_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(run)]
    holder = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError) as caught, locked(run):
            pass
        assert str(caught.value) == (
            f"{run}: process {holder.pid} is using this run; wait until it has ended, or start a new run"
        )
        holder.kill()
    with locked(run):
        pass


def test_a_run_is_found_by_its_id_in_mlflow_also_in_a_sweep(config: Config, tmp_path: Path) -> None:
    places = {"one": tmp_path / "2026-01-01/00-00-00_small", "two": tmp_path / "multirun/2026-01-01/00_small/3_small"}
    for run_id, place in places.items():
        RunFolder.create(place, config, []).update(mlflow_run_id=run_id)
    found = {run_id: run_of_uri(f"runs:/{run_id}", str(tmp_path), "restore.from") for run_id in places}
    assert {run_id: run and run.path for run_id, run in found.items()} == places
    assert run_of_uri("runs/one", str(tmp_path), "restore.from") is None
    with pytest.raises(RunError) as caught:
        run_of_uri("runs:/three", str(tmp_path), "restore.from")
    assert str(caught.value) == (
        f"restore.from: no run in {tmp_path} has the id three in MLflow; give its folder, which is in "
        "the run's tag run_folder"
    )


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", "'': names no sweep"),
        ("x" * 5000, f"{'x' * 5000}: cannot be read ([Errno 36] File name too long: "),
        ("~nobody at all/x", "~nobody at all/x: cannot be read (Could not determine home directory.)"),
    ],
    ids=["empty", "too long", "nobody's"],
)
def test_a_name_that_can_be_no_path_is_reported(named: str, said: str) -> None:
    with pytest.raises(RunError) as caught:
        named_path(named, "sweep")
    assert str(caught.value).startswith(said)


def test_a_path_that_is_not_there_is_still_a_path(tmp_path: Path) -> None:
    assert named_path(str(tmp_path / "nothing"), "sweep") == tmp_path / "nothing"


@pytest.mark.parametrize("verb", ["report", "sync", "info"])
def test_verbs_on_files_tell_it(verb: str, tmp_path: Path) -> None:
    done = call(verb, "x" * 5000, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.errors[0].startswith("error: xxx")
    assert "cannot be read ([Errno 36] File name too long" in done.errors[0]


def test_a_damaged_line_inside_the_metrics_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path)
    lines = [b'{"step": 1, "train/loss": 0.5}', b'{"step": 2, "tr\xffin', b"null", b'{"step": "3"}', b"[" * 100_000]
    lines += [b'{"step": 4, "train/loss": NaN}', b'{"step": 6, "train/loss": 0.25}', b'{"step": 7']
    folder.metrics_file.write_bytes(b"\n".join(lines))
    folder.drop_metrics_after(5)
    (first, second) = folder.metrics()
    assert (first, second["step"]) == ({"step": 1, "train/loss": 0.5}, 4)
    assert caplog.messages == [f"{folder.metrics_file}: line {n} is damaged and left out" for n in (2, 3, 4, 5)]


@pytest.mark.parametrize("content", ["null", "[]", "3", "", "{", "[" * 100_000])
def test_a_run_json_without_an_object_is_as_one_that_is_missing(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert RunFolder(tmp_path).state() == {}


@pytest.mark.parametrize("content", ["", "null", "# nothing\n", "[]", "3", "text"])
def test_a_configuration_without_sections_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path).config()
    assert str(caught.value) == (
        f"{tmp_path}/config.yaml: not a readable configuration: it is empty, or no mapping of sections"
    )
