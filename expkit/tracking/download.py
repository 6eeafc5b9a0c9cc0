"""Download of the frozen graph of a run or of a registered model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from expkit.errors import RunError, comma_list, unknown
from expkit.redact import masked
from expkit.tracking.client import prepare
from expkit.tracking.errors import StoreRefused, StoreUnreachable, TrackingError, failure
from expkit.tracking.model import GRAPH
from expkit.tracking.sqlite_store import check_sqlite, sqlite_file

__all__ = ["downloaded"]

Answer = TypeVar("Answer")

_ALLOWED = "allowed: models:/NAME@ALIAS, models:/NAME/VERSION, models:/NAME/latest, models:/ID, runs:/ID"
_ADDRESS = re.compile(
    r"runs:/(?P<run>[^/@]+)|models:/(?P<id>m-[0-9a-f]{32})|models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))"
)


@contextmanager
def downloaded(address: str, uri: str) -> Iterator[Path]:
    """Yield the frozen graph of an address in MLflow, as a file that exists inside the block.

    Args:
        address: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/ID`` or ``runs:/ID``.
        uri: of the store.

    Raises:
        RunError: there is no such model or run, or it has no frozen graph.
        TrackingError: the store cannot be used, or does not answer.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise RunError.at(address, f"is not an address of a model or a run; {_ALLOWED}")
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    prepare()
    with TemporaryDirectory(prefix="expkit-") as into:
        store = _Store(address, uri)
        if found["run"] is not None:
            yield store.of_run(found["run"], into)
        else:
            model_id = found["id"] or store.registered(found["name"], found["alias"], found["version"])
            yield store.of_model(model_id, into)


class _Store:
    def __init__(self, address: str, uri: str) -> None:
        from mlflow import MlflowClient

        self._address = address
        self._shown = masked(uri)
        self._uri = uri
        if (file := sqlite_file(uri)) is not None and not Path(file).is_file():  # MLflow would create it.
            raise RunError.at(address, f"no store {self._shown}; give the store's address with --uri URI")
        self._call(check_sqlite, uri)
        self._client: Any = self._call(MlflowClient, uri)

    def of_run(self, run_id: str, into: str) -> Path:
        """Return a copy of the frozen graph among a run's artifacts."""
        run = self._get(f"has no run {run_id}", self._client.get_run, run_id)
        if run.info.lifecycle_stage == "deleted":
            raise RunError.at(
                self._address, f"the run was deleted in MLflow; `mlflow runs restore {run_id}` restores it"
            )
        names = [item.path for item in self._call(self._client.list_artifacts, run_id)]
        if "frozen.pb" not in names:
            raise RunError.at(
                self._address,
                f"the run '{run.info.run_name}' ({run.info.status}) has no frozen graph among its artifacts; "
                "a run with export=frozen that finished has one",
            )
        return self._download(f"{run.info.artifact_uri}/frozen.pb", into)

    def of_model(self, model_id: str, into: str) -> Path:
        """Return a copy of the frozen graph in a model."""
        model = self._get(f"has no model {model_id}", self._client.get_logged_model, model_id)
        folder, _, name = GRAPH.rpartition("/")
        names = [item.path for item in self._call(self._client.list_logged_model_artifacts, model_id, folder)]
        if GRAPH not in names:
            raise RunError.at(
                self._address, f"the model has no {name}: it was not made by expkit; mlflow models predict"
            )
        return self._download(f"{model.artifact_location}/{GRAPH}", into)

    def registered(self, name: str, alias: str | None, version: str | None) -> str:
        """Return the model's id of a version in the registry."""
        try:
            model = self._call(self._client.get_registered_model, name)
        except StoreRefused:
            names = [item.name for item in self._call(self._client.search_registered_models, max_results=1000)]
            sentence = f"{self._shown} has no registered model '{name}'"
            raise RunError.at(self._address, unknown(sentence, name, names, label="registered")) from None
        if alias is not None and alias not in model.aliases:
            shown = [f"{key} (version {value})" for key, value in sorted(model.aliases.items())]
            sentence = f"model '{name}' has no alias '{alias}'"
            raise RunError.at(self._address, unknown(sentence, alias, model.aliases, label="aliases", shown=shown))
        versions = self._call(self._client.search_model_versions, f"name = '{name}'")
        numbers = sorted((int(item.version) for item in versions), reverse=True)
        number = model.aliases[alias] if alias is not None else version
        if number == "latest" and numbers:
            number = str(numbers[0])
        chosen = next((item for item in versions if str(item.version) == str(number)), None)
        if chosen is None:
            raise RunError.at(
                self._address, f"model '{name}' has no version {number}; versions: {comma_list(map(str, numbers))}"
            )
        source = _ADDRESS.fullmatch(chosen.source)  # The store keeps the model's id nowhere else.
        if source is None or source["id"] is None:
            raise RunError.at(self._address, "the version was not made by expkit; mlflow models predict")
        return source["id"]

    def _download(self, artifact: str, into: str) -> Path:
        from mlflow.artifacts import download_artifacts

        return Path(self._call(download_artifacts, artifact, dst_path=into, tracking_uri=self._uri))

    def _get(self, absent: str, call: Callable[..., Answer], *arguments: Any) -> Answer:
        try:
            return self._call(call, *arguments)
        except StoreRefused as refused:
            raise RunError.at(self._address, f"{self._shown} {absent} ({refused})") from None

    def _call(self, call: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
        """Return MLflow's answer; raises ``StoreRefused`` where there is no such run, model or version."""
        try:
            return call(*arguments, **named)
        except Exception as error:  # MLflow's, SQLAlchemy's and requests' own errors all end here
            meaning = failure(error, opening=True)
            if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                raise meaning from None
            way_out = "start it, or give another with --uri URI" if isinstance(meaning, StoreUnreachable) else "fix it"
            raise TrackingError.at(
                self._address, f"the store {self._shown} cannot be read ({meaning}); {way_out}"
            ) from None
