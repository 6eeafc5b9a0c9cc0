"""Precision, recall, F1 and support of each class, as scikit-learn computes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from expkit.cli.classes import SHOWN, class_lines
from expkit.data.dataset import load_dataset
from expkit.evaluation import evaluate
from expkit.experiment import Experiment
from expkit.export.freeze import read_frozen
from expkit.preflight import check
from expkit.run_folder import RunFolder
from expkit.training.by_class import Classified, ClassTable, classified_outputs
from support.command_line import call
from support.experiments import config_of, run


def write(file: Path) -> None:
    draw = np.random.default_rng(0)
    kinds = draw.choice(["ja", "nein", "so, so"], 90)
    shift = {"ja": 0.0, "nein": 0.6, "so, so": 1.2}
    rows = [f'{draw.normal(shift[kind]):.3f},{draw.normal():.3f},"{kind}"\n' for kind in kinds.tolist()]
    file.write_text("a,b,kind\n" + "".join(rows))


def test_evaluate_prints_the_numbers_of_scikit_learn_by_the_names_of_classes(tmp_path: Path) -> None:
    write(tmp_path / "table.csv")
    network = {
        "inputs": {"x": {"shape": [2]}},
        "layers": {"logits": {"kind": "dense", "units": 3}},
        "outputs": {"logits": "logits"},
    }
    data = {
        "source": {"kind": "table", "path": str(tmp_path / "table.csv"), "columns": {"x": ["a", "b"], "label": "kind"}},
        "split": {"train": 0.4, "valid": None, "test": 0.6},
    }
    config = config_of(
        tmp_path, network=network, data=data, train={"steps": 30}, ema={"enabled": True}, export={"weights": "raw"}
    )
    run(config, tmp_path / "run")
    dataset = load_dataset(config, check(config).spec)
    test = dataset.splits["test"]
    logits = read_frozen(tmp_path / "run/frozen.pb").predict({"x": np.asarray(test["x"][:])})["logits"]
    wanted = precision_recall_fscore_support(
        np.asarray(test["label"][:]), logits.argmax(axis=1), labels=range(3), zero_division=0
    )
    done = evaluate(Experiment.open(RunFolder(tmp_path / "run")))
    assert [*done.metrics] == ["test/loss", "test/accuracy", "test/loss/ema", "test/accuracy/ema"]
    (table,) = done.classes["test"]
    assert (table.title, table.names, [*table.values]) == ("logits by label", ("ja", "nein", "so, so"), ["raw", "ema"])
    np.testing.assert_allclose(table.values["raw"], np.stack(wanted[:3], axis=1), rtol=1e-12)
    assert table.support.tolist() == wanted[3].tolist()
    printed = call("evaluate", tmp_path / "run", cwd=tmp_path)
    assert (printed.code, printed.err) == (0, "")
    lines = printed.out.splitlines()
    start = lines.index("test, logits by label")
    assert lines[start + 1].split() == [
        *("class", "precision", "recall", "F1", "precision", "EMA", "recall", "EMA", "F1", "EMA", "support"),
    ]
    numbers = [f"{value:.4f}" for values in table.values.values() for value in values[2]]
    assert lines[start + 4].split() == ["so,", "so", *numbers, str(wanted[3][2])]


def test_rows_with_several_classes_have_no_table(tmp_path: Path) -> None:
    for last, outputs in (("0,1", ["logits"]), ("1,1", [])):
        rows = [f"{index % 7},{index % 2},{1 - index % 2}\n" for index in range(29)]
        (tmp_path / "table.csv").write_text("".join(["a,t1,t2\n", *rows, f"3,{last}\n"]))
        source = {"kind": "table", "path": str(tmp_path / "table.csv"), "columns": {"x": ["a"], "t": ["t1", "t2"]}}
        network = {
            "inputs": {"x": {"shape": [1]}},
            "layers": {"logits": {"kind": "dense", "units": 2}},
            "outputs": {"logits": "logits"},
        }
        loss = {"main": {"kind": "softmax_cross_entropy", "output": "logits", "labels": "t"}}
        config = config_of(
            tmp_path,
            network=network,
            data={"source": source, "split": {"train": 0.4, "valid": None, "test": 0.6}},
            train={"steps": 1, "losses": loss, "metrics": {}},
        )
        spec = check(config).spec
        found = classified_outputs(config, spec, load_dataset(config, spec))
        assert [item.output for item in found] == outputs


def test_one_logit_has_two_classes() -> None:
    draw = np.random.default_rng(1)
    label, predicted = draw.integers(0, 2, (2, 50))
    sums = {
        "correct": np.array([np.sum(label * predicted)]),
        "predicted": np.array([predicted.sum()]),
        "labeled": np.array([label.sum()]),
        "count": 50.0,
    }
    table = Classified(output="score", labels="label", names=(), metric="f1").table({"raw": sums})
    wanted = precision_recall_fscore_support(label, predicted)
    np.testing.assert_allclose(table.values["raw"], np.stack(wanted[:3], axis=1))
    assert (table.names, table.support.tolist()) == (("0", "1"), wanted[3].tolist())


@pytest.mark.parametrize("count", [SHOWN, 250])
def test_of_many_classes_the_worst_are_printed(count: int) -> None:
    values = np.linspace(1, 0, count)[:, None].repeat(3, axis=1)
    names = tuple(f"name {number}\x1b" for number in range(count))
    table = ClassTable(title="", names=names, values={"raw": values}, support=np.arange(count))
    lines = class_lines(table)
    assert len(lines) == SHOWN + (1 if count == SHOWN else 2)
    assert lines[SHOWN].split() == ["name", rf"{count - 1}\x1b", "0.0000", "0.0000", "0.0000", str(count - 1)]
    assert count == SHOWN or lines[-1] == "the 100 of 250 classes with the lowest F1"
