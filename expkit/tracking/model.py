"""Graphs as MLflow models of their run: the frozen one, with a version in the registry, and those in ONNX."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import expkit.export
from expkit.fs import file_digest
from expkit.tracking.mlflow_internals import latest_metrics, skip_package_search

__all__ = ["GRAPH", "Flavor", "ModelRecord", "log_model"]

Flavor = Literal["frozen", "onnx"]

GRAPH = "data/frozen.pb"
"""Path of the graph in the model."""
_NOT_IN_NAMES = re.compile(r"""[/:.%"']""")
"""Letters that MLflow does not accept in the name of a model."""
_DIGEST: Mapping[Flavor, str] = {"frozen": "expkit.frozen_sha256", "onnx": "expkit.onnx_sha256"}
"""Tag by which a logged model is found again, by flavor."""
_LOADER = "expkit_frozen_graph"
"""Name of the module that loads the graph, kept beside it."""
_NUMPY = {"bfloat16": "float32", "string": "object"}
"""NumPy's dtype by TensorFlow's, of those that NumPy lacks."""
_PACKAGES: Mapping[Flavor, tuple[str, ...]] = {
    "frozen": ("tensorflow", "numpy"),
    "onnx": ("onnx", "onnxruntime", "numpy"),
}
"""Packages that a model needs, by flavor."""
_KEPT_METADATA = ("name", "weights", "step", "config_sha256", "git_commit")


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """The journal's entry of a model."""

    graph: str
    """File of the graph, relative to the run folder."""
    example: str | None
    """The ``.npz`` file of one example's inputs, relative to the run folder; ``None`` where there is none."""
    metadata: Mapping[str, Any]
    """The graph's metadata."""
    register: str | None
    """Name in the registry; ``None`` to register nothing."""
    alias: str | None
    """Alias of the registered version; it is not taken from a newer version."""
    flavor: Flavor = "frozen"
    """``frozen`` is a frozen graph with its own loader; ``onnx`` is MLflow's own flavor."""


