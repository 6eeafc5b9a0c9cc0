"""The frozen graph as an MLflow model: loaded, served, registered, fetched; each answers with evaluation's numbers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from conftest import Finished
from expkit.config.load import load
from expkit.export.freeze import read_frozen
from expkit.export.run import Frozen
from expkit.run_folder import RunFolder
from expkit.tracking.model import _store_of_process
from expkit.tracking.recorder import Recorder
from expkit.tracking.tracker import MlflowTracker
from support.absence import SHOWN, without_expkit
from support.command_line import SHORT, Done, call
from support.forked_recorder import ForkedRecorder
from support.mlflow_server import Server, free_port

_LOAD = """\
import sys

import mlflow
import numpy as np

with np.load(sys.argv[2]) as arrays:
    inputs = dict(arrays)
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[3])
example = {f"example {name}": array for name, array in model.input_example.items()}
np.savez(sys.argv[4], **model.predict(inputs), **example)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(file, image=np.random.default_rng(0).integers(0, 17, size=(5, 64)).astype(np.float32))
    return file


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two runs, a version each: the first is the champion of old."""
    cwd = tmp_path_factory.mktemp("registered")
    for alias in ("old", "champion"):
        words = ["tracking.register=digits", f"tracking.alias={alias}", "tracking.plots=false"]
        done = call("train", *SHORT, *words, f"run.seed={len(alias)}", cwd=cwd)
        assert (done.code, done.err) == (0, "")
    folders = sorted(file.parent for file in (cwd / "runs").glob("*/*/frozen.pb"))
    return Finished(cwd, folders[-1], done)


def client_of(cwd: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri_of(cwd))


def uri_of(cwd: Path) -> str:
    return f"sqlite:///{cwd.resolve() / 'runs' / 'mlflow.db'}"


def aliases(client: Any) -> dict[str, int]:
    return {alias: int(version) for alias, version in client.get_registered_model("digits").aliases.items()}


def model_of(cwd: Path, folder: Path) -> Any:
    run_id = RunFolder(folder).state()["mlflow_run_id"]
    (model,) = client_of(cwd).search_logged_models(["1"], f"source_run_id = '{run_id}'")
    return model


def expected(folder: Path, images: Path) -> Mapping[str, np.ndarray]:
    with np.load(images) as inputs:
        return read_frozen(folder / "frozen.pb").predict(dict(inputs))


# What is kept


def test_a_run_keeps_its_frozen_graph_as_a_model_with_signature_and_example(digits_run: Finished) -> None:
    from mlflow.models import Model

    model = model_of(digits_run.cwd, digits_run.folder)
    assert (model.name, str(model.status)) == ("digits_mlp", "READY")
    assert model.params == {"weights": "ema", "step": "60"}
    run = client_of(digits_run.cwd).get_run(model.source_run_id)
    assert [item.model_id for item in run.outputs.model_outputs] == [model.model_id]
    assert {metric.key: metric.value for metric in model.metrics} == run.data.metrics
    place = Path(model.artifact_location.removeprefix("file://"))
    assert (place / "data" / "frozen.pb").read_bytes() == (digits_run.folder / "frozen.pb").read_bytes()
    about = Model.load(str(place))
    assert about.signature.to_dict() == {
        "inputs": '[{"name": "image", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 64]}}]',
        "outputs": '[{"name": "logits", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 10]}}]',
        "params": None,
    }
    assert {key: about.metadata["expkit"][key] for key in ("name", "weights", "step")} == {
        "name": "digits_mlp", "weights": "ema", "step": 60,
    }  # fmt: skip
    asked = [line.partition("==")[0] for line in (place / "requirements.txt").read_text().splitlines()]
    assert asked == ["mlflow", "tensorflow", "numpy"]


def test_what_is_kept_may_be_kept_again(registered: Finished) -> None:
    client = client_of(registered.cwd)
    before = aliases(client)
    folder = RunFolder(registered.folder)
    (folder.path / "tracking.json").unlink()  # as if no answer had come
    done = call("sync", folder.path, cwd=registered.cwd)
    assert done.code == 0, done.err
    assert model_of(registered.cwd, folder.path).source_run_id == folder.state()["mlflow_run_id"]
    assert len(client.search_model_versions("name = 'digits'")) == 2
    assert aliases(client) == before


def test_a_model_whose_keeping_was_cut_off_is_kept_anew(registered: Finished) -> None:
    client, folder = client_of(registered.cwd), RunFolder(registered.folder)
    cut = client.create_logged_model(
        "1", "frozen", folder.state()["mlflow_run_id"], {"expkit.frozen_sha256": "whatever"}
    )
    (folder.path / "tracking.json").unlink()
    assert call("sync", folder.path, cwd=registered.cwd).code == 0
    assert model_of(registered.cwd, folder.path).model_id != cut.model_id


def test_no_model_is_kept_where_none_is_wanted(digits_run: Finished, workspace: Path) -> None:
    words = ["train.steps=2", "tracking.model=false", "tracking.plots=false", "run.name=modelless"]
    assert call("train", *words, cwd=workspace).code == 0
    (folder,) = (file.parent for file in (workspace / "runs").glob("*/*_modelless/run.json"))
    run_id = RunFolder(folder).state()["mlflow_run_id"]
    assert client_of(workspace).search_logged_models(["1"], f"source_run_id = '{run_id}'") == []
    assert "frozen.pb" in [item.path for item in client_of(workspace).list_artifacts(run_id)]


def test_an_alias_is_not_taken_from_a_newer_version(registered: Finished) -> None:
    client = client_of(registered.cwd)
    assert aliases(client) == {"old": 1, "champion": 2}
    client.set_registered_model_alias("digits", "old", "2")
    first = min((registered.cwd / "runs").glob("*/*/tracking.json"))
    first.unlink()
    assert call("sync", first.parent, cwd=registered.cwd).code == 0
    assert aliases(client)["old"] == 2
    client.set_registered_model_alias("digits", "old", "1")


# What it answers


def load_elsewhere(uri: str, model: str, inputs: Path, place: Path) -> dict[str, np.ndarray]:
    """Load a model in a process that cannot import expkit."""
    (place / "load.py").write_text(SHOWN + _LOAD)
    out = place / "out.npz"
    words = [sys.executable, "-P", "load.py", uri, str(inputs), model, str(out)]
    done = subprocess.run(words, cwd=place, env=without_expkit(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(out) as arrays:
        return dict(arrays)


def test_mlflow_loads_it_without_expkit_and_answers_with_its_numbers(
    registered: Finished, images: Path, tmp_path: Path
) -> None:
    answer = load_elsewhere(uri_of(registered.cwd), "models:/digits@champion", images, tmp_path)
    np.testing.assert_allclose(answer["logits"], expected(registered.folder, images)["logits"], rtol=1e-5)
    with np.load(registered.folder / "frozen.example.npz") as example:
        np.testing.assert_array_equal(answer["example image"], example["image"])


def test_mlflow_serves_it(registered: Finished, images: Path, tmp_path: Path) -> None:
    place = model_of(registered.cwd, registered.folder).artifact_location.removeprefix("file://")
    port = free_port()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts one by its name
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m", place, "-p", str(port), "--env-manager", "local",
         "--workers", "1"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**without_expkit(), "PATH": programs},
    )  # fmt: skip
    try:
        with np.load(images) as arrays:
            body = json.dumps({"inputs": {"image": arrays["image"].tolist()}}).encode()
        answer = post(f"http://127.0.0.1:{port}/invocations", body, server)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    np.testing.assert_allclose(
        np.float32(answer["predictions"]["logits"]), expected(registered.folder, images)["logits"], rtol=1e-5
    )


def post(url: str, body: bytes, server: subprocess.Popen[bytes]) -> Any:
    until = time.monotonic() + 600
    while True:
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.load(answer)
        except (ConnectionError, urllib.error.URLError):
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)


# The registry on the command line


@pytest.mark.parametrize(
    "address", ["models:/digits@champion", "models:/digits/2", "models:/digits/latest", "runs:/{}"]
)
def test_predict_takes_a_model_or_a_run_of_the_store(
    address: str, registered: Finished, images: Path, tmp_path: Path
) -> None:
    address = address.format(RunFolder(registered.folder).state()["mlflow_run_id"])
    done = call("predict", address, images, "--output", tmp_path / "out.npz", cwd=registered.cwd)
    assert (done.code, done.err) == (0, "")
    with np.load(tmp_path / "out.npz") as written:
        np.testing.assert_array_equal(written["logits"], expected(registered.folder, images)["logits"])


def test_predict_takes_a_model_by_its_id_from_a_store_elsewhere(
    registered: Finished, images: Path, tmp_path: Path
) -> None:
    address = f"models:/{model_of(registered.cwd, registered.folder).model_id}"
    here = call("predict", registered.folder, images, cwd=tmp_path)
    assert call("predict", address, images, "--uri", uri_of(registered.cwd), cwd=tmp_path) == here


def test_info_tells_of_a_registered_model_what_it_tells_of_the_file(registered: Finished) -> None:
    of_file = call("info", registered.folder / "frozen.pb", cwd=registered.cwd)
    of_model = call("info", "models:/digits@champion", cwd=registered.cwd)
    assert (of_file.code, of_model.code) == (0, 0)
    assert of_file.out.startswith(f"{of_model.out}fitted (")  # The file is in its run's folder.


def test_export_takes_a_registered_model_and_names_what_the_store_lacks(registered: Finished) -> None:
    words = ("--to", "npz", "--output", "out")
    done = call("export", "models:/digits@champion", *words, cwd=registered.cwd)
    assert done.code == 2
    assert done.errors == ["error: --to npz: the variables of a frozen graph are constants; give the folder of a run"]
    done = call("export", "models:/digits@champ", *words, cwd=registered.cwd)
    assert (done.code, done.out) == (2, "")
    assert done.errors[0].startswith(
        "error: models:/digits@champ: model 'digits' has no alias 'champ'; did you mean 'champion'?"
    )
    assert not (registered.cwd / "out").exists()


STORE = "sqlite:///{runs}/mlflow.db"
ALLOWED = "allowed: models:/NAME@ALIAS, models:/NAME/VERSION, models:/NAME/latest, models:/ID, runs:/ID"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "models:/digit@champion",
            f"{STORE} has no registered model 'digit'; did you mean 'digits'? registered: digits",
        ),
        ("models:/x/1", f"{STORE} has no registered model 'x'; registered: digits"),
        (
            "models:/digits@champ",
            "model 'digits' has no alias 'champ'; did you mean 'champion'? "
            "aliases: champion (version 2), old (version 1)",
        ),
        ("models:/digits/7", "model 'digits' has no version 7; versions: 2, 1"),
        (f"models:/m-{'0' * 32}", f"{STORE} has no model m-{'0' * 32} ("),
        (f"runs:/{'0' * 32}", f"{STORE} has no run {'0' * 32} ("),
        ("models:/digits", f"is not an address of a model or a run; {ALLOWED}"),
        ("models:digits@champion", f"is not an address of a model or a run; {ALLOWED}"),
        ("runs:/", f"is not an address of a model or a run; {ALLOWED}"),
    ],
)
def test_what_the_store_lacks_is_named(address: str, message: str, registered: Finished, images: Path) -> None:
    done = call("predict", address, images, cwd=registered.cwd)
    assert (done.code, done.out) == (2, "")
    (line,) = done.errors
    assert line.startswith(f"error: {address}: {message.replace('{runs}', str(registered.cwd.resolve() / 'runs'))}")


def test_a_store_that_is_not_there_is_not_created(registered: Finished, images: Path) -> None:
    uri = f"sqlite:///{registered.cwd}/absent.db"
    done = call("predict", "models:/digits@champion", images, "--uri", uri, cwd=registered.cwd)
    assert (done.code, done.out) == (2, "")
    problem = f"models:/digits@champion: no store {uri}; give the store's address with --uri URI"
    assert done.errors == [f"error: {problem}"]
    assert not (registered.cwd / "absent.db").exists()


def test_runs_without_a_graph_deleted_runs_and_models_of_others(registered: Finished, images: Path) -> None:
    client = client_of(registered.cwd)
    run = client.create_run("1", run_name="bare")
    model = client.create_logged_model("1", "theirs")
    run_id, model_id = run.info.run_id, model.model_id
    assert predict(f"runs:/{run_id}", images, registered.cwd).errors == [
        f"error: runs:/{run_id}: the run 'bare' (RUNNING) has no frozen graph among its artifacts; "
        "a run with export=frozen that finished has one"
    ]
    assert predict(f"models:/{model_id}", images, registered.cwd).errors == [
        f"error: models:/{model_id}: the model has no frozen.pb: it was not made by expkit; mlflow models predict"
    ]
    client.delete_run(run_id)
    assert predict(f"runs:/{run_id}", images, registered.cwd).errors == [
        f"error: runs:/{run_id}: the run was deleted in MLflow; `mlflow runs restore {run_id}` restores it"
    ]


def predict(address: str, images: Path, cwd: Path, *words: str) -> Done:
    done = call("predict", address, images, *words, cwd=cwd)
    assert done.code == 2
    return done


def test_stores_that_are_not_there_or_do_not_answer(registered: Finished, images: Path, tmp_path: Path) -> None:
    address, port = "models:/digits@champion", free_port()
    assert predict(address, images, tmp_path).errors == [
        f"error: {address}: no store {tmp_path.resolve()}/runs/mlflow.db; give the store's address with --uri URI"
    ]
    assert predict(address, images, tmp_path, "--uri", f"http://user:secret@127.0.0.1:{port}").errors == [
        f"error: {address}: the store http://***@127.0.0.1:{port} cannot be read (connection refused); "
        "start it, or give another with --uri URI"
    ]
    assert predict("model.pb", images, tmp_path, "--uri", uri_of(registered.cwd)).errors == [
        "error: --uri: model.pb is not a model or run in a store; allowed: models:/NAME@ALIAS, runs:/ID"
    ]


# Several inputs and outputs, of any dtype


DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "bool")


def test_several_inputs_and_outputs_of_any_dtype_and_rank(
    workspace: Path, digits_run: Finished, tmp_path: Path
) -> None:
    from expkit import tf1 as tf

    with tf.Graph().as_default() as graph:
        inputs = {name: tf.placeholder(name, [None, 2, 3, 1], f"in_{name}") for name in (*DTYPES, "bfloat16")}
        outputs = {name: tf.identity(tensor, f"out_{name}") for name, tensor in inputs.items()}
    about = {
        part: {item.op.name: {"dtype": name, "shape": [None, 2, 3, 1]} for name, item in tensors.items()}
        for part, tensors in (("inputs", inputs), ("outputs", outputs))
    }
    metadata = {
        **about, "name": "all", "weights": "raw", "step": 1, "config_sha256": "", "git_commit": None, "versions": {},
    }  # fmt: skip
    graph_def = graph.as_graph_def()
    next(node for node in graph_def.node if node.op == "Placeholder").attr["_expkit"].s = json.dumps(metadata).encode()
    config = load([f"run.folder={workspace / 'runs'}"])
    folder = RunFolder.create(workspace / "runs" / "direct" / "dtypes", config, [])
    folder.frozen.write_bytes(graph_def.SerializeToString())
    draw = np.random.default_rng(0).integers(0, 2, size=(4, 2, 3, 1))
    arrays = {item.op.name: draw.astype("float32" if name == "bfloat16" else name) for name, item in inputs.items()}
    example = folder.path / "frozen.example.npz"
    np.savez(example, **{name: array[:1] for name, array in arrays.items()})
    np.savez(tmp_path / "in.npz", **arrays)
    with Recorder(ForkedRecorder) as recorder:
        tracker = MlflowTracker(recorder, config, folder)
        tracker.model(Frozen(path=folder.frozen, weights="raw", step=1, parity=[], metadata=metadata, example=example))
        tracker.finish("FINISHED")
    model = model_of(workspace, folder.path)
    answer = load_elsewhere(uri_of(workspace), f"models:/{model.model_id}", tmp_path / "in.npz", tmp_path)
    for name in DTYPES:
        assert answer[f"out_{name}"].dtype == name
        np.testing.assert_array_equal(answer[f"out_{name}"], arrays[f"in_{name}"])
    np.testing.assert_array_equal(answer["out_bfloat16"], arrays["in_bfloat16"])


# Configuration


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["tracking.register=a/b"],
            "tracking.register: 'a/b' is not a name for a registered model: '/' is not allowed in it",
        ),
        (
            ["tracking.alias=latest"],
            "tracking.alias: 'latest' is not an alias of a registered model; allowed: letters, digits, _ and -, but "
            "not 'latest' and 'v1', which MLflow keeps for versions",
        ),
        (
            ["tracking.register=a", "tracking.model=false", "export=none"],
            "tracking.register is 'a' but tracking.model, export.enabled is false; set it to true, or register nothing",
        ),
    ],
)
def test_names_that_the_registry_refuses(words: list[str], message: str, tmp_path: Path) -> None:
    done = call("train", *words, cwd=tmp_path)
    assert done.code == 2
    assert re.sub(r"conf/\S+ ", "", done.errors[0]).endswith(message)
    assert not (tmp_path / "runs").exists()


# A server


def test_a_server_registers_a_model_and_hands_it_out(images: Path, tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.start()
        words = ["train.steps=2", f"tracking.uri={server.uri}", "tracking.register=remote", "tracking.plots=false"]
        done = call("train", *words, cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        (folder,) = (file.parent for file in (tmp_path / "runs").glob("*/*/frozen.pb"))
        of_run = call("predict", folder, images, cwd=tmp_path)
        assert call("predict", "models:/remote@champion", images, "--uri", server.uri, cwd=tmp_path) == of_run
        assert predict("models:/remote@old", images, tmp_path, "--uri", server.uri).errors == [
            "error: models:/remote@old: model 'remote' has no alias 'old'; aliases: champion (version 1)"
        ]


@pytest.mark.parametrize("before", [None, "http://elsewhere:5000"])
def test_a_registration_leaves_mlflows_environment_as_it_was(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", before)
    with _store_of_process("sqlite:///a.db"):
        assert mlflow.get_tracking_uri() == "sqlite:///a.db"
    assert os.environ.get("MLFLOW_TRACKING_URI") == before


def test_a_model_of_text_reads_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = {"glad": "what a fine day", "sad": "nothing but rain today"}
    rows = "".join(f"{text} {number % 5},{mood}\n" for number in range(40) for mood, text in words.items())
    (tmp_path / "notes.csv").write_text("note,mood\n" + rows)
    assert call("init", "notes.csv", "--label", "mood", cwd=tmp_path).code == 0
    done = call("train", "experiment=notes", "train.steps=60", "run.folder=runs", "hydra.run.dir=run", cwd=tmp_path)
    assert done.code == 0, done.err
    model = model_of(tmp_path, tmp_path / "run")
    loaded = mlflow.pyfunc.load_model(model.artifact_location)
    (name,) = loaded.metadata.signature.inputs.input_names()
    logits = loaded.predict({name: np.array([*words.values()], object)})["logits"]
    assert logits.argmax(axis=1).tolist() == [0, 1]
