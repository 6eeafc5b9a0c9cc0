"""Runs that differ in numbers alone share a graph, and each has the bits of a run of its own."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from expkit.config.load import load
from expkit.data.dataset import Dataset, load_dataset
from expkit.data.derived import derived_config
from expkit.errors import Pruned
from expkit.preflight import CheckedConfig, check, with_config
from expkit.training import pool
from expkit.training.execution import Execution
from expkit.training.graphs import train_graph
from expkit.training.pool import GraphPool
from expkit.training.sessions import Executor

SEEDS = [["run.seed=0"], ["run.seed=1"], ["run.seed=2"]]
DIGITS = ["network.layers.layer1.units=16", "data.preprocess.image=[]"]
CNN = ["experiment=digits_cnn", "network.layers.features.layers.conv1.filters=4"]
LSTM = ["experiment=sentences", "network.settings.units=4", "network.settings.size=4"]
PLAIN, XLA = Execution(4), Execution(4, jit_compile=True)


def parts(folder: Path, overrides: list[str]) -> tuple[CheckedConfig, Dataset]:
    checked = check(load([f"run.folder={folder}", *overrides]))
    dataset = load_dataset(checked.config, checked.spec)
    return with_config(checked, derived_config(checked.config, checked.spec.trained, dataset)), dataset


def trained(executor: Executor) -> dict[str, np.ndarray]:
    with executor:
        executor.initialize()
        executor.run(6)
        return {**executor.values(executor.names), **{name: np.array(x) for name, x in executor.learning_rates.items()}}


def graphs_built(
    folder: Path, base: list[str], runs: list[list[str]], execution: Execution = PLAIN, *, own: tuple[int, ...] = (-1,)
) -> list[int]:
    """Run steps of several runs with one pool; return how many graphs each built.

    Args:
        folder: of all runs.
        base: overrides of all runs.
        runs: overrides of each run.
        execution: execution mode.
        own: indices of those that are compared with a run of its own.
    """
    graphs, counts = GraphPool(), []
    for overrides in runs:
        checked, dataset = parts(folder, [*base, *overrides])
        with mock.patch.object(pool, "train_graph", wraps=train_graph) as built:
            found = trained(graphs.executor(checked, dataset, execution))
        counts.append(built.call_count)
        if overrides in [runs[index] for index in own]:
            expected = trained(Executor(train_graph(checked, dataset, execution)))
            assert list(found) == list(expected)
            assert [name for name in expected if not np.array_equal(found[name], expected[name])] == [], overrides
    return counts


def test_runs_of_other_numbers_share_one_graph_and_have_the_bits_of_their_own(tmp_path: Path) -> None:
    base = [*DIGITS, "optimizer=adamw"]
    runs = [
        ["optimizer.learning_rate=0.01"],
        ["optimizer.learning_rate=0.003", "run.seed=1"],
        ["optimizer.weight_decay=0.1", "network.layers.dropout.rate=0.1", "ema.decay=0.9", "data.split.seed=5"],
    ]
    # The second run builds a graph that is fed, which is compared with that of the first.
    assert graphs_built(tmp_path / "new", base, runs, own=(0, 1, 2)) == [1, 1, 0]
    assert graphs_built(tmp_path / "new", base, runs[1:]) == [1, 0], "that the graph is exact is remembered"


def test_runs_of_other_lengths_share_a_graph(tmp_path: Path) -> None:
    runs = [["train.steps=500"], ["train.steps=700", "train.log_every_steps=7", "train.keep_last=1"], ["train.steps=3"]]
    assert graphs_built(tmp_path, DIGITS, runs) == [1, 0, 0]
    scheduled = ["optimizer.learning_rate={kind: cosine, initial_learning_rate: 0.001}"]
    assert graphs_built(tmp_path, [*DIGITS, *scheduled], runs[:2]) == [1, 1], "the schedule ends with the last step"


def test_a_graph_is_not_compared_with_one_of_a_number_of_few_bits(tmp_path: Path) -> None:
    runs = [["network.layers.dropout.rate=0.5"], ["optimizer.learning_rate=0.003"]]
    assert graphs_built(tmp_path, DIGITS, runs) == [1, 2], "the second builds one more to compare with"
    assert [number for number in (0.5, 0.75, 10.0, 0.1, 0.001, 0.99, 7) if pool._is_awkward(number)] == [
        *(0.1, 0.001, 0.99, 7)
    ]


@pytest.mark.parametrize(
    ("base", "execution"), [(DIGITS, XLA), (CNN, PLAIN), (LSTM, PLAIN)], ids=["xla", "cnn", "lstm"]
)
def test_convolutions_an_lstm_and_compiled_steps_share_their_graphs(
    tmp_path: Path, base: list[str], execution: Execution
) -> None:
    rates = [[f"optimizer.learning_rate={rate}", f"run.seed={seed}"] for seed, rate in enumerate((0.01, 0.003))]
    assert graphs_built(tmp_path, base, rates, execution) == [1, 1]


def test_another_structure_has_a_graph_of_its_own(tmp_path: Path) -> None:
    runs = [[], ["network.layers.dropout.rate=0"], ["optimizer.beta_1=0.8"], ["train.batch_size=16"]]
    assert graphs_built(tmp_path, DIGITS, runs, own=()) == [1] * len(runs)


def test_where_numbers_are_not_exact_the_seed_alone_is_fed(tmp_path: Path) -> None:
    base = [*DIGITS, "optimizer=adamw", "optimizer.warmup_steps=50", "optimizer.weight_decay=0.3"]
    with mock.patch.object(pool, "_is_exact", side_effect=[False, True]):
        counts = graphs_built(tmp_path, base, [*SEEDS, ["optimizer.learning_rate=0.02"]])
    assert counts == [1, 2, 0, 1], "the fourth run has another rate, which is a constant"


def test_a_number_that_is_computed_in_another_order_is_found(tmp_path: Path) -> None:
    checked, dataset = parts(tmp_path, [*DIGITS, "optimizer=adamw", "run.seed=1"])
    numbers = dict.fromkeys(["optimizer.learning_rate", "optimizer.weight_decay"], 0.1)
    with Executor(train_graph(checked, dataset, PLAIN, tuple(numbers)), numbers) as executor:
        assert pool._is_exact(checked, dataset, executor, tuple(numbers))
        executor.renew = lambda given, examples: Executor.renew(
            executor, {name: np.nextafter(np.float32(number), np.float32(1)) for name, number in given.items()}, None
        )
        assert not pool._is_exact(checked, dataset, executor, tuple(numbers))


def test_a_session_is_kept_unless_its_run_failed(tmp_path: Path) -> None:
    graphs, (checked, dataset) = GraphPool(), parts(tmp_path, DIGITS)
    first = graphs.executor(checked, dataset, PLAIN)
    with pytest.raises(Pruned), first:
        raise Pruned("not promising")
    assert graphs.executor(checked, dataset, PLAIN) is first
    with pytest.raises(ZeroDivisionError), first:
        raise ZeroDivisionError
    assert graphs.executor(checked, dataset, PLAIN) is not first


def test_few_sessions_are_kept(tmp_path: Path) -> None:
    graphs, opened = GraphPool(), []
    with mock.patch.object(pool, "MOST_SESSIONS", 2):
        for units in (2, 3, 4):
            opened.append(graphs.executor(*parts(tmp_path, [f"network.layers.layer1.units={units}"]), PLAIN))
    assert [executor.closed for executor in opened] == [True, False, False]


def test_graphs_of_evaluation_are_shared_unless_they_draw_by_the_seed(tmp_path: Path) -> None:
    for base, shares in ((DIGITS, True), (["experiment=gan"], False)):
        graphs = GraphPool()
        first, second = (graphs.of(*parts(tmp_path, [*base, f"run.seed={seed}"])) for seed in (0, 1))
        assert (first is second) is shares, base
