"""Augmented training: pixels depend on (seed, epoch, example) alone, and nothing else than training changes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.data.augment import FRACTION, PARTNER, AugmentedExamples
from expkit.data.batches import Sampling
from expkit.data.prefetch import Stream
from expkit.run_folder import RunFolder
from expkit.training import sessions as executors
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.inference import infer_graph
from expkit.training.sessions import Evaluator, Executor
from support.experiments import (
    CNN,
    STANDARDIZED,
    assert_same,
    checkpoint_values,
    config_of,
    examples,
    loaded,
    numpy_cross_entropy,
    opened,
    run,
    write_arrays,
)

STEPS: list[dict[str, Any]] = [
    {"kind": "flip", "horizontal": True},
    {"kind": "random_crop", "padding": 2, "fill": "reflect"},
    {"kind": "rotate", "probability": 0.5},
    {"kind": "brightness"},
    {"kind": "contrast"},
    {"kind": "gaussian_noise", "stddev": 0.05},
    {"kind": "mixup", "probability": 0.75},
]
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 1)).astype(np.uint8)
ARRAYS = {"x": PIXELS, "label": (PIXELS.reshape(60, -1)[:, 0] // 86).astype(np.int64)}


def augmented(folder: Path, *, stored: bool = False, steps: Any = STEPS, **sections: Any) -> Any:
    """Return the small convolutional experiment on bytes, standardized in the step, with augmentation."""
    source = {"source": write_arrays(folder, ARRAYS)} if stored else {}
    data = {"preprocess": STANDARDIZED, "augment": {"x": steps}, **source, **sections.pop("data", {})}
    train = {"jit_compile": False, **sections.pop("train", {})}
    return config_of(folder, ARRAYS, network=CNN, data=data, train=train, **sections)


def stepped(config: Any, calls: list[int], execution: Execution) -> dict[str, np.ndarray]:
    built = train_graph(*loaded(config), execution)
    with Executor(built) as executor:
        executor.initialize()
        for steps in calls:
            executor.run(steps)
        return executor.values(built.variables)


def seen(config: Any, batch_size: int, steps: int, chunks: int) -> dict[tuple[int, int], tuple[bytes, ...]]:
    """Return what a stream of batches makes of examples, by epoch and example."""
    _, dataset = loaded(config)
    sampling = Sampling(batch_size=batch_size, seed=config.run.seed)
    train = dataset.splits["train"]
    stream = Stream(train, steps, sampling, dataset.augmentation)
    found = {}
    try:
        for number in range(chunks):
            first = number * steps
            with tf.Graph().as_default(), tf.Session() as session:
                drawn = session.run(sampling.indices(tf.constant(first, tf.int64), steps, 40))
            epochs = sampling.epochs(first, steps, 40)
            fields = stream.chunk(number)
            for place in np.ndindex(drawn.shape):
                values = tuple(fields[name][place].tobytes() for name in sorted(fields))
                found[(int(epochs[place]), int(drawn[place]))] = values
    finally:
        stream.close()
    return found


def test_an_example_is_the_same_in_an_epoch_whatever_the_batches(tmp_path: Path) -> None:
    config = augmented(tmp_path)
    whole = seen(config, 40, 3, 1)
    assert len(whole) == 120
    small = seen(config, 7, 4, 4)
    assert len(small) == 112
    assert small.items() <= whole.items()
    assert len({whole[(epoch, 5)] for epoch in range(3)}) == 3
    other = seen(config.model_copy(update={"run": config.run.model_copy(update={"seed": 1})}), 40, 3, 1)
    assert not set(other.values()) & set(whole.values())


def test_dropped_tokens_are_the_same_in_an_epoch_whatever_the_batches(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(4, 50, (60, 8)).astype(np.int32)
    network = {
        "inputs": {"x": {"shape": [8], "dtype": "int32"}},
        "layers": {
            "words": {"kind": "embedding", "input": "x", "input_dim": 50, "output_dim": 3},
            "flat": {"kind": "flatten"},
            "logits": {"kind": "dense", "units": 3},
        },
        "outputs": {"logits": "logits"},
    }
    arrays = {"x": tokens, "label": tokens[:, 0] % 3}
    config = config_of(
        tmp_path, arrays, network=network, data={"augment": {"x": [{"kind": "token_dropout", "rate": 0.4}]}}
    )
    whole, small = seen(config, 40, 3, 1), seen(config, 7, 4, 4)
    assert small.items() <= whole.items()
    assert len({whole[(epoch, 5)] for epoch in range(3)}) == 3
    assert_same(stepped(config, [3, 10], Execution(7)), stepped(config, [13], Execution(10)))


@pytest.mark.parametrize(("steps", "calls"), [(1, [13]), (7, [3, 10]), (100, [13])])
def test_steps_are_equal_bit_for_bit_in_all_calls_and_placements(tmp_path: Path, steps: int, calls: list[int]) -> None:
    plain = stepped(augmented(tmp_path / "plain"), [13], Execution(10))
    for name, placement, stored in (("a", "resident", False), ("b", "streamed", True), ("c", "resident", True)):
        config = augmented(tmp_path / name, stored=stored, data={"placement": placement})
        assert_same(stepped(config, calls, Execution(steps)), plain)


def test_batches_accumulated_see_the_examples_of_one_batch(tmp_path: Path) -> None:
    one = augmented(tmp_path / "one", train={"batch_size": 8, "gradient_accumulation_steps": 2})
    other = seen(augmented(tmp_path / "two"), 16, 2, 1)
    assert other == {key: value for key, value in seen(one, 8, 4, 1).items() if key in other}


def test_a_run_that_stops_between_epochs_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"steps": 20, "log_every_steps": 10, "save_every_steps": 7, "evaluate_every_steps": 9}
    config = augmented(tmp_path / "data", train={**clock, "steps_per_execution": 8})
    run(config, tmp_path / "unbroken")
    RunFolder.create(tmp_path / "broken", config, [])

    class Stopped(Exception):
        pass

    class Stopping(Executor):
        def run(self, steps: int, interrupted: Any = lambda: False) -> Any:
            if self.step >= 9:
                raise Stopped
            return super().run(steps, interrupted)

    with monkeypatch.context() as patch:
        patch.setattr("expkit.training.autotune.Executor", Stopping)
        with pytest.raises(Stopped):
            run(config, tmp_path / "broken")
    assert executors.Executor is Executor
    run(config, tmp_path / "broken")
    last = "checkpoints/step-00000020/model"
    assert_same(checkpoint_values(tmp_path / "broken" / last), checkpoint_values(tmp_path / "unbroken" / last))


def test_evaluation_and_the_frozen_graph_are_those_without_augmentation(tmp_path: Path) -> None:
    digests = []
    for steps in (STEPS, []):
        config = augmented(tmp_path / f"{len(steps)}", steps=steps)
        checked, dataset = loaded(config)
        infer = infer_graph(checked.spec, dataset.preprocessing, config.run.seed)
        evaluate = evaluate_graph(checked, dataset)
        with Evaluator(evaluate, config) as evaluator:
            with tf.Graph().as_default():
                values = {name: np.full(v.shape, 0.1, np.float32) for name, v in evaluate.variables.items()}
            evaluator.load(values)
            metrics = evaluator.evaluate(dataset.splits["valid"], 1)
        served = hashlib.sha256(infer.graph.as_graph_def().SerializeToString(deterministic=True)).hexdigest()
        evaluated = [(operation.name, operation.type) for operation in evaluate.graph.get_operations()]
        digests.append((served, evaluated, metrics, dataset.digest))
    assert digests[0] == digests[1]


def test_a_mixed_example_has_the_losses_of_both_labels(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        data={"augment": {"x": [{"kind": "mixup", "alpha": 1.0}]}},
        train={"batch_size": 40, "jit_compile": False},
        optimizer={"learning_rate": 0.0},
    )
    checked, dataset = loaded(config)
    assert dataset.augmentation is not None
    source = AugmentedExamples(dataset.splits["train"], dataset.augmentation)
    batch = source.take(np.arange(40), np.zeros(40, np.int64))
    source.close()
    raw, fraction = dataset.splits["train"], batch[FRACTION]
    mixed_in = [int(np.argmin(np.abs(raw["x"] - other).sum(1))) for other in _others(raw["x"], batch["x"], fraction)]
    np.testing.assert_array_equal(raw["label"][mixed_in], batch[f"{PARTNER}label"])
    np.testing.assert_array_equal(raw["label"], batch["label"])
    built = train_graph(checked, dataset, Execution(1))
    with Executor(built) as executor:
        executor.initialize()
        statistics = executor.run(1)
        values = executor.values(built.variables)
    hidden = np.tanh(batch["x"] @ values["hidden/kernel"] + values["hidden/bias"])
    logits = hidden @ values["logits/kernel"] + values["logits/bias"]
    own, other = (numpy_cross_entropy(logits, batch[name]) for name in ("label", f"{PARTNER}label"))
    expected = (fraction * own + (1 - fraction) * other).mean()
    np.testing.assert_allclose(statistics["loss"]["sum"] / statistics["loss"]["count"], expected, rtol=1e-5)
    right = (logits.argmax(axis=1) == batch["label"]).mean()
    accuracy = {key: float(value) for key, value in statistics["accuracy"].items()}
    assert right == pytest.approx(next(iter(accuracy.values())) / 40) or right * 40 in accuracy.values()


def _others(own: np.ndarray, mixed: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    weight = fraction[:, None].astype(np.float64)
    return np.asarray((mixed - weight * own) / np.maximum(1 - weight, 1e-6))


@pytest.mark.parametrize("reduction", ["mean", "mean_over_positions", "sum_over_positions", "sum"])
def test_mixing_with_oneself_changes_no_loss(tmp_path: Path, reduction: str) -> None:
    arrays = examples(count=60)
    arrays = {name: np.repeat(array[:1], 60, axis=0) for name, array in arrays.items()}
    found = []
    for steps in ([], [{"kind": "mixup"}]):
        losses = {
            "main": {"kind": "sparse_softmax_cross_entropy", "reduction": reduction},
            "weighted": {"kind": "focal", "class_weights": [1.0, 2.0, 3.0], "reduction": reduction},
        }
        config = config_of(
            tmp_path / f"{len(steps)}",
            arrays,
            data={"augment": {"x": steps}},
            train={"losses": losses, "jit_compile": False},
        )
        found.append(stepped(config, [4], Execution(2)))
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_augmented_data_run_frozen_and_reopened(tmp_path: Path) -> None:
    result = run(augmented(tmp_path / "data"), tmp_path / "run")
    assert result.frozen is not None
    assert opened(tmp_path / "run").config.data.augment["x"][-1].kind == "mixup"
