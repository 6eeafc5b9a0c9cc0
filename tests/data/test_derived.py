"""Steps of epochs, schedules over them, weights and names of classes: against scikit-learn, and counted by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from expkit.config.schema import Config
from expkit.data.dataset import load_dataset
from expkit.data.derived import derived_config, schedules_follow_steps
from expkit.errors import ConfigError, DataError
from expkit.kinds.class_weights import ClassWeighted
from expkit.preflight import check
from expkit.training.graphs import evaluate_graph
from expkit.training.sessions import Evaluator
from support.experiments import config_of, examples, opened, run

pytestmark = pytest.mark.untraced

NAMES = ("apple", "bee", "cat")


def derived(config: Config) -> Config:
    spec = check(config).spec
    return derived_config(config, spec.trained, load_dataset(config, spec))


@pytest.mark.parametrize(
    ("epochs", "train", "order", "steps"),
    [
        (1, {}, "shuffled", 5),
        (2.5, {}, "shuffled", math.ceil(2.5 * 40 / 8)),
        (0.1, {"batch_size": 4}, "shuffled", 1),  # 0.1 is a little more as it is stored
        (0, {}, "shuffled", 0),
        (3, {"batch_size": 7}, "shuffled", math.ceil(3 * 40 / 7)),
        (1, {"batch_size": 7}, "shuffled", 6),
        (2, {"batch_size": 4, "gradient_accumulation_steps": 3}, "shuffled", math.ceil(80 / 12)),
        (3, {"batch_size": 7}, "stream", 15),  # 7 lanes of 5 examples each; 5 examples are in none
        (0.5, {"batch_size": 7}, "stream", 3),
    ],
)
def test_epochs_are_the_fewest_steps_in_which_every_example_is_seen_so_often(
    tmp_path: Path, epochs: float, train: dict[str, Any], order: str, steps: int
) -> None:
    section = {"steps": None, "epochs": epochs, "evaluation_batch_size": 10, **train}
    data = {"source": {"kind": "npz", "path": str(tmp_path / "data.npz")}, "order": order}
    data["split"] = {"train": [0, 40], "valid": [40, 50], "test": [50, 60]}
    config = derived(config_of(tmp_path, train=section, data=data))
    assert (config.train.steps, config.train.epochs) == (steps, None)


def test_a_step_of_phases_has_the_examples_of_all_its_batches(tmp_path: Path) -> None:
    phases = {"a": {"losses": ["main"], "variables": ".*", "steps": 3}}
    config = derived(config_of(tmp_path, train={"steps": None, "epochs": 3, "phases": phases}))
    assert config.train.steps == math.ceil(3 * 40 / (3 * 8))


def test_windows_are_the_examples_of_an_epoch(tmp_path: Path) -> None:
    network = {
        "inputs": {"x": {"shape": [5, 4]}},
        "layers": {"logits": {"kind": "dense", "units": 3}},
        "outputs": {"logits": "logits"},
    }
    data = {"source": {"kind": "npz", "path": str(tmp_path / "data.npz")}, "windows": {"length": 5}}
    data["split"] = {"train": [0, 40], "valid": [40, 50], "test": [50, 60]}
    section = {"steps": None, "epochs": 2, "batch_size": 3}
    config = derived(config_of(tmp_path, examples(), network=network, data=data, train=section))
    assert config.train.steps == math.ceil(2 * (40 // 5) / 3)


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        ({"steps": None}, "train: has neither steps nor epochs; add train.steps=NUMBER or train.epochs=NUMBER"),
        (
            {"steps": 6, "epochs": 2.5},
            "train: has steps: 6 and epochs: 2.5, but one follows from the other; give one of them, and set the other "
            "to null: train.steps=null or train.epochs=null",
        ),
        ({"steps": None, "epochs": -1}, "train.epochs: must be greater than or equal to 0 (allowed: >= 0 and <= "),
        ({"steps": None, "epochs": "ten"}, "train.epochs: needs a number, got 'ten' (text)"),
        ({"steps": None, "epochs": True}, "train.epochs: needs a number, got true"),
    ],
)
def test_steps_or_epochs_are_given_but_not_both(tmp_path: Path, train: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_of(tmp_path, train=train)
    assert str(raised.value).startswith(problem)


COSINE = {"kind": "cosine", "initial_learning_rate": 0.1, "decay_steps": None}


def test_schedules_over_the_whole_training_get_its_steps_and_others_keep_theirs(tmp_path: Path) -> None:
    fixed = {"kind": "polynomial", "initial_learning_rate": 0.1, "decay_steps": 7}
    losses = {"main": {"kind": "sparse_softmax_cross_entropy", "weight": COSINE}}
    section = {"steps": None, "epochs": 2, "losses": losses}
    config = config_of(tmp_path, train=section, optimizer={"learning_rate": fixed})
    assert schedules_follow_steps(config)
    found = derived(config)
    assert found.train.losses["main"].weight.decay_steps == 10
    assert found.optimizer is config.optimizer
    assert derived(found) == found
    assert not schedules_follow_steps(config_of(tmp_path, optimizer={"learning_rate": fixed}))


def test_a_run_of_epochs_equals_that_of_their_steps_and_is_resumed_with_more(tmp_path: Path) -> None:
    steps = {"steps": 10, "log_every_steps": 5}
    epochs = {"steps": None, "epochs": 2, "log_every_steps": 5}
    first, second = (
        run(config_of(tmp_path, train=train), tmp_path / name) for name, train in (("steps", steps), ("epochs", epochs))
    )
    assert first.test == second.test
    folder = opened(tmp_path / "epochs").folder
    assert folder.state()["steps"] == 10
    stored = yaml.safe_load(folder.config_file.read_text())["train"]
    assert (stored["steps"], stored["epochs"]) == (None, 2.0)
    resumed = run(config_of(tmp_path, train={**epochs, "epochs": 3}), tmp_path / "epochs")
    whole = run(config_of(tmp_path, train={**steps, "steps": 15}), tmp_path / "whole")
    assert resumed.test == whole.test


def test_a_resumed_run_keeps_the_steps_of_its_schedules(tmp_path: Path) -> None:
    given = {"optimizer": {"learning_rate": COSINE}, "export": {"enabled": False}}
    run(config_of(tmp_path, train={"steps": None, "epochs": 1}, **given), tmp_path / "run")
    with pytest.raises(ConfigError) as raised:
        run(config_of(tmp_path, train={"steps": None, "epochs": 2}, **given), tmp_path / "run")
    assert str(raised.value) == (
        "train.epochs: makes 10 steps, but the run to resume has 5, all of which a schedule spans (its decay_steps is "
        "null); undo that, or start a new run"
    )


def named_arrays(labels: tuple[int, ...] = (0, 0, 0, 0, 1, 2, 2)) -> dict[str, np.ndarray]:
    """Return 60 examples whose labels are text, some classes more frequent than others."""
    arrays = examples()
    return {**arrays, "label": np.array(NAMES)[np.resize(labels, 60)]}


def weights_of(config: Config, name: str = "main") -> Any:
    loss = derived(config).train.losses[name]
    assert isinstance(loss, ClassWeighted)
    return loss.class_weights


def losses(**fields: Any) -> dict[str, Any]:
    return {"losses": {"main": {"kind": "sparse_softmax_cross_entropy", **fields}}}


def test_balanced_weights_are_those_of_scikit_learn_for_numbers_text_rows_and_bits(tmp_path: Path) -> None:
    arrays = named_arrays()
    numbers = np.searchsorted(NAMES, arrays["label"])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=numbers[:40])
    for labels in (arrays["label"], numbers):
        found = weights_of(config_of(tmp_path, {**arrays, "label": labels}, train=losses(class_weights="balanced")))
        assert found == pytest.approx(expected, rel=1e-12)
    rows = losses(kind="softmax_cross_entropy", class_weights="balanced")
    assert weights_of(config_of(tmp_path, {**arrays, "label": np.eye(3)[numbers]}, train=rows)) == pytest.approx(
        expected
    )
    bits = losses(kind="sigmoid_cross_entropy", class_weights="balanced")
    hot = np.eye(3)[numbers]
    assert weights_of(config_of(tmp_path, {**arrays, "label": hot}, train=bits)) == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(2), y=hot[:40].ravel())
    )


def test_balanced_weights_count_examples_as_often_as_their_weight_says_and_ignored_ones_not(tmp_path: Path) -> None:
    numbers = np.resize([0, 0, 0, 1, 1, 2, -1], 60)
    arrays = {**examples(), "label": numbers, "w": np.resize([1.0, 2.0, 0.0, 1.0], 60)}
    counted = np.repeat(numbers[:40], arrays["w"][:40].astype(int))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=counted[counted >= 0])
    train = losses(class_weights="balanced", weights="w", ignore=-1) | {"metrics": {}}
    assert weights_of(config_of(tmp_path, arrays, train=train)) == pytest.approx(expected)


def test_a_class_is_weighted_by_its_name_and_a_wrong_name_is_reported(tmp_path: Path) -> None:
    arrays = named_arrays()
    assert weights_of(config_of(tmp_path, arrays, train=losses(class_weights={"cat": 2.0, "apple": 0.5}))) == {
        2: 2.0,
        0: 0.5,
    }
    with pytest.raises(ConfigError) as raised:
        derived(config_of(tmp_path, arrays, train=losses(class_weights={"cart": 2.0})))
    assert str(raised.value) == (
        "train.losses.main: there is no class 'cart'; did you mean 'cat'? classes: apple, bee, cat"
    )
    data = {"source": {"kind": "npz", "path": str(tmp_path / "data.npz")}, "classes": {"label": list(NAMES)}}
    with pytest.raises(ConfigError, match="there is no class 'dog'; classes: apple, bee, cat"):
        check(config_of(tmp_path, arrays, data=data, train=losses(class_weights={"dog": 2.0})))
    with pytest.raises(ConfigError) as raised:
        derived(config_of(tmp_path, train=losses(class_weights={"cat": 2.0})))
    assert str(raised.value) == (
        "train.losses.main: labels are numbers, so there is no class 'cat'; name a class by its number, from 0 on"
    )


@pytest.mark.parametrize(("text", "name"), [(True, "'bee'"), (False, "1")])
def test_a_class_without_training_examples_cannot_be_balanced(tmp_path: Path, text: bool, name: str) -> None:
    arrays = named_arrays((0, 2))
    data: dict[str, Any] = {"source": {"kind": "npz", "path": str(tmp_path / "data.npz")}}
    data["split"] = {"train": [0, 40], "valid": [40, 50], "test": [50, 60]}
    if text:
        data["classes"] = {"label": list(NAMES)}
    else:
        arrays["label"] = np.resize([0, 2], 60)
    with pytest.raises(DataError) as raised:
        derived(config_of(tmp_path, arrays, data=data, train=losses(class_weights="balanced")))
    assert str(raised.value) == (
        f"train.losses.main.class_weights: is balanced, but class {name} has no training example that counts, so its "
        "weight would be infinite; give a weight to every class, or leave the class out of network and data"
    )


def test_a_run_with_classes_by_name_records_each_class_and_its_weights(tmp_path: Path) -> None:
    arrays = named_arrays()
    weighted = {"class_weights": {"bee": 3.0}}
    train = {
        "losses": {
            "main": {"kind": "sparse_softmax_cross_entropy", "class_weights": "balanced", "label_smoothing": 0.1},
            "focal": {"kind": "focal", "weights": "w", **weighted},
        },
        "metrics": {
            "f1": {"kind": "f1", "by_class": True, "average": "weighted"},
            "auc": {"kind": "auc", "by_class": ["cat", "bee", "apple"], "classes": ["cat", "bee"]},
            "map": {"kind": "average_precision", "by_class": True},
        },
        "best_metric": "valid/auc/cat",
    }
    result = run(config_of(tmp_path, {**arrays, "w": np.resize([1.0, 0.5], 60)}, train=train), tmp_path / "run")
    experiment, dataset = opened(tmp_path / "run").load()
    labels = dataset.splits["test"]["label"][:]
    with Evaluator(evaluate_graph(experiment.checked, dataset), experiment.config) as evaluator:
        evaluator.load(experiment.values(experiment.checkpoint("latest")).values)
        logits = evaluator.outputs(dataset.splits["test"])["raw"]["logits"].astype(np.float64)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    hot, predicted = np.eye(3)[labels], logits.argmax(axis=1)
    for number, name in enumerate(NAMES):
        assert result.test[f"test/f1/{name}"] == pytest.approx(
            f1_score(labels, predicted, average=None, labels=range(3), zero_division=0)[number], abs=1e-6
        )
        assert result.test[f"test/map/{name}"] == pytest.approx(
            average_precision_score(hot[:, number], scores[:, number]), abs=1e-6
        )
    assert result.test["test/f1"] == pytest.approx(f1_score(labels, predicted, average="weighted", zero_division=0))
    chosen = roc_auc_score(hot[:, 1:], scores[:, 1:], average="macro")
    assert result.test["test/auc"] == pytest.approx(chosen, abs=1e-6)
    assert {"test/auc/bee", "test/auc/cat/ema"} <= set(result.test)
    assert "test/auc/apple" not in result.test
    assert experiment.store.best() is not None
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    counts = np.bincount(np.searchsorted(NAMES, arrays["label"][:40]))
    assert state["class_weights"]["train.losses.main"] == pytest.approx(
        dict(zip(NAMES, 40 / (3 * counts), strict=True))
    )
    assert state["class_weights"]["train.losses.focal"] == {"bee": 3.0}


def test_a_metric_of_a_class_is_best_only_where_its_name_is_listed(tmp_path: Path) -> None:
    metrics = {"f1": {"kind": "f1", "by_class": True}}
    with pytest.raises(ConfigError) as raised:
        check(config_of(tmp_path, named_arrays(), train={"metrics": metrics, "best_metric": "valid/f1/cat"}))
    assert str(raised.value) == (
        "train.best_metric: 'valid/f1/cat' is the metric of a class, and its classes are known only with the data; "
        "list all names in train.metrics.f1.by_class: [cat, ...]"
    )
    listed = {"f1": {"kind": "f1", "by_class": ["apple", "bee", "dog"]}}
    config = config_of(tmp_path, named_arrays(), train={"metrics": listed, "best_metric": "valid/f1/dog"})
    with pytest.raises(ConfigError) as raised:
        load_dataset(config, check(config).spec)
    assert str(raised.value) == "train.metrics.f1: by_class lists apple, bee, dog, the labels are apple, bee, cat"
    with pytest.raises(ConfigError, match=r"train\.metrics\.f1: by_class: 2 names for the 3 classes of 'logits'"):
        check(config_of(tmp_path, train={"metrics": {"f1": {"kind": "f1", "by_class": ["a", "b"]}}}))
