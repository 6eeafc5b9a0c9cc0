"""How steps are run: none of it changes a batch or a mask, and what is chosen is kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.load import load
from expkit.config.sections.train import JitCompile, Parallelism
from expkit.data import batches
from expkit.data.dataset import Dataset, load_dataset
from expkit.errors import ConfigError
from expkit.kinds.random import uniform
from expkit.network.phases import phases
from expkit.preflight import CheckedConfig, check
from expkit.run_folder import RunFolder
from expkit.training import autotune, execution, policy
from expkit.training.autotune import choose
from expkit.training.execution import Execution, ExecutionChoice
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from support.experiments import run
from support.networks import spec_of

MODES = [Execution(1), Execution(7), Execution(100), Execution(30, jit_compile=True)]
MODES += [
    Execution(30, jit_compile="update"),
    Execution(30, jit_compile="update", precision="bfloat16"),
    Execution(30, parallelism="inter_op"),
]
FIXED = "as configured"
OVERRIDES = ["network.layers.layer1.units=16", "optimizer.learning_rate=0.01", "optimizer.warmup_steps=20"]


def parts(overrides: list[str], runs: Path | None = None) -> tuple[CheckedConfig, Dataset]:
    """Return a configuration and its data; without a folder of runs no earlier run has measured anything."""
    checked = check(load([f"run.folder={runs or tempfile.mkdtemp()}", *overrides]))
    return checked, load_dataset(checked.config, checked.spec)


def trained(overrides: list[str], execution: Execution, calls: list[int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the mean loss of every call, and all variables after them."""
    built = train_graph(*parts(overrides), execution)
    with Executor(built) as executor:
        executor.initialize()
        sums = [executor.run(steps)["loss"] for steps in calls]
        assert executor.step == sum(calls)
        return np.array([float(item["sum"] / item["count"]) for item in sums]), executor.values(built.variables)


def chosen(overrides: list[str], folder: Path | None = None, runs: int = 1) -> ExecutionChoice:
    choice, executor = choose(*parts(overrides, folder), runs=runs)
    with executor:
        assert executor._built.execution.jit_compile == choice.execution.jit_compile
    return choice


@pytest.fixture(scope="module")
def by_single_steps() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return trained(OVERRIDES, Execution(1), [20] * 10)


@pytest.mark.parametrize("execution", MODES[1:3], ids=str)
def test_the_number_of_steps_per_call_changes_no_bit(execution: Execution, by_single_steps: Any) -> None:
    losses, values = trained(OVERRIDES, execution, [20] * 10)
    np.testing.assert_allclose(losses, by_single_steps[0], rtol=1e-6)
    for name, value in by_single_steps[1].items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)


@pytest.mark.parametrize("compiled", [True, "update"])
def test_compiled_steps_have_the_same_loss_curve_over_200_steps(compiled: JitCompile, by_single_steps: Any) -> None:
    losses, values = trained(OVERRIDES, Execution(30, jit_compile=compiled), [20] * 10)
    np.testing.assert_allclose(losses, by_single_steps[0], rtol=1e-3)
    assert set(values) == set(by_single_steps[1])


def test_bfloat16_rounds_products_differently_and_learns_the_same(by_single_steps: Any) -> None:
    losses, values = trained(OVERRIDES, Execution(30, precision="bfloat16"), [20] * 10)
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32), np.dtype(np.int64)}
    difference = np.abs(losses - by_single_steps[0]) / by_single_steps[0]
    assert 1e-5 < difference.max() < 0.1


def test_bfloat16_on_a_processor_without_it_is_an_error_and_no_silent_float32() -> None:
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    command = [sys.executable, "-m", "expkit", "train", "train.precision=bfloat16", "tracking=none"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: train.precision: bfloat16 needs a processor with AVX-512 or AVX-NE-CONVERT and oneDNN turned on "
        "(TF_ENABLE_ONEDNN_OPTS); set float32\n"
    )


