"""Freezing is tried before training: a network that cannot be frozen costs no training."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from expkit.errors import ExportError
from expkit.export import trial
from expkit.export.trial import try_freeze
from expkit.training.graphs import evaluate_graph
from expkit.training.inference import infer_graph
from support.experiments import Values, config_of, frozen_damaged, loaded, run


def test_a_network_whose_frozen_graph_computes_other_numbers_is_refused_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "freeze", frozen_damaged)
    with pytest.raises(ExportError) as caught:
        run(config_of(tmp_path), tmp_path / "run")
    assert str(caught.value.problems[0]) == (
        "export: frozen file differs from the evaluation graph by 0.01, allowed by export.tolerance: 1e-05; "
        "nothing was written; this was tried before training; change the network, or train it without a frozen graph: "
        "export=none"
    )
    assert list((tmp_path / "run" / "checkpoints").glob("step-*")) == []
    assert not (tmp_path / "run" / "frozen.pb").exists()


def test_without_a_frozen_graph_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "freeze", frozen_damaged)
    result = run(config_of(tmp_path, train={"steps": 1}, export={"enabled": False}), tmp_path / "run")
    assert result.frozen is None
    assert result.checkpoint.parent.name == "step-00000001"


def tried(tmp_path: Path, values: Values) -> None:
    config = config_of(tmp_path)
    checked, dataset = loaded(config)
    graphs = evaluate_graph(checked, dataset), infer_graph(checked.spec, dataset.preprocessing)
    try_freeze(checked, graphs, values, dataset)


SHADOW = "/ExponentialMovingAverage"


def values_of(size: float) -> Values:
    shapes = {"hidden/kernel": (4, 5), "hidden/bias": (5,), "logits/kernel": (5, 3), "logits/bias": (3,)}
    return {f"{name}{end}": np.full(shape, size, np.float32) for name, shape in shapes.items() for end in ("", SHADOW)}


def test_a_large_network_is_tried_on_one_example_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="expkit")
    tried(tmp_path, values_of(0.1))
    monkeypatch.setattr(trial, "LARGE", 100)
    tried(tmp_path, values_of(0.1))
    small, large = (record.getMessage() for record in caplog.records if record.name == trial.__name__)
    assert small == "freezing is tried with 0.0 MB of variables; number of examples: 10"
    assert large == "freezing is tried with 0.0 MB of variables; number of examples: 1"


def test_outputs_that_are_not_finite_yet_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trial, "freeze", frozen_damaged)
    tried(tmp_path, values_of(np.nan))
    assert "the outputs are not finite" in caplog.text


def test_a_resumed_run_that_was_not_tried_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    run(config_of(tmp_path, train={"steps": 1}, export={"enabled": False}), folder)
    monkeypatch.setattr(trial, "freeze", frozen_damaged)
    with pytest.raises(ExportError, match="this was tried before training"):
        run(config_of(tmp_path, train={"steps": 2}), folder)
    assert [path.name for path in (folder / "checkpoints").glob("step-*")] == ["step-00000001"]
    monkeypatch.undo()
    run(config_of(tmp_path, train={"steps": 2}), folder)
    monkeypatch.setattr(trial, "freeze", frozen_damaged)  # it was tried: only the freeze of the end is done
    run(config_of(tmp_path, train={"steps": 3}), folder)
