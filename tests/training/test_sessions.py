"""Sessions on graphs: initialize, load, restore, save, step; evaluation and training keep apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from expkit import tf1 as tf
from expkit.config.load import load
from expkit.config.sections.train import JitCompile
from expkit.data.dataset import Dataset
from expkit.errors import DamagedCheckpointError
from expkit.preflight import CheckedConfig
from expkit.training import loop
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.sessions import Evaluator, Executor
from expkit.training.snapshot import shards
from expkit.training.state import StatisticArrays, TrainingState
from expkit.training.sums import add_statistics, results
from support.experiments import CNN, assert_same, checkpoint_values, config_of, loaded

Small = tuple[CheckedConfig, Dataset]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Return a network with batch normalization, dropout, averages and Adam."""
    config = config_of(tmp_path_factory.mktemp("small"), network=CNN, optimizer={"kind": "adam", "learning_rate": 0.01})
    return loaded(config)


def test_restore_gives_every_saved_value_back_without_running_initializers(small: Small, tmp_path: Path) -> None:
    built = train_graph(*small)
    with Executor(built) as executor:
        executor.initialize()
        executor.run(3)
        saved = executor.values(built.variables)
        assert executor.snapshot()(str(tmp_path / "model"))
    with Executor(train_graph(*small)) as fresh:
        with pytest.raises(tf.errors.FailedPreconditionError):
            fresh.values(["conv/kernel"])
        fresh.restore(str(tmp_path / "model"))
        assert_same(saved, fresh.values(built.variables))
        assert fresh.step == 3
    assert_same(saved, checkpoint_values(tmp_path / "model"))


def test_a_plain_saver_reads_what_the_executor_saved(small: Small, tmp_path: Path) -> None:
    with Executor(train_graph(*small)) as executor:
        executor.initialize()
        saved = executor.values(["conv/kernel", "logits/bias"])
        executor.snapshot()(str(tmp_path / "model"))
    with tf.Graph().as_default(), tf.Session() as session:
        kernel = tf.get_variable("conv/kernel", (3, 3, 1, 4))
        bias = tf.get_variable("logits/bias", (3,))
        tf.train.Saver().restore(session, str(tmp_path / "model"))
        assert_same(saved, dict(zip(saved, session.run([kernel, bias]), strict=True)))


def test_restoring_a_damaged_checkpoint_is_an_error_with_a_message(small: Small, tmp_path: Path) -> None:
    with Executor(train_graph(*small)) as executor:
        executor.initialize()
        executor.snapshot()(str(tmp_path / "model"))
        data = tmp_path / "model.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:-200])
        with pytest.raises(DamagedCheckpointError) as caught:
            executor.restore(str(tmp_path / "model"))
    assert str(caught.value).startswith(f"{tmp_path}/model: damaged: ")


@pytest.mark.parametrize("compiled", [False, "update", True])
def test_a_snapshot_holds_the_values_of_its_step_however_late_it_is_written(
    small: Small, tmp_path: Path, compiled: JitCompile
) -> None:
    with Executor(train_graph(*small, Execution(3, jit_compile=compiled))) as executor:
        executor.initialize()
        executor.run(4)
        taken = executor.values(executor.names)
        write = executor.snapshot()
        executor.run(5)
        assert write(str(tmp_path / "first"))
        later = executor.values(executor.names)
        assert executor.snapshot()(str(tmp_path / "second"))
    assert_same(taken, checkpoint_values(tmp_path / "first"))
    assert_same(later, checkpoint_values(tmp_path / "second"))
    assert not np.array_equal(taken["conv/kernel"], later["conv/kernel"])


@pytest.mark.parametrize(("name", "finite"), [("conv/kernel", False), ("norm/moving_mean", True)])
def test_a_snapshot_reports_whether_trained_values_are_finite(
    small: Small, tmp_path: Path, name: str, finite: bool
) -> None:
    with Executor(train_graph(*small)) as executor:
        executor.initialize()
        value = executor.values([name])[name].copy()
        value.flat[1] = np.nan
        executor.load({name: value})
        assert executor.snapshot()(str(tmp_path / "model")) is finite


