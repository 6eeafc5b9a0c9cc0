"""An experiment from configuration to frozen graph, against plain TensorFlow and NumPy."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.restore.plan import Plan
from expkit.checkpoints.restore.restore import Restored, read_values
from expkit.config.load import load
from expkit.config.schema import Config
from expkit.errors import CheckpointError, ConfigError, ExportError, RunError
from expkit.evaluation import evaluate
from expkit.experiment import freeze as freeze_run
from expkit.export import run as freezing
from expkit.export.freeze import freeze, read_frozen
from expkit.export.proof_inputs import evaluated_outputs
from expkit.kinds.preprocess.numbers import Standardize
from expkit.result import Result
from expkit.run_folder import RunFolder, config_digest
from support.experiments import (
    CNN,
    MLP,
    Unseen,
    Values,
    assert_same,
    checkpoint_values,
    config_of,
    examples,
    frozen_damaged,
    numpy_cross_entropy,
    numpy_mlp,
    opened,
    run,
)

SHADOW = "/ExponentialMovingAverage"
DATA = examples()
TEST = {name: array[50:60] for name, array in DATA.items()}
CLOCK = {"steps": 8, "log_every_steps": 3, "evaluate_every_steps": 2, "save_every_steps": 4}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Result]:
    """Return a finished run of two dense layers, and its configuration."""
    folder = tmp_path_factory.mktemp("done")
    best = {"best_metric": "valid/loss/ema"}
    config = config_of(folder, DATA, optimizer={"kind": "sgd", "learning_rate": 0.5}, train={**CLOCK, **best})
    return config, run(config, folder / "run")


def numpy_metrics(values: Mapping[str, np.ndarray], part: str, rows: Values) -> dict[str, float]:
    """Return a part's metrics, raw and averaged, computed by NumPy from a checkpoint."""
    metrics = {}
    for end, suffix in (("", ""), (SHADOW, "/ema")):
        logits = numpy_mlp(rows["x"], values, end)
        metrics[f"{part}/loss{suffix}"] = float(numpy_cross_entropy(logits, rows["label"]).mean())
        metrics[f"{part}/accuracy{suffix}"] = float((logits.argmax(axis=1) == rows["label"]).mean())
    return metrics


def test_test_metrics_raw_and_averaged_are_numpys_from_the_checkpoint(done: tuple[Config, Result]) -> None:
    _, result = done
    wanted = numpy_metrics(checkpoint_values(result.checkpoint), "test", TEST)
    assert dict(result.test) == pytest.approx(wanted, rel=1e-5)
    assert result.test["test/loss"] != pytest.approx(result.test["test/loss/ema"], rel=1e-3)


def test_a_run_leaves_its_records(done: tuple[Config, Result]) -> None:
    config, result = done
    folder = RunFolder(result.folder)
    assert folder.config() == config
    steps = [
        (int(line["step"]), sorted({key.partition("/")[0] for key in line} - {"step"})) for line in folder.metrics()
    ]
    both = ["train", "valid"]
    assert steps == [(2, ["valid"]), (3, ["train"]), (4, ["valid"]), (6, both), (8, both), (8, ["test"])]
    assert result.last == {k: v for line in folder.metrics() for k, v in line.items() if k != "step"}
    assert result.checkpoint == folder.checkpoints / "step-00000008/model"
    assert result.checkpoint.with_name("model.meta").is_file()
    assert result.tracking is None
    assert result.trained.steps_per_second > 0


def test_evaluating_a_run_again_gives_the_same_metrics(done: tuple[Config, Result]) -> None:
    _, result = done
    done = evaluate(opened(result.folder))
    step, metrics = done.step, done.metrics
    assert step == 8
    assert {name: value for name, value in metrics.items() if name.startswith("test/")} == dict(result.test)
    recorded = RunFolder(result.folder).metrics()[-2]
    assert {k: v for k, v in metrics.items() if k.startswith("valid/")} == {
        k: v for k, v in recorded.items() if k.startswith("valid/")
    }


