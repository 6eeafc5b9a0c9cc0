"""The verb ``train``: Hydra's flags, sweeps, what a run leaves, and how it ends."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Finished
from expkit.config.load import load
from expkit.config.search import builtin_conf
from expkit.run_folder import RunFolder, config_digest
from support.command_line import PLAIN, SHORT, call, start

QUICK = ["train.steps=4", "tracking=none", "export=none"]


SUMMARY = ["test", "test", "speed", "checkpoint", "frozen", "MLflow", "next"]


def state(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text()))


def runs(cwd: Path) -> list[Path]:
    return sorted(file.parent for file in (cwd / "runs").glob("*/*/run.json"))


# Hydra's flags


def options(group: str) -> str:
    return ", ".join(sorted(path.stem for path in (builtin_conf() / group).glob("*.yaml")))


def test_help_shows_our_groups_and_examples(tmp_path: Path) -> None:
    done = call("train", "--help", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("expkit train [OVERRIDES] [-m]: train, evaluate, freeze and record one experiment")
    for line in (
        f"network: {options('network')}",
        "optimizer: adagrad, adam, adamw, momentum, rmsprop, sgd, sgd_exponential",
        f"experiment: {options('experiment')}",
        "tracking: local, none",
    ):
        assert line in done.out.splitlines()


def test_hydra_help_shows_hydras_flags(tmp_path: Path) -> None:
    done = call("train", "--hydra-help", cwd=tmp_path)
    assert done.code == 0
    assert "--multirun,-m" in done.out


def test_cfg_job_resolve_prints_the_composed_configuration_as_yaml(tmp_path: Path) -> None:
    done = call("train", "--cfg", "job", "--resolve", "optimizer=sgd", "train.steps=7", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    printed = yaml.safe_load(done.out)
    sections = ["run", "network", "data", "optimizer", "train", "ema", "restore", "export", "tracking"]
    assert sorted(printed) == sorted(["plugins", *sections])
    assert (printed["run"]["name"], printed["train"]["steps"]) == ("digits_mlp", 7)
    assert printed["optimizer"]["kind"] == "sgd"
    assert list(tmp_path.iterdir()) == []


def test_cfg_prints_one_section_of_a_package(tmp_path: Path) -> None:
    done = call("train", "--cfg", "job", "-p", "ema", "ema.decay=0.5", cwd=tmp_path)
    assert done.code == 0
    assert yaml.safe_load(done.out)["decay"] == 0.5


def test_cfg_of_a_sweep_shows_the_configuration_that_varies(tmp_path: Path) -> None:
    done = call("train", "--cfg", "job", "-p", "ema", "run.seed=1,2", "ema.decay=0.5", cwd=tmp_path)
    assert done.code == 2
    assert "run.seed=1,2" in done.errors[0]


def test_cfg_of_a_wrong_key_says_so(tmp_path: Path) -> None:
    done = call("train", "--cfg", "job", "ema.dekay=0.5", cwd=tmp_path)
    assert done.code == 2
    assert done.errors == [
        "error: ema.dekay: unknown field; did you mean 'decay'? allowed: enabled, decay, num_updates, variables, "
        "start_step"
    ]


def test_info_shows_where_files_are_read(tmp_path: Path) -> None:
    done = call("train", "--info", "searchpath", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "Config search path" in done.out
    assert "/conf" in done.out


def test_a_folder_of_ones_own_is_read_first(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "tiny.yaml").write_text(
        "# @package _global_\nrun: {name: tiny}\ntrain: {steps: 3}\n"
    )
    for flag in (["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"]):
        done = call("train", *flag, "experiment=tiny", "--cfg", "job", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        assert yaml.safe_load(done.out)["run"]["name"] == "tiny"
    missing = call("train", "--config-dir", "nosuch", cwd=tmp_path)
    assert (missing.code, missing.errors) == (2, ["error: --config-dir: no folder nosuch"])


def test_a_conf_folder_where_the_program_starts_is_read_before_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "conf" / "ema").mkdir(parents=True)
    (tmp_path / "conf" / "ema" / "default.yaml").write_text("enabled: true\ndecay: 0.75\n")
    done = call("train", "--cfg", "job", cwd=tmp_path)
    assert done.code == 0
    printed = yaml.safe_load(done.out)
    assert printed["ema"] == {"enabled": True, "decay": 0.75}
    assert printed["optimizer"]["kind"] == "adam"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--config-name", "other"],
            "--config-name: an experiment starts from config.yaml; put yours into conf/experiment and write "
            "experiment=NAME",
        ),
        (["--config-path", "x"], "--config-path: files are read from ./conf; name another folder with --config-dir"),
        (["--experimental-rerun", "x"], "--experimental-rerun: a run is resumed with run.resume=PATH"),
        (["--resolve"], "command line: The --resolve flag can only be used in conjunction with --cfg or --help"),
        (
            ["--run", "--cfg", "job"],
            "command line: Only one of --run, --multirun, --cfg, --info and --shell_completion can be specified",
        ),
        (["hydra.mode=MULTIRUN"], "hydra.mode: a sweep is requested with -m; leave this out"),
        (["hydra.run.dir=${nosuch}"], "command line: Interpolation key 'nosuch' not found"),
        (["steps"], "command line: cannot read the override 'steps'; write path.to.key=VALUE"),
        (
            ["-m", "run.seed=1,"],
            "command line: cannot read the override 'run.seed=1,'; write path.to.key=VALUE, or =A,B",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_and_words_that_cannot_be_followed(words: list[str], said: str, tmp_path: Path) -> None:
    done = call("train", *words, cwd=tmp_path)
    assert (done.code, done.errors, done.out) == (2, [f"error: {said}"], "")


def test_an_unknown_flag_shows_the_usage_of_the_verb(tmp_path: Path) -> None:
    done = call("train", "--nonsense", cwd=tmp_path)
    assert done.code == 2
    assert done.errors[0].startswith("usage: expkit train ")
    assert done.errors[-1] == "expkit train: error: unrecognized arguments: --nonsense"


def test_seeds_to_vary_without_m_are_explained(tmp_path: Path) -> None:
    done = call("train", "run.seed=1,2", cwd=tmp_path)
    assert done.code == 2
    assert "To sweep over it, add --multirun to your command line" in done.errors[0]


# A finished run


def test_a_run_leaves_all_that_is_needed_to_judge_and_continue_it(digits_run: Finished) -> None:
    left = {file.relative_to(digits_run.folder).as_posix() for file in digits_run.folder.rglob("*") if file.is_file()}
    parts = ("checkpoint.json", "model.data-00000-of-00001", "model.index", "model.meta")
    evaluated = "evaluate.restore.json"  # another test's
    assert left - {evaluated} == {
        ".lock",
        "config.yaml",
        "overrides.yaml",
        "run.json",
        "run.log",
        "metrics.jsonl",
        "tracking.json",
        "tracking.jsonl",
        "preprocess.json",
        "frozen.pb",
        "frozen.example.npz",
        "frozen.parity.json",
        "frozen.restore.json",
        "checkpoints/checkpoint",
        "plots/classes.csv",
        "plots/confusion_matrix.png",
        "plots/evidence.npz",
        "plots/examples.npz",
        "plots/examples.png",
        "plots/learning_curves.png",
        "plots/learning_rate.png",
        "plots/network.svg",
        "plots/weights.png",
        "plots/worst_mistakes.png",
        *(f"checkpoints/step-000000{step}/{part}" for step in (20, 40, 60) for part in parts),
    }


def test_the_run_folder_is_named_by_day_time_and_name(digits_run: Finished) -> None:
    day, name = digits_run.folder.parts[-2:]
    assert time.strptime(day, "%Y-%m-%d")
    assert time.strptime(name.rsplit("-", 1)[0], "%H-%M-%S")
    assert name.endswith("_digits_mlp")


def test_the_run_keeps_its_configuration_and_overrides(digits_run: Finished) -> None:
    folder = RunFolder(digits_run.folder)
    assert folder.config() == load(SHORT)
    assert yaml.safe_load((folder.path / "overrides.yaml").read_text()) == SHORT
    assert folder.state()["digest"] == config_digest(load(SHORT))


def test_run_json_says_finished(digits_run: Finished) -> None:
    left = state(digits_run.folder)
    assert (left["name"], left["status"], left["error"]) == ("digits_mlp", "FINISHED", None)
    assert len(left["mlflow_run_id"]) == 32


def test_the_log_has_a_line_for_every_point_of_metrics(digits_run: Finished) -> None:
    lines = (digits_run.folder / "run.log").read_text().splitlines()
    for step in (20, 40, 60):
        assert any(f"INFO expkit.experiment: step {step}: train/loss " in line for line in lines)
    assert any("step 60: test/loss " in line for line in lines)


def test_metrics_are_kept_raw_and_averaged_by_step(digits_run: Finished) -> None:
    kept = RunFolder(digits_run.folder).metrics()
    assert [line["step"] for line in kept] == [20, 40, 60, 60]
    evaluated = {"loss", "accuracy", "loss/ema", "accuracy/ema"}
    assert set(kept[0]) == {
        "step",
        *(f"train/{name}" for name in ("loss", "accuracy", "learning_rate", "steps_per_second")),
        *(f"valid/{name}" for name in evaluated),
    }
    assert set(kept[-1]) == {"step", *(f"test/{name}" for name in evaluated)}


def test_the_terminal_ends_with_a_small_table(digits_run: Finished) -> None:
    folder = digits_run.folder.relative_to(digits_run.cwd).as_posix()
    rows = [line.split(maxsplit=1) for line in digits_run.done.out.splitlines()]
    test = RunFolder(digits_run.folder).metrics()[-1]
    loss, accuracy = (
        f"{test[f'test/{name}']:.4f}   EMA {test[f'test/{name}/ema']:.4f}" for name in ("loss", "accuracy")
    )
    assert [row[0] for row in rows] == ["run", *["step"] * 3, *SUMMARY]
    assert rows[0][1] == folder
    assert [row[1].partition(":")[0] for row in rows[1:4]] == ["20 of 60", "40 of 60", "60 of 60"]
    rows = rows[4:]
    assert [rows[0][1], rows[1][1]] == [f"loss      {loss}", f"accuracy  {accuracy}"]
    assert rows[2][1].endswith(" steps/s  (100 steps per execution: a short run)")
    assert rows[3][1] == f"{folder}/checkpoints/step-00000060/model"
    assert rows[4][1].startswith(f"{folder}/frozen.pb  (ema weights, within ")
    assert rows[5][1] == f"run     {state(digits_run.folder)['mlflow_run_id']} (expkit ui)"
    assert rows[6][1] == f"expkit evaluate {folder}"
    assert digits_run.done.err == ""


def test_without_tracking_and_export_neither_is_left(tmp_path: Path) -> None:
    done = call("train", *QUICK, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    words = [line.split()[0] for line in done.out.splitlines()]
    assert words == ["run", "step", "test", "test", "speed", "checkpoint", "next"]


def test_a_run_to_resume_says_whether_there_was_one(tmp_path: Path) -> None:
    new = call("train", *QUICK, "run.resume=auto", cwd=tmp_path)
    assert new.out.splitlines()[0].endswith(" (new: no run of this configuration is unfinished)")
    (folder,) = (file.parent for file in tmp_path.glob("runs/*/*/run.json"))
    RunFolder(folder).update(status="KILLED")
    again = call("train", *QUICK, "run.resume=auto", cwd=tmp_path)
    steps = RunFolder(folder).metrics()[-1]["step"]
    shown = folder.relative_to(tmp_path).as_posix()
    assert again.out.splitlines()[0] == f"run {shown} (resumed from step {steps})"
    (folder,) = runs(tmp_path)
    assert not (folder / "frozen.pb").exists()
    assert "mlflow_run_id" not in state(folder)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [folder.parent.name]


def test_two_runs_begun_at_once_have_folders_of_their_own(tmp_path: Path) -> None:
    for _ in range(2):
        assert call("train", *QUICK, cwd=tmp_path).code == 0
    assert len(runs(tmp_path)) == 2


def test_the_users_own_name_of_the_folder_is_obeyed(tmp_path: Path) -> None:
    assert call("train", *QUICK, "hydra.run.dir=here", cwd=tmp_path).code == 0
    assert state(tmp_path / "here")["status"] == "FINISHED"


def test_the_folder_of_another_configuration_is_not_taken_over(tmp_path: Path) -> None:
    assert call("train", *QUICK, "hydra.run.dir=here", cwd=tmp_path).code == 0
    before = (tmp_path / "here" / "config.yaml").read_text()
    done = call("train", *QUICK, "hydra.run.dir=here", "ema.decay=0.5", cwd=tmp_path)
    assert done.code == 2
    assert done.errors == ["error: ema.decay: is 0.5, but the run to resume has 0.99; undo that, or start a new run"]
    assert (tmp_path / "here" / "config.yaml").read_text() == before


# A run that fails or is stopped


def test_a_loss_that_is_not_finite_fails_the_run_with_the_reason(tmp_path: Path) -> None:
    overrides = ["optimizer=sgd", "optimizer.learning_rate=1e10", "tracking=none", "train.log_every_steps=20"]
    done = call("train", *overrides, cwd=tmp_path)
    assert done.code == 2
    (line,) = done.errors
    assert line.startswith("error: train: the loss became ")
    assert "between steps 0 and 20; lower optimizer.learning_rate, or set optimizer.global_clipnorm" in line
    (folder,) = runs(tmp_path)
    left = state(folder)
    assert left["status"] == "FAILED"
    assert f"error: {left['error']}" == line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_an_interrupted_run_saves_its_step_and_says_how_to_resume(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    words = ["train.steps=1000000", "train.save_every_steps=1000000", "train.steps_per_execution=7", "tracking=none"]
    process = start("train", *PLAIN, *words, "hydra.run.dir=here", cwd=tmp_path)
    try:
        while not (tmp_path / "here" / "metrics.jsonl").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate()
    finally:
        process.kill()
    here = (tmp_path / "here").resolve()
    assert process.returncode == code
    (saved,) = here.glob("checkpoints/step-*")
    step = int(saved.name.removeprefix("step-"))
    assert step >= 100
    assert err == f"interrupted: saved step {step:,}; resume with the same command and run.resume={here}\n"
    assert state(here)["status"] == "KILLED"