def test_a_large_checkpoint_is_written_to_several_files_and_read_as_one(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expkit.training.snapshot.LARGEST_SHARD_BYTES", 300)
    with Executor(train_graph(*small)) as executor:
        executor.initialize()
        executor.run(1)
        saved = executor.values(executor.names)
        executor.snapshot()(str(tmp_path / "model"))
        files = sorted(path.name for path in tmp_path.iterdir())
        count = len(files) - 1
        assert files == [*(f"model.data-{n:05d}-of-{count:05d}" for n in range(count)), "model.index"]
        assert count > 2
        executor.run(1)
        executor.restore(str(tmp_path / "model"))
        assert_same(saved, executor.values(executor.names))
    assert_same(saved, checkpoint_values(tmp_path / "model"))


def test_values_are_split_into_files_in_their_order_and_none_is_too_large_unless_one_value_is() -> None:
    sizes = {"a": 3, "b": 4, "c": 9, "d": 1, "e": 4, "f": 0}
    assert shards(sizes, 7) == [["a", "b"], ["c"], ["d", "e", "f"]]


def test_load_puts_values_into_the_variables_named(small: Small) -> None:
    with Executor(train_graph(*small)) as executor:
        executor.initialize()
        before = executor.values(["conv/kernel", "logits/bias"])
        executor.load({"logits/bias": np.array([1, 2, 3], np.float32)})
        after = executor.values(["conv/kernel", "logits/bias"])
    np.testing.assert_array_equal(after["logits/bias"], [1, 2, 3])
    np.testing.assert_array_equal(after["conv/kernel"], before["conv/kernel"])


def test_initial_values_and_steps_are_the_same_in_two_sessions(small: Small) -> None:
    seen = []
    for _ in range(2):
        built = train_graph(*small)
        with Executor(built) as executor:
            executor.initialize()
            executor.run(4)
            seen.append(executor.values(built.variables))
    assert_same(*seen)


def test_steps_one_by_one_equal_steps_at_once(small: Small) -> None:
    built = train_graph(*small)
    totals: list[StatisticArrays] = []
    values = []
    for runs in ([4], [1, 1, 1, 1]):
        with Executor(built) as executor:
            executor.initialize()
            total: StatisticArrays = {}
            for steps in runs:
                add_statistics(total, executor.run(steps))
            totals.append(total)
            values.append(executor.values(built.variables))
    assert_same(*values)
    for name, statistics in totals[0].items():
        assert_same(statistics, totals[1][name])


def test_evaluating_between_steps_changes_no_training_value(small: Small) -> None:
    checked, data = small
    built = train_graph(*small)
    finals = []
    for evaluations in (0, 3):
        with Executor(built) as executor, Evaluator(evaluate_graph(*small), checked.config) as evaluator:
            executor.initialize()
            for _ in range(4):
                executor.run(1)
                for _ in range(evaluations):
                    loop.evaluate(executor, evaluator, data, "valid")
            finals.append(executor.values(built.variables))
    assert_same(*finals)


def test_the_learning_rate_is_that_of_the_last_step_done(tmp_path: Path) -> None:
    rate = {"kind": "piecewise", "boundaries": [1], "values": [0.5, 0.25]}
    config = config_of(tmp_path, optimizer={"kind": "sgd", "learning_rate": rate})
    with Executor(train_graph(*loaded(config))) as executor:
        executor.initialize()
        seen = [executor.learning_rates]
        for _ in range(3):
            executor.run(1)
            seen.append(executor.learning_rates)
    assert seen == [{"learning_rate": rate} for rate in (0.5, 0.5, 0.5, 0.25)]


def test_an_evaluation_in_batches_weighs_every_example_the_same(small: Small) -> None:
    checked, data = small
    seen = []
    for size in (1000, 3):
        train = checked.config.train.model_copy(update={"evaluation_batch_size": size})
        changed = checked.config.model_copy(update={"train": train})
        with Executor(train_graph(*small)) as executor:
            executor.initialize()
            with Evaluator(evaluate_graph(replace(checked, config=changed), data), changed) as evaluator:
                seen.append(loop.evaluate(executor, evaluator, data, "test"))
    assert seen[0] == pytest.approx(seen[1], rel=1e-5)


def test_results_of_statistics_are_means_and_metrics(small: Small) -> None:
    sums = {"loss": {"sum": np.float64(6), "count": np.float64(4)}, "accuracy": {"sum": 3.0, "count": 4.0}}
    assert results(small[0].config, sums) == {"loss": 1.5, "accuracy": 0.75}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_values_that_were_read_do_not_change_while_training_continues(small: Small, jit_compile: bool) -> None:
    with Executor(train_graph(*small, Execution(5, jit_compile=jit_compile))) as executor:
        executor.initialize()
        executor.run(5)
        read = executor.values(executor.names)
        before = {name: value.copy() for name, value in read.items()}
        executor.run(20)
        after = executor.values(executor.names)
    assert_same(before, read)
    assert [name for name in read if np.array_equal(read[name], after[name])] == []


def test_accumulated_gradients_are_those_of_the_joined_batch_and_repeat_bit_for_bit() -> None:
    config = load(["network.layers.dropout.rate=0", "train.batch_size=32", "optimizer.global_clipnorm=1.0"])
    parts = load(
        [
            "network.layers.dropout.rate=0",
            "train.batch_size=8",
            "train.gradient_accumulation_steps=4",
            "optimizer.global_clipnorm=1.0",
        ]
    )
    results = []
    for each in (config, parts, parts):
        built = train_graph(*loaded(each), Execution(7))
        with Executor(built) as executor:
            executor.initialize()
            sums = executor.run(10)
            results.append((sums, executor.values(built.variables)))
    (joined, whole), (summed, accumulated), (_, again) = results
    assert summed["loss"]["count"] == joined["loss"]["count"] == 320
    np.testing.assert_allclose(summed["loss"]["sum"], joined["loss"]["sum"], rtol=1e-5)
    for name, value in whole.items():
        np.testing.assert_allclose(accumulated[name], value, rtol=1e-3, atol=2e-4, err_msg=name)
        np.testing.assert_array_equal(accumulated[name], again[name], err_msg=name)


TOKENS = {
    "inputs": {"x": {"shape": [5], "dtype": "int64"}},
    "layers": {
        "words": {"kind": "embedding", "input_dim": 7, "output_dim": 3},
        "cell": {"kind": "lstm", "units": 4},
        "logits": {"kind": "dense", "units": 3},
    },
    "outputs": {"logits": "logits"},
}


REPEATED = {
    "inputs": {"x": {"shape": [2], "dtype": "int32"}},
    "layers": {
        "words": {
            "kind": "embedding",
            "input_dim": 9,
            "output_dim": 3,
            "initializer": {"embeddings": {"kind": "ones"}},
        },
        "flat": {"kind": "flatten"},
        "logits": {"kind": "dense", "units": 3},
    },
    "outputs": {"logits": "logits"},
}


@pytest.mark.parametrize(("clipnorm", "compiled"), [(None, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad"])
def test_an_embedding_trains_by_the_same_rule_in_whole_and_in_accumulated_batches(
    kind: str, clipnorm: float | None, compiled: bool, tmp_path: Path
) -> None:
    draw = np.random.default_rng(3)
    # Ids repeat within a batch; half of them, and row 8, appear in the first steps only or never.
    ids = np.concatenate([draw.integers(0, 8, (8, 2)), draw.integers(0, 4, (24, 2)), draw.integers(0, 8, (28, 2))])
    data = {"x": ids.astype(np.int32), "label": draw.integers(0, 3, 60)}
    momentum = {"momentum": 0.9} if kind in ("momentum", "rmsprop") else {}
    lazy = {"lazy": False} if momentum and not compiled and clipnorm is None else {}
    optimizer = {"kind": kind, "learning_rate": 0.1, "global_clipnorm": clipnorm, **momentum, **lazy}
    values = []
    for parts in (1, 2):
        train = {"batch_size": 8 // parts, "gradient_accumulation_steps": parts}
        config = config_of(tmp_path / str(parts), data, network=REPEATED, optimizer=optimizer, train=train)
        with Executor(train_graph(*loaded(config), Execution(4, jit_compile=compiled))) as executor:
            executor.initialize()
            executor.run(8)
            values.append(executor.values(executor.names))
    for name, value in values[0].items():
        np.testing.assert_allclose(values[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_global_norm_of_an_embeddings_gradient_counts_a_repeated_id_once(tmp_path: Path) -> None:
    data = {"x": np.full((60, 2), 1, np.int32), "label": np.zeros(60, np.int64)}
    moved = {}
    for clipnorm in (None, 0.01):
        optimizer = {"kind": "sgd", "learning_rate": 1.0, "global_clipnorm": clipnorm}
        config = config_of(
            tmp_path / str(clipnorm), data, network=REPEATED, optimizer=optimizer, train={"batch_size": 40}
        )
        with Executor(train_graph(*loaded(config))) as executor:
            executor.initialize()
            before = executor.values(executor.names)
            executor.run(1)
            after = executor.values(executor.names)
        moved[clipnorm] = {
            name: before[name] - after[name] for name in before if name.endswith(("s", "kernel", "bias"))
        }
    norm = np.sqrt(sum((change**2).sum() for change in moved[None].values()))
    assert norm > 0.01
    for name, change in moved[None].items():
        np.testing.assert_allclose(moved[0.01][name], change * 0.01 / norm, rtol=1e-4, atol=1e-5, err_msg=name)


def test_auc_is_exact_over_batches_steps_and_calls_and_goes_through_a_checkpoint(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    data = {"x": draw.normal(size=(60, 4)).astype(np.float32), "label": draw.integers(0, 2, 60)}
    network = {
        "inputs": {"x": {"shape": [4]}},
        "layers": {"logits": {"kind": "dense", "units": 1, "initializer": {"kernel": {"kind": "ones"}}}},
        "outputs": {"logits": "logits"},
    }
    train: dict[str, Any] = {
        "losses": {"main": {"kind": "sigmoid_cross_entropy"}},
        "metrics": {"auc": {"kind": "auc"}},
        "batch_size": 5,
        "evaluation_batch_size": 4,
    }
    seen = []
    ways = [Execution(1), Execution(3), Execution(8, jit_compile=True), Execution(2)]
    for execution, accumulated in zip(ways, (1, 1, 1, 2), strict=True):
        train |= {"gradient_accumulation_steps": accumulated}
        optimizer = {"kind": "sgd", "learning_rate": 0.0}
        config = config_of(tmp_path / str(len(seen)), data, network=network, optimizer=optimizer, train=train)
        checked, dataset = loaded(config)
        with Executor(train_graph(checked, dataset, execution)) as executor:
            executor.initialize()
            state = TrainingState()
            add_statistics(state.window, executor.run(3))
            state = TrainingState.of(json.loads(json.dumps(state.plain())))
            add_statistics(state.window, executor.run(8 // accumulated - 3))
            seen.append(results(checked.config, state.window)["auc"])
            with Evaluator(evaluate_graph(checked, dataset), config) as evaluator:
                test = loop.evaluate(executor, evaluator, dataset, "test")
    scores = data["x"].astype(np.float64).sum(axis=1)
    expected = roc_auc_score(data["label"][:40], scores[:40])
    assert seen == pytest.approx([expected] * 4, abs=1e-9), "an epoch of 40 examples"
    assert test["test/auc"] == pytest.approx(roc_auc_score(data["label"][50:60], scores[50:60]), abs=1e-9)


@pytest.mark.parametrize("compiled", ["update", True])
def test_rows_of_a_table_and_loops_over_time_compile_to_the_same_training(compiled: JitCompile, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = {"x": draw.integers(0, 7, (60, 5)), "label": draw.integers(0, 3, 60)}
    optimizer = {"kind": "adam", "learning_rate": 0.01, "global_clipnorm": 1.0}
    config = config_of(tmp_path, arrays, network=TOKENS, optimizer=optimizer)
    results = []
    for mode in (False, compiled):
        with Executor(train_graph(*loaded(config), Execution(10, jit_compile=mode))) as executor:
            executor.initialize()
            executor.run(20)
            results.append(executor.values(executor.names))
    plain, same = results
    assert "words/embeddings/Adam" in plain
    for name, value in plain.items():
        np.testing.assert_allclose(same[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_blocks_of_batches_are_filled_once_and_then_follow_one_another(small: Small, monkeypatch: Any) -> None:
    built = train_graph(*small, Execution(5))
    with Executor(built) as executor:
        executor.initialize()
        fetched: list[Any] = []
        session_run = executor._session.run

        def counted(fetches: Any, *rest: Any, **named: Any) -> Any:
            fetched.append(fetches)
            return session_run(fetches, *rest, **named)

        monkeypatch.setattr(executor._session, "run", counted)
        for steps in (3, 2, 7, 9):
            executor.run(steps)
        assert fetched.count(built.batches.fill) == 1
        executor.load({"global_step": np.int64(2)})
        executor.run(1)
        assert fetched.count(built.batches.fill) == 2
