"""Data for plots: predictions and variables, against NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.kinds.sources.base import Source
from expkit.kinds.sources.digits import Digits
from expkit.kinds.sources.idx import Idx
from expkit.network.names import ema_name
from expkit.plots import data
from expkit.plots.data import PlotData, collect_plot_data, heads, histogram
from support.experiments import CNN, MLP, Values, config_of, examples, loaded

SPARSE = {"kind": "sparse_softmax_cross_entropy"}


def linear(batch: Any) -> Any:
    """Return logits that are the first three inputs, from which the labels were made, wrong for negative ones."""
    logits = batch["x"].reshape(len(batch["x"]), -1)[:, :3] * 4
    return {"raw": {"logits": -logits}, "ema": {"logits": np.where(logits > -4, logits, 9)}}


def values_of(spec: Any) -> Values:
    draw = np.random.default_rng(1)
    raw = {name: draw.normal(size=item.shape).astype(np.float32) for name, item in spec.variables.items()}
    return {**raw, **{ema_name(name): value / 2 for name, value in raw.items()}}


def gathered(folder: Path, averaged: bool = True, **sections: Any) -> tuple[PlotData, Any]:
    config = config_of(folder, **sections)
    checked, dataset = loaded(config)
    spec = checked.spec
    values = values_of(spec)
    kept = values if averaged else {name: value for name, value in values.items() if name in spec.variables}
    return collect_plot_data(config, spec, dataset, linear, kept, 6), dataset.splits["test"]


@pytest.mark.parametrize("averaged", [True, False])
def test_predictions_use_ema_weights_if_there_are_any(averaged: bool, tmp_path: Path) -> None:
    found, test = gathered(tmp_path, averaged, train={"evaluation_batch_size": 4})
    logits = linear(test)["ema" if averaged else "raw"]["logits"].astype(np.float64)
    taken = logits.argmax(axis=1)
    head = found.heads["logits"]
    assert (found.weights, head.examples, head.classes) == ("ema" if averaged else "raw", 10, 3)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (test["label"], taken), 1)
    assert {(a, b): n for a, b, n in head.pairs.tolist()} == {
        (a, b): expected[a, b] for a in range(3) for b in range(3) if expected[a, b]
    }
    assert head.wrong == (taken != test["label"]).sum() > 0
    likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    of_truth = likely[np.arange(10), test["label"]]
    wrong = [place for place in np.argsort(of_truth, kind="stable") if taken[place] != test["label"][place]]
    assert head.worst.tolist() == [[place, test["label"][place], taken[place]] for place in wrong]
    np.testing.assert_allclose(head.certainty, likely[wrong, taken[wrong]])


def test_without_a_mistake_the_least_certain_are_kept(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    checked, dataset = loaded(config)
    spec = checked.spec

    def right(batch: Any) -> Any:
        return {"raw": {"logits": np.eye(3)[batch["label"]] * np.abs(batch["x"][:, :1])}}

    values = {name: np.zeros(item.shape) for name, item in spec.variables.items()}
    head = collect_plot_data(config, spec, dataset, right, values, 6).heads["logits"]
    assert head.wrong == 0
    assert head.worst[:, 0].tolist() == np.argsort(np.abs(dataset.splits["test"]["x"][:, 0])).tolist()


def test_misclassified_examples_keep_their_images(tmp_path: Path) -> None:
    found, test = gathered(tmp_path, network=CNN)
    head = found.heads["logits"]
    assert head.images["x"].tobytes() == test["x"][head.worst[:, 0]].tobytes()
    flat, _ = gathered(tmp_path / "flat", network=MLP)
    assert flat.heads["logits"].images == {}


def test_every_output_with_class_numbers_is_a_head_of_its_own(tmp_path: Path) -> None:
    layers = {**MLP["layers"], "other": {"kind": "dense", "input": "hidden", "units": 4}}
    layers["number"] = {"kind": "dense", "input": "hidden", "units": 1}
    network = {**MLP, "layers": layers, "outputs": {"logits": "logits", "other": "other", "number": "number"}}
    arrays = {**examples(), "group": np.arange(60) % 2, "height": np.ones(60, np.float32)}
    losses = {
        "main": SPARSE,
        "other": {**SPARSE, "output": "other"},
        "again": {**SPARSE, "output": "other", "labels": "group"},
        "height": {"kind": "mean_squared_error", "output": "number", "labels": "height"},
    }
    train = {"steps": 6, "batch_size": 8, "losses": losses, "metrics": {"right": {"kind": "accuracy"}}}
    config = config_of(tmp_path, arrays, network=network, train=train)
    found = heads(config, loaded(config)[0].spec, loaded(config)[1])
    assert {name: (item.output, item.labels) for name, item in found.items()} == {
        "logits": ("logits", "label"),
        "other (label)": ("other", "label"),
        "other (group)": ("other", "group"),
    }


def test_a_network_without_classes_has_no_heads(tmp_path: Path) -> None:
    arrays = {**examples(), "label": np.zeros((60, 3), np.float32)}
    train = {"losses": {"main": {"kind": "mean_squared_error"}}, "metrics": {}}
    found, _ = gathered(tmp_path, train={"steps": 6, "batch_size": 8, **train}, arrays=arrays)
    assert found.heads == {}
    assert list(found.histograms) == ["hidden/kernel", "hidden/bias", "logits/kernel", "logits/bias"]


def test_histograms_count_raw_and_ema_values_between_the_same_edges(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    checked, dataset = loaded(config)
    spec = checked.spec
    values = values_of(spec)
    values["hidden/bias"][0] = np.nan
    found = collect_plot_data(config, spec, dataset, linear, values, 6)
    for name, item in found.histograms.items():
        for weights, value in (("raw", values[name]), ("ema", values[ema_name(name)])):
            assert item.counts[weights].tolist() == np.histogram(value[np.isfinite(value)], item.edges)[0].tolist()
        assert item.counts["ema"].sum() == values[name].size
    assert found.histograms["hidden/bias"].counts["raw"].sum() == 4


def test_the_largest_variables_are_shown_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_SHOWN", 2)
    found, _ = gathered(tmp_path)
    assert (found.variables, list(found.histograms)) == (4, ["hidden/kernel", "logits/kernel"])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    found, _ = gathered(tmp_path, network=CNN)
    found.save(tmp_path / "plots" / "evidence.npz")
    again = PlotData.load(tmp_path / "plots" / "evidence.npz")
    assert (again.step, again.weights, again.variables) == (6, "ema", found.variables)
    assert list(again.heads) == list(found.heads)
    for part in ("pairs", "worst", "certainty"):
        np.testing.assert_array_equal(getattr(again.heads["logits"], part), getattr(found.heads["logits"], part))
    np.testing.assert_array_equal(again.heads["logits"].images["x"], found.heads["logits"].images["x"])
    for name, item in found.histograms.items():
        np.testing.assert_array_equal(again.histograms[name].edges, item.edges)
        np.testing.assert_array_equal(again.histograms[name].counts["ema"], item.counts["ema"])


@pytest.mark.parametrize(
    ("source", "shape", "expected"),
    [
        (Digits(), (64,), (8, 8, 1)),
        (Idx(images="a", labels="b"), (784,), (28, 28, 1)),
        (Digits(), (63,), None),
        (Digits(), (8, 8, 1), (8, 8, 1)),
        (Digits(), (8, 8, 2), None),
        (Digits(), (None, None, 3), None),
    ],
)
def test_image_shapes(source: Source, shape: tuple[int | None, ...], expected: tuple[int, ...] | None) -> None:
    assert source.image_shape(shape) == expected


@pytest.mark.parametrize("values", [[1e38] * 4, [1.0, 1 + 3e-16], [0.0, 0.0], []], ids=str)
def test_values_that_are_equal_or_nearly_so_are_counted_too(values: list[float]) -> None:
    item = histogram(np.array(values), None)
    assert item.counts["raw"].sum() == len(values)
    assert (np.diff(item.edges) > 0).all()