@pytest.mark.parametrize("placement", ["resident", "streamed"])
def test_xla_compiles_once_however_steps_fall_into_calls_and_blocks(tmp_path: Path, placement: str) -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "device_compiler=1"}
    options = [
        "steps=42",
        "steps_per_execution=7",
        "jit_compile=true",
        "save_every_steps=42",
        "evaluate_every_steps=42",
    ]
    every = [f"train.{option}" for option in (*options, "log_every_steps=3")]
    command = [sys.executable, "-m", "expkit", "train", "tracking=none", "export=none", f"data.placement={placement}"]
    done = subprocess.run([*command, *every], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.count("Compilation of XLA executable") == 1


@pytest.mark.parametrize("execution", MODES, ids=str)
def test_every_execution_mode_repeats_bit_for_bit_and_does_every_step(execution: Execution) -> None:
    one, again = (trained(OVERRIDES, execution, calls)[1] for calls in ([3, 1, 46], [50]))
    for name, value in one.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


def test_random_numbers_are_the_same_when_compiled() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, ())
        written = uniform([40, 50], 7, step)
        compiled = tf.function(lambda at: uniform([40, 50], 7, at), jit_compile=True, autograph=False)(step)
        other = uniform([40, 50], 8, step)
        first, same, changed = session.run([written, compiled, other], {step: 5})
        following = session.run(written, {step: 6})
    np.testing.assert_array_equal(first, same)
    assert first.min() >= 0
    assert first.max() < 1
    assert abs(first.mean() - 0.5) < 0.02
    assert abs(first.var() - 1 / 12) < 0.005
    for less_alike in (changed, following):
        assert abs(np.corrcoef(first.ravel(), less_alike.ravel())[0, 1]) < 0.08


@pytest.mark.parametrize(
    ("overrides", "execution", "reason"),
    [
        (["train.jit_compile=true"], Execution(100, jit_compile=True), "a short run"),
        (
            ["train.jit_compile=true", "train.parallelism=inter_op"],
            Execution(100, jit_compile=True, parallelism="inter_op"),
            FIXED,
        ),
        (["train.jit_compile=false", "train.parallelism=intra_op", "train.steps_per_execution=7"], Execution(7), FIXED),
        (["train.steps=50"], Execution(100), "a short run"),
        (["train.steps=200"], Execution(100), "a short run"),
        (["train.jit_compile=update"], Execution(100, jit_compile="update"), "a short run"),
        (["train.parallelism=inter_op"], Execution(100, parallelism="inter_op"), "a short run"),
        (["train.precision=bfloat16", "train.steps=50"], Execution(100, precision="bfloat16"), "a short run"),
    ],
)
def test_a_choice_without_measurement_gives_its_reason(
    overrides: list[str], execution: Execution, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autotune, "_steps_per_second", lambda executor, seconds: 1000.0)
    assert chosen(overrides) == ExecutionChoice(execution, reason)


@pytest.mark.parametrize(("steps", "is_short"), [(39_999, True), (40_000, False)])
def test_a_run_is_short_whose_fraction_for_measuring_is_less_than_measuring_needs(
    steps: int, is_short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autotune, "_steps_per_second", lambda executor, seconds: 1000.0)
    assert (chosen([f"train.steps={steps}"]).reason == "a short run") == is_short


def choice_for(
    monkeypatch: pytest.MonkeyPatch, cores: int, overrides: list[str], layers: dict[str, Any]
) -> ExecutionChoice:
    """Return what is chosen on so many cores for layers between images of digits and logits."""
    for module in (execution, policy):
        monkeypatch.setattr(module, "cores", lambda: cores)
    checked, dataset = parts(["experiment=digits_cnn", *overrides])
    inputs, outputs = {"image": {"shape": [8, 8, 1]}}, {"logits": "logits"}
    last = {"flat": {"kind": "flatten"}, "logits": {"kind": "dense", "units": 10}}
    spec = spec_of({"inputs": inputs, "layers": layers | last, "outputs": outputs})
    trained = phases(checked.config.train, checked.config.optimizer, spec)
    choice, executor = choose(replace(checked, spec=spec, ema_names=(), phases=trained), dataset)
    with executor:
        assert executor._built.execution.parallelism == choice.execution.parallelism
    return choice


FIRST, SECOND = ({name: {"kind": "conv2d", "filters": 2, "kernel_size": 3}} for name in ("first", "second"))
LSTM = {"rows": {"kind": "reshape", "shape": [8, 8]}, "lstm": {"kind": "lstm", "units": 2}}
NORM, RELU = {"norm": {"kind": "batch_norm"}}, {"activated": {"kind": "activation", "function": "relu"}}