def test_the_frozen_graph_holds_the_averages_and_its_proof(done: tuple[Config, Result]) -> None:
    config, result = done
    assert result.frozen is not None
    values = checkpoint_values(result.checkpoint)
    logits = read_frozen(result.frozen.path).predict({"x": TEST["x"]})["logits"]
    np.testing.assert_allclose(logits, numpy_mlp(TEST["x"], values, SHADOW), rtol=1e-4, atol=1e-5)
    assert np.abs(logits - numpy_mlp(TEST["x"], values)).max() > 1e-3
    *proofs, control = result.frozen.parity
    assert [item.name for item in proofs] == [
        "restored graph",
        "inference meta graph (raw)",
        "frozen file",
        "frozen file in an ordinary session",
    ]
    assert max(item.maximum for item in proofs) <= config.export.tolerance < control.maximum
    assert control.name == "control: raw weights"
    kept = json.loads((result.folder / "frozen.parity.json").read_text())
    assert kept == [item.as_dict() for item in result.frozen.parity]


def test_the_frozen_graph_says_where_it_comes_from(done: tuple[Config, Result]) -> None:
    config, result = done
    metadata = read_frozen(result.folder / "frozen.pb").metadata
    assert (metadata["name"], metadata["weights"], metadata["step"]) == ("small", "ema", 8)
    assert metadata["config_sha256"] == config_digest(config)
    assert metadata["versions"]["tensorflow"] == tf.tensorflow_version()
    assert {"git_commit", "mlflow_run_id"} <= set(metadata)


def test_raw_weights_are_frozen_on_demand(done: tuple[Config, Result], tmp_path: Path) -> None:
    _, result = done
    frozen = freeze_run(opened(result.folder), weights="raw", path=tmp_path / "deep/raw.pb")
    logits = read_frozen(frozen.path).predict({"x": TEST["x"]})["logits"]
    np.testing.assert_allclose(logits, numpy_mlp(TEST["x"], checkpoint_values(result.checkpoint)), rtol=1e-4, atol=1e-5)
    assert "control: raw weights" not in {item.name for item in frozen.parity}


def test_the_best_checkpoint_is_frozen_and_evaluated_on_demand(done: tuple[Config, Result], tmp_path: Path) -> None:
    _, result = done
    folder = RunFolder(result.folder)
    saved = {int(line["step"]): line["valid/loss/ema"] for line in folder.metrics() if "valid/loss/ema" in line}
    best = min((step for step in saved if step % 4 == 0), key=lambda step: saved[step])
    assert freeze_run(opened(folder.path), checkpoint="best", path=tmp_path / "x.pb").step == best
    assert evaluate(opened(folder.path), "best").step == best


def test_freezing_averages_that_a_run_does_not_keep_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path, DATA, train={"steps": 1}, ema={"enabled": False}, export={"enabled": False})
    result = run(config, tmp_path / "run")
    assert result.frozen is None
    with pytest.raises(ConfigError) as caught:
        freeze_run(opened(result.folder), weights="ema")
    assert str(caught.value) == "weights: this run keeps no EMA (ema.enabled is false); allowed: raw"
    frozen = freeze_run(opened(result.folder))
    assert frozen.weights == "raw"
    with pytest.raises(RunError) as missing:
        freeze_run(opened(result.folder), checkpoint="best")
    assert str(missing.value) == (
        f"{result.folder}: no best checkpoint in it; set train.best_metric to the metric that decides"
    )


@pytest.fixture
def frozen_before(done: tuple[Config, Result], tmp_path: Path) -> Path:
    path = tmp_path / "out/frozen.pb"
    path.parent.mkdir()
    path.write_bytes(b"what was there before")
    return path


