"""The frozen graph as an MLflow model: kept with its run, and given a version in the registry."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import expkit.export

__all__ = ["GRAPH", "keep_model"]

GRAPH = "data/frozen.pb"
"""Where the graph lies in the model."""
_NAME = "frozen"
_DIGEST = "expkit.frozen_sha256"
"""Tag by which a model that was kept is found again."""
_LOADER = "expkit_frozen_graph"
"""The module that loads the graph, beside it."""
_KEPT_METADATA = ("name", "weights", "step", "config_sha256", "git_commit")


def keep_model(
    client: Any,
    run_id: str,
    folder: Path,
    *,
    graph: str,
    example: str,
    metadata: Mapping[str, Any],
    register: str | None,
    alias: str | None,
) -> None:
    """Keep a frozen graph as a model of a run, with signature and input example; once, however often this is done.

    Args:
        client: MLflow's.
        run_id: the run.
        folder: its folder, which the paths are relative to.
        graph: the frozen graph's file.
        example: a ``.npz`` file of one example's inputs.
        metadata: what the graph says of itself.
        register: name in the registry, ``None`` to leave it there.
        alias: what the version is called too; it is not taken from a newer version.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    file = folder / graph
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    experiment = client.get_run(run_id).info.experiment_id
    ready = None
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if model.tags.get(_DIGEST) == digest and ready is None and model.status == LoggedModelStatus.READY:
            ready = model
        elif _DIGEST in model.tags and model.status == LoggedModelStatus.PENDING:
            client.delete_logged_model(model.model_id)  # whoever kept it died meanwhile
    if ready is None:
        params = {key: str(metadata[key]) for key in ("weights", "step")}
        ready = client.create_logged_model(experiment, _NAME, run_id, {_DIGEST: digest}, params)
        with tempfile.TemporaryDirectory() as place:
            _save(Path(place), ready, run_id, file, folder / example, metadata)
            client.log_model_artifacts(ready.model_id, f"{place}/model")
        client.log_outputs(run_id, [LoggedModelOutput(ready.model_id, step=metadata["step"])])
        client.finalize_logged_model(ready.model_id, "READY")
    if register is not None:
        _register(client, ready.model_id, run_id, register, alias)


def _save(place: Path, model: Any, run_id: str, graph: Path, example: Path, metadata: Mapping[str, Any]) -> None:
    """Write the model's folder, ``model`` in a place; neither TensorFlow is imported for that nor the graph read."""
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature

    source = Path(expkit.export.__file__).with_name("model.py")
    loader = shutil.copy(source, place / f"{_LOADER}.py")
    frozen = shutil.copy(graph, place / Path(GRAPH).name)
    with np.load(example, allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    versions = metadata["versions"]
    mlflow.pyfunc.save_model(
        place / "model",
        loader_module=_LOADER,
        data_path=str(frozen),
        code_paths=[str(loader)],
        signature=ModelSignature(_schema(metadata["inputs"]), _schema(metadata["outputs"])),
        input_example=inputs,
        pip_requirements=[f"{name}=={versions[name]}" for name in ("tensorflow", "numpy") if name in versions],
        metadata={"expkit": {key: metadata[key] for key in _KEPT_METADATA}},
        mlflow_model=Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id),
    )


def _schema(tensors: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the signature of inputs or outputs; ``None`` where one has no known rank."""
    from mlflow.types import Schema, TensorSpec

    if any(item["shape"] is None for item in tensors.values()):
        return None
    return Schema(
        [
            TensorSpec(
                np.dtype("float32" if item["dtype"] == "bfloat16" else item["dtype"]),
                tuple(-1 if size is None else size for size in item["shape"]),
                name,
            )
            for name, item in tensors.items()
        ]
    )


def _register(client: Any, model_id: str, run_id: str, name: str, alias: str | None) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(client.tracking_uri)  # where a database's registry looks for it
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