@pytest.mark.parametrize(
    ("batch", "cores", "layers", "parallelism"),
    [
        (32, 2, FIRST | SECOND, "inter_op"),
        (32, 2, FIRST | RELU | SECOND, "inter_op"),
        (31, 2, FIRST | SECOND, "intra_op"),
        (64, 1, FIRST | SECOND, "intra_op"),
        (32, 8, FIRST | SECOND, "intra_op"),
        (32, 2, FIRST | NORM, "inter_op"),
        (32, 2, FIRST | NORM | SECOND, "intra_op"),
        (32, 2, FIRST | NORM | RELU | SECOND, "intra_op"),
        (32, 8, LSTM, "inter_op"),
        (31, 8, LSTM, "intra_op"),
    ],
)
def test_a_short_run_has_a_batch_shard_per_core_if_that_suits_its_layers(
    monkeypatch: pytest.MonkeyPatch, batch: int, cores: int, layers: dict[str, Any], parallelism: Parallelism
) -> None:
    overrides = ["train.steps=50", f"train.batch_size={batch}"]
    choice = choice_for(monkeypatch, cores, overrides, layers)
    assert choice == ExecutionChoice(Execution(100, parallelism=parallelism), "a short run")


def test_a_long_run_first_measures_the_parallelism_that_suits_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "_steps_per_second", lambda executor, seconds: 100.0)
    reason = "100 not compiled (inter_op), 100 with updates compiled by XLA (inter_op), 100 not compiled"
    why_not = "; XLA on a CPU is slower for conv2d"
    choice = choice_for(monkeypatch, 2, ["train.steps=100000"], FIRST)
    assert choice.reason == f"measured steps/s: {reason}{why_not}"


def test_a_long_run_uses_the_execution_mode_that_measures_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds: dict[JitCompile, float] = {False: 100.0, "update": 120.0, True: 150.0}
    faster = {"intra_op": 1.0, "inter_op": 0.9}

    def speed(executor: Executor, seconds: float) -> float:
        mode = executor._built.execution
        return speeds[mode.jit_compile] * faster[mode.parallelism]

    monkeypatch.setattr(autotune, "_steps_per_second", speed)
    measured = "measured steps/s: 100 not compiled, 120 with updates compiled by XLA"
    choice = chosen(["train.steps=100000"])
    whole = "150 compiled by XLA, 135 compiled by XLA (inter_op)"
    assert choice == ExecutionChoice(Execution(100, jit_compile=True), f"{measured}, {whole}")
    single = "108 with updates compiled by XLA (inter_op)"
    choice = chosen(["train.precision=bfloat16", "train.steps=100000"])
    assert choice.execution == Execution(100, jit_compile="update", precision="bfloat16")
    assert choice.reason == f"{measured}, {single}; XLA on a CPU does not speed up bfloat16"
    monkeypatch.setattr(autotune, "MAX_COMPILED_OPERATIONS", 100)
    choice = chosen(["train.steps=100000"])
    reason = re.escape(f"{measured}, {single}") + r"; XLA takes too long over [\d,]+ operations"
    assert re.fullmatch(reason, choice.reason)
    speeds["update"] = 50.0
    assert chosen(["train.steps=100000"]).execution == Execution(100)
    faster["inter_op"] = 1.1
    assert chosen(["train.steps=100000"]).execution == Execution(100, parallelism="inter_op")
    choice = chosen(["train.steps=100000", "train.jit_compile=update"])
    assert choice.execution == Execution(100, jit_compile="update", parallelism="inter_op")
    reason = "measured steps/s: 50 with updates compiled by XLA, 55 with updates compiled by XLA (inter_op)"
    assert choice.reason == reason
    choice = chosen(["train.steps=100000", "train.parallelism=intra_op"])
    assert (choice.execution, choice.reason.count("inter_op")) == (Execution(100), 0)


def test_the_choice_has_the_steps_per_execution_that_a_chunk_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overrides = [*OVERRIDES, "train.steps=20", "export.enabled=false"]
    checked, dataset = parts(overrides)
    config = checked.config
    seven = 7 * config.train.batch_size * sum(array[:1].nbytes for array in dataset.splits["train"].values())
    monkeypatch.setattr(batches, "CHUNK_BYTES", seven)
    assert chosen(overrides).execution == Execution(7)
    folder = RunFolder.create(tmp_path / "run", config, [])
    result = run(config, folder.path)
    assert str(result.choice).startswith("7 steps per execution")
    assert folder.state()["execution"]["execution"]["steps_per_execution"] == 7