def test_a_frozen_graph_that_computes_other_numbers_is_not_written(
    done: tuple[Config, Result], frozen_before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezing, "freeze", frozen_damaged)
    with pytest.raises(ExportError) as caught:
        freeze_run(opened(done[1].folder), path=frozen_before)
    problems = [str(problem) for problem in caught.value.problems]
    assert problems[0] == (
        "export: frozen file differs from the evaluation graph by 0.01, allowed by export.tolerance: 1e-05; "
        "nothing was written"
    )
    assert problems[1].startswith(
        "export: frozen file in an ordinary session differs from the evaluation graph by 0.01"
    )
    assert [(path.name, path.read_bytes()) for path in frozen_before.parent.iterdir()] == [
        ("frozen.pb", b"what was there before")
    ]


def test_raw_values_in_the_place_of_averages_are_caught_by_the_control(
    done: tuple[Config, Result], frozen_before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = checkpoint_values(done[1].checkpoint)

    def raw_evaluation(source: VariableSource, wanted: Mapping[str, Any], weights: Any = "raw") -> Restored:
        if any(name.endswith(SHADOW) for name in wanted):
            return Restored(Plan(), {name: values[name.removesuffix(SHADOW)] for name in wanted})
        return read_values(source, wanted, weights)

    def raw_freeze(built: Any, predictor: Any, metadata: Any) -> bytes:
        predictor.load({name: values[name] for name in built.variables})
        return freeze(built, predictor, metadata)

    monkeypatch.setattr(freezing, "read_values", raw_evaluation)
    monkeypatch.setattr(freezing, "freeze", raw_freeze)
    with pytest.raises(ExportError) as caught:
        freeze_run(opened(done[1].folder), path=frozen_before)
    assert str(caught.value.problems[-1]) == (
        "export: the control failed: raw weights give the same numbers as EMA; nothing was written"
    )
    assert [(path.name, path.read_bytes()) for path in frozen_before.parent.iterdir()] == [
        ("frozen.pb", b"what was there before")
    ]


def test_a_frozen_graph_that_cannot_be_written_says_why(done: tuple[Config, Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError) as caught:
        freeze_run(opened(done[1].folder), path=tmp_path / "file/frozen.pb")
    assert str(caught.value) == f"export: cannot write {tmp_path}/file/frozen.pb (File exists)"


def test_a_run_continued_in_its_folder_equals_the_unbroken_one(tmp_path: Path) -> None:
    adam = {"kind": "adam", "learning_rate": 0.02}
    config = config_of(tmp_path, network=CNN, optimizer=adam, train=CLOCK)
    unbroken = run(config, tmp_path / "unbroken")
    half = config.model_copy(update={"train": config.train.model_copy(update={"steps": 4})})
    run(half, tmp_path / "broken")
    continued = run(config, tmp_path / "broken")
    assert_same(checkpoint_values(unbroken.checkpoint), checkpoint_values(continued.checkpoint))
    assert dict(unbroken.test) == dict(continued.test)
    steps = [int(line["step"]) for line in RunFolder(tmp_path / "broken").metrics()]
    assert steps == sorted(steps), "no metric is recorded twice"


def test_a_runs_own_checkpoint_wins_over_restore_and_restore_over_initial_values(
    done: tuple[Config, Result], tmp_path: Path
) -> None:
    source = checkpoint_values(done[1].checkpoint)
    config = config_of(tmp_path, DATA, train={"steps": 0}, restore={"from": str(done[1].folder)})
    begun = checkpoint_values(run(config, tmp_path / "run").checkpoint)
    for name in ("hidden/kernel", "logits/bias", f"logits/kernel{SHADOW}"):
        np.testing.assert_array_equal(begun[name], source[name])
    assert begun["global_step"] == 0
    longer = config.model_copy(update={"train": config.train.model_copy(update={"steps": 3})})
    trained = checkpoint_values(run(longer, tmp_path / "run").checkpoint)
    assert_same(trained, checkpoint_values(run(longer, tmp_path / "run").checkpoint))
    assert (trained["hidden/kernel"] != source["hidden/kernel"]).any()


def test_fine_tuning_from_a_run_begins_at_its_metrics(done: tuple[Config, Result], tmp_path: Path) -> None:
    _, result = done
    config = config_of(tmp_path, DATA, train={"steps": 0}, restore={"from": str(result.checkpoint), "weights": "ema"})
    tuned = run(config, tmp_path / "run")
    for name in ("loss", "accuracy"):
        assert tuned.test[f"test/{name}"] == pytest.approx(result.test[f"test/{name}/ema"], rel=1e-6)
        assert tuned.test[f"test/{name}/ema"] == pytest.approx(result.test[f"test/{name}/ema"], rel=1e-6)


def test_a_restore_that_does_not_fit_ends_the_run_with_words(done: tuple[Config, Result], tmp_path: Path) -> None:
    layers = {**MLP["layers"], "hidden": {"kind": "dense", "units": 6}}
    config = config_of(tmp_path, DATA, network={**MLP, "layers": layers}, restore={"from": str(done[1].folder)})
    with pytest.raises(CheckpointError) as caught:
        run(config, tmp_path / "run")
    assert [str(problem) for problem in caught.value.problems] == [
        f"restore: variable '{name}' has shape {wanted}, '{name}' in the checkpoint has {got}; make the network fit, "
        f"give its rule a transform or on_shape_mismatch, or add '{name}' to keep_initial"
        for name, wanted, got in (
            ("hidden/kernel", [4, 6], [4, 5]),
            ("hidden/bias", [6], [5]),
            ("logits/kernel", [6, 3], [5, 3]),
        )
    ]


def test_a_standardized_run_keeps_its_scaling_and_freezes_it(tmp_path: Path) -> None:
    data = {**DATA, "x": DATA["x"] * 5 + 2}
    config = config_of(tmp_path, data, train={"steps": 2})
    config = config.model_copy(update={"data": config.data.model_copy(update={"preprocess": {"x": (Standardize(),)}})})
    result = run(config, tmp_path / "run")
    (step,) = json.loads((tmp_path / "run/preprocess.json").read_text())["preprocess"]["x"]
    mean, spread = (np.float32(step["fitted"][name]["values"]) for name in ("mean", "spread"))
    np.testing.assert_allclose(mean, data["x"][:40].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread, data["x"][:40].std(axis=0), rtol=1e-5)
    rows = data["x"][50:60]
    wanted = numpy_mlp((rows - mean) / spread, checkpoint_values(result.checkpoint), SHADOW)
    frozen = read_frozen(tmp_path / "run/frozen.pb").predict({"x": rows})["logits"]
    np.testing.assert_allclose(frozen, wanted, rtol=1e-4, atol=1e-5)


def test_a_warning_about_the_data_is_said_once_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []

    class Heard(Unseen):
        def warn(self, text: str) -> None:
            said.append(text)

    x = np.random.default_rng(0).integers(0, 256, DATA["x"].shape, np.uint8)
    config = config_of(tmp_path, {**DATA, "x": x}, train={"steps": 2}, export={"enabled": False})
    run(config, tmp_path / "run", progress=Heard())
    assert len(said) == 1
    assert said[0].startswith("field 'x' holds uint8 from ")
    assert said == [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_time_stamps_of_one_hour_and_a_constant_are_scaled_before_they_are_rounded(tmp_path: Path) -> None:
    x = DATA["x"].astype(np.float64)
    x[:, 0] = 1.7e9 + 60 * np.arange(60)  # In float32 60 minutes have 29 values.
    x[:, 1] = 0.1
    config = config_of(tmp_path, {**DATA, "x": x}, train={"steps": 2})
    config = config.model_copy(update={"data": config.data.model_copy(update={"preprocess": {"x": (Standardize(),)}})})
    result = run(config, tmp_path / "run")
    assert 0.5 < result.last["valid/loss"] < 3
    mean, deviation = x[:40].mean(axis=0), x[:40].std(axis=0)
    scaled = (x - mean) / np.where([False, True, False, False], 1, deviation)
    wanted = numpy_mlp(scaled.astype(np.float32), checkpoint_values(result.checkpoint), SHADOW)
    frozen = read_frozen(tmp_path / "run/frozen.pb")
    assert frozen.metadata["inputs"]["x"]["dtype"] == "float64"
    np.testing.assert_allclose(frozen.predict({"x": x})["logits"], wanted, rtol=1e-4, atol=1e-5)
    hour = np.tile(x[:1], (60, 1))
    hour[:, 0] = x[:, 0]
    assert len(np.unique(frozen.predict({"x": hour})["logits"][:, 0])) == 60


class Recorder:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.link = "somewhere"

    def begin(self) -> None:
        assert self.seen == []

    def identify(self) -> None:
        assert self.seen != []

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.seen.append((step, dict(values)))

    def artifacts(self, paths: Any) -> None:
        self.seen.append([path.name for path in paths])

    def model(self, frozen: Any) -> None:
        self.seen.append((frozen.path.name, frozen.example.name, frozen.metadata["weights"]))

    def tags(self, values: Any) -> None:
        self.seen.append(dict(values))

    def dataset(self, dataset: Any) -> None:
        self.seen.append(dataset.digest)


def test_a_tracker_is_told_the_data_every_metric_and_the_files(done: tuple[Config, Result], tmp_path: Path) -> None:
    config = config_of(tmp_path, DATA, train={**CLOCK, "steps": 4}, restore={"from": str(done[1].folder)})
    folder = RunFolder.create(tmp_path / "run", config, ["a=1"])
    recorder = Recorder()
    result = run(config, folder.path, recorder)
    digest, tags, *metrics, files, model = recorder.seen
    assert len(digest) == 64
    assert tags == {
        "execution": "100 steps per execution",
        "execution.reason": "a short run",
        "restore.loaded": "4/4",
    }
    assert [{"step": step, **values} for step, values in metrics] == folder.metrics()
    receipts = ["restore.json", "frozen.restore.json"]
    assert files == ["config.yaml", "overrides.yaml", "metrics.jsonl", "frozen.pb", "frozen.parity.json", *receipts]
    assert model == ("frozen.pb", "frozen.example.npz", "ema")
    assert result.tracking == "somewhere"


def mnist_folder() -> Path | None:
    """Return where the IDX files of MNIST are: in $EXPKIT_DATA, or beside the checkout."""
    places = [os.environ.get("EXPKIT_DATA"), Path(__file__).resolve().parents[2] / "shared/data"]
    found = [Path(place) for place in places if place and (Path(place) / "mnist/t10k-images-idx3-ubyte.gz").is_file()]
    return found[0] if found else None


def plain_mnist(folder: Path, steps: int) -> dict[str, np.ndarray]:
    """Train the classic program of TensorFlow 1; return its logits on the last 2,000 images, raw and averaged."""
    data = mnist_folder()
    assert data is not None
    with gzip.open(data / "mnist/t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / np.float32(255)
    with gzip.open(data / "mnist/t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)

    def inference(x: Any, average: Any) -> Any:
        read = average.average if average is not None else lambda variable: variable
        for scope, units, activation in (("layer1", 500, tf.nn.relu), ("layer2", 10, tf.identity)):
            with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
                shape = (x.shape[1], units)
                start = tf.truncated_normal_initializer(stddev=0.1, seed=units)
                weights = tf.get_variable("weights", shape, initializer=start)
                biases = tf.get_variable("biases", (units,), initializer=tf.zeros_initializer())
                x = activation(tf.matmul(x, read(weights)) + read(biases))
        return x

    with tf.Graph().as_default(), tf.Session() as session:
        x, y = tf.placeholder(tf.float32, (None, 784)), tf.placeholder(tf.int64, (None,))
        raw = inference(x, None)
        step = tf.train.get_or_create_global_step()
        average = tf.train.ExponentialMovingAverage(0.99, step)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=raw)
        loss = tf.reduce_mean(losses)
        train = tf.train.GradientDescentOptimizer(0.5).minimize(loss, global_step=step)
        with tf.control_dependencies([train]):
            train = average.apply(tf.trainable_variables())
        averaged = inference(x, average)
        session.run(tf.global_variables_initializer())
        for batch in range(steps):
            rows = slice(100 * batch % 8000, 100 * batch % 8000 + 100)
            session.run(train, {x: images[rows], y: labels[rows]})
        tf.train.Saver().save(session, str(folder / "model.ckpt"), global_step=step)
        logits = session.run({"raw": raw, "ema": averaged}, {x: images[8000:]})
    return {**logits, "labels": labels[8000:]}


@pytest.mark.skipif(
    mnist_folder() is None, reason="the IDX files of MNIST are neither in $EXPKIT_DATA/mnist nor beside the checkout"
)
def test_a_plain_programs_mnist_checkpoint_restores_with_no_rename_and_gives_its_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPKIT_DATA", str(mnist_folder()))
    (tmp_path / "plain").mkdir()
    plain = plain_mnist(tmp_path / "plain", steps=100)
    asked = ["experiment=mnist_mlp", "train.steps=0", f"restore.from={tmp_path}/plain", "tracking=none"]
    config = load(asked)
    folder = RunFolder.create(tmp_path / "run", config, asked)
    evaluated: dict[str, Any] = {}

    def outputs(*arguments: Any) -> Any:
        evaluated.update(evaluated_outputs(*arguments))
        return evaluated

    monkeypatch.setattr(freezing, "evaluated_outputs", outputs)
    monkeypatch.setattr(freezing, "PARITY_EXAMPLES", 2000)
    result = run(config, folder.path)
    for weights, end in (("raw", ""), ("ema", "/ema")):
        accuracy = (plain[weights].argmax(axis=1) == plain["labels"]).mean()
        assert result.test[f"test/accuracy{end}"] == pytest.approx(accuracy, abs=1e-9)
        np.testing.assert_allclose(evaluated[weights]["logits"], plain[weights], rtol=1e-6, atol=1e-6)
    assert np.abs(plain["raw"] - plain["ema"]).max() > 0.1
    frozen = read_frozen(folder.frozen)
    images = config.data.source.load()["image"][8000:]
    np.testing.assert_allclose(frozen.predict({"image": images})["logits"], plain["ema"], rtol=0, atol=1e-5)


def test_masked_attention_of_large_values_is_frozen_as_it_is(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = {
        "x": (100 * draw.normal(size=(60, 5, 4))).astype(np.float32),
        "mask": draw.integers(0, 2, (60, 5)).astype(np.int32),
        "label": draw.integers(0, 3, 60),
    }
    arrays["mask"][::7] = 0
    network = {
        "inputs": {"x": {"shape": [5, 4]}, "mask": {"shape": [5], "dtype": "int32"}},
        "layers": {
            "attended": {
                "kind": "attention",
                "input": "x",
                "num_heads": 2,
                "key_dim": 3,
                "mask": "mask",
                "causal": True,
            },
            "flat": {"kind": "flatten"},
            "logits": {"kind": "dense", "units": 3},
        },
        "outputs": {"logits": "logits", "attended": "attended"},
    }
    optimizer = {"kind": "sgd", "learning_rate": 1e-6}
    result = run(
        config_of(tmp_path, arrays, network=network, optimizer=optimizer, train={"steps": 2}), tmp_path / "run"
    )
    assert result.frozen is not None, "freezing ends with a proof of equality"
    frozen = read_frozen(result.frozen.path)
    given = {name: arrays[name][:8] for name in ("x", "mask")}
    before = frozen.predict(given)["attended"]
    np.testing.assert_array_equal(before[0], np.zeros((5, 6)), "a mask of zeros leaves nothing to attend to")
    given["x"] = given["x"].copy()
    given["x"][:, 3:] *= -7
    np.testing.assert_array_equal(
        frozen.predict(given)["attended"][:, :3], before[:, :3], "no position sees a later one"
    )