def log_model(client: Any, run_id: str, folder: Path, record: ModelRecord) -> None:
    """Log a graph as a model of a run, with signature and input example; repeating it changes nothing.

    Args:
        client: MLflow's client.
        run_id: the run.
        folder: the run folder.
        record: the model.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    metadata, tag = record.metadata, _DIGEST[record.flavor]
    digest = file_digest(folder / record.graph)
    run = client.get_run(run_id)
    experiment = run.info.experiment_id
    ready = None
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if model.tags.get(tag) == digest and ready is None and model.status == LoggedModelStatus.READY:
            ready = model
        elif tag in model.tags and model.status == LoggedModelStatus.PENDING:
            client.delete_logged_model(model.model_id)  # The process that logged it died.
    if ready is None:
        params = {key: str(metadata[key]) for key in ("weights", "step")}
        name = _name(run.info.run_name) + ("_onnx" if record.flavor == "onnx" else "")
        ready = client.create_logged_model(experiment, name, run_id, {tag: digest}, params)
        with tempfile.TemporaryDirectory() as temporary:
            _save(Path(temporary), ready, run_id, record, folder)
            client.log_model_artifacts(ready.model_id, f"{temporary}/model")
        _log_metrics(client, run, ready.model_id)
        client.log_outputs(run_id, [LoggedModelOutput(ready.model_id, step=metadata["step"])])
        client.finalize_logged_model(ready.model_id, "READY")
    if record.register is not None:
        with _store_of_process(client.tracking_uri):  # A registry in a database reads it.
            _register(client, ready.model_id, run_id, record.register, record.alias)


def _name(run_name: str | None) -> str:
    """Return the name of a run's model: the run's, as far as MLflow accepts it."""
    return _NOT_IN_NAMES.sub("_", run_name or "") or "frozen"


def _log_metrics(client: Any, run: Any, model_id: str) -> None:
    """Give a model the last metrics of its run, as they are, by which the page of models ranks it."""
    from mlflow.entities import Metric

    run_id = run.info.run_id
    metrics = [
        Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id, run_id=run_id)
        for point in latest_metrics(run)
        if not point.key.startswith("system/")
    ]
    client.log_batch(run_id, metrics=metrics)


def _save(into: Path, model: Any, run_id: str, record: ModelRecord, folder: Path) -> None:
    """Write the model into a folder, as ``model``, without importing TensorFlow or reading the graph."""
    from mlflow.models import Model, ModelSignature

    skip_package_search()
    metadata, path = record.metadata, into / "model"
    inputs = {} if record.example is None else _arrays(folder / record.example)
    is_table = record.flavor == "frozen" and _reads_columns(metadata)
    about: dict[str, Any] = {
        "signature": ModelSignature(
            _table_schema(metadata) if is_table else _schema(metadata["inputs"]), _schema(metadata["outputs"])
        ),
        "input_example": (_table(metadata, inputs) if is_table else inputs) if inputs else None,
        "pip_requirements": [
            f"{name}=={metadata['versions'][name]}" for name in _PACKAGES[record.flavor] if name in metadata["versions"]
        ],
        "metadata": {"expkit": {key: metadata[key] for key in _KEPT_METADATA if key in metadata}},
        "mlflow_model": Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id),
    }
    if record.flavor == "onnx":
        import mlflow.onnx
        import onnx

        processors = ["CPUExecutionProvider"]  # by which it is proven
        mlflow.onnx.save_model(
            onnx.load(folder / record.graph), path, save_as_external_data=False,
            onnx_execution_providers=processors, **about,
        )  # fmt: skip
        return
    import mlflow.pyfunc

    source = Path(expkit.export.__file__).with_name("model.py")
    loader = shutil.copy(source, into / f"{_LOADER}.py")
    frozen = shutil.copy(folder / record.graph, into / Path(GRAPH).name)
    mlflow.pyfunc.save_model(path, loader_module=_LOADER, data_path=str(frozen), code_paths=[str(loader)], **about)


def _arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: _as_strings(arrays[name]) for name in arrays.files}


def _reads_columns(metadata: Mapping[str, Any]) -> bool:
    """Return True if all inputs are columns: of the table of training, or strings, of which an example has one."""
    inputs = metadata["inputs"]
    strings = {name for name, item in inputs.items() if item["dtype"] == "string" and len(item["shape"] or ()) == 1}
    return bool(inputs) and set(inputs) <= strings | set(metadata.get("columns", {}))


def _columns(metadata: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    """Return the columns of each input; an input of no table is one of its own name."""
    return {name: metadata.get("columns", {}).get(name, [name]) for name in metadata["inputs"]}


def _table_schema(metadata: Mapping[str, Any]) -> Any:
    """Return the schema of raw inputs that are the columns of a table."""
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    numbers = AnyType()  # MLflow refuses whole numbers and truth values for its double; the loader takes numbers alone
    types = {"string": DataType.string, **dict.fromkeys(("uint8", "int32", "int64"), DataType.long)}
    return Schema(
        [
            ColSpec(
                DataType.binary
                if name in metadata.get("binary", ())
                else numbers
                if item["shape"][1:]
                else types.get(item["dtype"], numbers),
                column,
            )
            for name, item in metadata["inputs"].items()
            for column in _columns(metadata)[name]
        ]
    )


def _table(metadata: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> Any:
    """Return the inputs of an example as a pandas table."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, names in _columns(metadata).items():
        array = _as_strings(inputs[name])
        values = [array] if array.ndim == 1 else list(array.T)
        for column, found in zip(names, values, strict=True):
            if found.dtype.kind not in "SO":
                columns[column] = _wide(found)
            else:
                convert = bytes if name in metadata.get("binary", ()) else _text
                columns[column] = [convert(item) for item in found.tolist()]
    return pd.DataFrame(columns)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64)


def _as_strings(array: np.ndarray) -> np.ndarray:
    """Return an array of a ``.npz`` file, strings that end with zero bytes as objects."""
    return array.astype(object) if array.dtype.kind == "V" else array


def _schema(tensors: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the schema of inputs or outputs; ``None`` where one has no known rank."""
    from mlflow.types import Schema, TensorSpec

    if any(item["shape"] is None for item in tensors.values()):
        return None
    return Schema(
        [
            TensorSpec(
                np.dtype(_NUMPY.get(item["dtype"], item["dtype"])),
                tuple(-1 if size is None else size for size in item["shape"]),
                name,
            )
            for name, item in tensors.items()
        ]
    )


@contextmanager
def _store_of_process(uri: str) -> Iterator[None]:
    """Make a store MLflow's default inside the block, without the variable that later commands would follow."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # which removes the variable
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _register(client: Any, model_id: str, run_id: str, name: str, alias: str | None) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"models:/{model_id}"
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    version = next((item for item in versions if item.source == source), None)
    if version is None:
        version = client.create_model_version(name, source, run_id, model_id=model_id)
    if alias is not None:
        holder = client.get_registered_model(name).aliases.get(alias)
        if holder is None or int(holder) < int(version.version):
            client.set_registered_model_alias(name, alias, str(version.version))