def test_a_session_has_as_many_threads_for_an_operation_as_it_is_opened_with() -> None:
    def threads() -> set[str]:
        return {place.name for place in Path("/proc/self/task").iterdir()}

    def opened(count: int) -> int:
        """Return how many threads come with a session."""
        before = threads()
        with tf.Graph().as_default() as graph, tf.training_session(graph, threads=count) as session:
            session.run(tf.constant(0))
            return len(threads() - before)

    opened(1)  # with the first come those that all share
    assert [opened(count) for count in (3, 5)] == [3, 5]


@pytest.mark.parametrize("placement", ["resident", "streamed"])
def test_measuring_is_real_and_changes_no_bit(placement: str) -> None:
    overrides = [*OVERRIDES, f"data.placement={placement}", "train.steps=200"]
    _, executor = choose(*parts(overrides))
    with executor:
        assert executor.step > 0, "it was timed"
        executor.initialize()
        loss = executor.run(20)["loss"]
        values = executor.values(executor.names)
    (expected,), expected_values = trained(overrides, Execution(100), [20])
    assert loss["sum"] / loss["count"] == expected
    assert values.keys() == expected_values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected_values[name], err_msg=name)


def test_a_resumed_run_keeps_its_execution_mode(tmp_path: Path) -> None:
    config = load([*OVERRIDES, "train.steps=20", "train.save_every_steps=10", "export.enabled=false"])

    folder = RunFolder.create(tmp_path / "run", config, [])
    chosen = ExecutionChoice(Execution(5, jit_compile=True), "measured before")
    folder.update(execution=chosen.as_dict())
    assert run(config, folder.path).choice == chosen
    assert ExecutionChoice.of(folder.state()["execution"]) == chosen


def test_resuming_a_bfloat16_run_on_a_processor_without_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load([*OVERRIDES, "train.steps=20", "train.precision=bfloat16", "export.enabled=false"])

    folder = RunFolder.create(tmp_path / "run", config, [])
    folder.update(execution=ExecutionChoice(Execution(5, precision="bfloat16"), "chosen elsewhere").as_dict())
    monkeypatch.setattr(tf, "has_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match=r"^train\.precision: bfloat16 needs a processor with .*; set float32$"):
        run(config, folder.path)


def steady_speed(monkeypatch: pytest.MonkeyPatch) -> list[Execution]:
    """Give compiled steps twice the speed of others; return the modes that will be timed, as they are timed."""
    timed: list[Execution] = []

    def speed(executor: Executor, seconds: float) -> float:
        timed.append(executor._built.execution)
        return 2000.0 if executor._built.execution.jit_compile is True else 1000.0

    monkeypatch.setattr(autotune, "_steps_per_second", speed)
    return timed


def test_what_one_run_measured_is_used_by_the_next_of_the_same_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = steady_speed(monkeypatch)
    first = chosen(["train.steps=40000"], tmp_path)
    assert first.execution.jit_compile is True
    timed.clear()
    for alike in (["train.steps=3000"], ["optimizer.learning_rate=0.5", "run.seed=3", "train.log_every_steps=50"]):
        again = chosen(alike, tmp_path)
        assert again == ExecutionChoice(first.execution, f"{first.reason}, in an earlier run")
    assert not timed
    assert chosen(["train.steps=3000"]).reason == "a short run", "another folder of runs"
    for other in ("train.batch_size=31", "network.layers.layer1.units=33", "train.steps_per_execution=50"):
        assert chosen([other, "train.steps=3000"], tmp_path).reason == "a short run", other
    assert chosen(["train.jit_compile=false", "train.parallelism=intra_op"], tmp_path).reason == FIXED
    for damaged in ("{", "[]", json.dumps(dict.fromkeys(json.loads((tmp_path / "execution.json").read_text()), 1))):
        (tmp_path / "execution.json").write_text(damaged)
        assert chosen(["train.steps=3000"], tmp_path).reason == "a short run", damaged


def test_a_sweep_whose_runs_are_long_together_measures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = steady_speed(monkeypatch)
    assert chosen(["train.steps=5000"], tmp_path, runs=7).reason == "a short run"
    assert chosen(["train.steps=5000"], tmp_path, runs=8).execution.jit_compile is True
    timed.clear()
    assert chosen(["train.steps=5000"], tmp_path, runs=8).execution.jit_compile is True
    assert not timed


def test_a_folder_that_cannot_be_written_only_costs_measuring_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady_speed(monkeypatch)
    (tmp_path / "file").write_text("")
    assert chosen(["train.steps=40000"], tmp_path / "file").execution.jit_compile is True
    assert chosen(["train.steps=3000"], tmp_path / "file").reason == "a short run"
