"""The frozen graph of a run or of a registered model, fetched from the store that has it."""

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
from expkit.tracking.client import check_sqlite, prepare
from expkit.tracking.errors import Refused, TrackingError, Unreachable, failure
from expkit.tracking.model import GRAPH

__all__ = ["fetched"]

Answer = TypeVar("Answer")

_ALLOWED = "allowed: models:/NAME@ALIAS, models:/NAME/VERSION, models:/NAME/latest, models:/ID, runs:/ID"
_ADDRESS = re.compile(
    r"runs:/(?P<run>[^/@]+)|models:/(?P<id>m-[0-9a-f]{32})|models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))"
)


@contextmanager
def fetched(address: str, uri: str) -> Iterator[Path]:
    """Give the frozen graph that an address of MLflow means, as a file that is there inside the block.

    Args:
        address: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/ID`` or ``runs:/ID``.
        uri: of the store.

    Raises:
        RunError: there is no such model or run, or it has no frozen graph.
        TrackingError: the store cannot be used, or does not answer.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise RunError.at(address, f"means no model and no run; {_ALLOWED}")
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    prepare()
    with TemporaryDirectory(prefix="expkit-") as place:
        source = _Source(address, uri)
        if found["run"] is not None:
            yield source.of_run(found["run"], place)
        else:
            model_id = found["id"] or source.registered(found["name"], found["alias"], found["version"])
            yield source.of_model(model_id, place)


class _Source:
    def __init__(self, address: str, uri: str) -> None:
        from mlflow import MlflowClient

        self._address = address
        self._shown = masked(uri)
        self._uri = uri
        self._ask(check_sqlite, uri)
        self._client: Any = self._ask(MlflowClient, uri)

    def of_run(self, run_id: str, place: str) -> Path:
        """Return a copy of the frozen graph among a run's artifacts."""
        run = self._ask_for(f"has no run {run_id}", self._client.get_run, run_id)
        if run.info.lifecycle_stage == "deleted":
            raise RunError.at(
                self._address, f"the run was deleted in MLflow; `mlflow runs restore {run_id}` takes it back"
            )
        names = [item.path for item in self._ask(self._client.list_artifacts, run_id)]
        if "frozen.pb" not in names:
            raise RunError.at(
                self._address,
                f"the run '{run.info.run_name}' ({run.info.status}) has no frozen graph among its artifacts; "
                "a run with export=frozen that finished has one",
            )
        return self._download(f"{run.info.artifact_uri}/frozen.pb", place)

    def of_model(self, model_id: str, place: str) -> Path:
        """Return a copy of the frozen graph in a model."""
        model = self._ask_for(f"has no model {model_id}", self._client.get_logged_model, model_id)
        folder, _, name = GRAPH.rpartition("/")
        names = [item.path for item in self._ask(self._client.list_logged_model_artifacts, model_id, folder)]
        if GRAPH not in names:
            raise RunError.at(
                self._address, f"the model has no {name}: it was not made by expkit; mlflow models predict"
            )
        return self._download(f"{model.artifact_location}/{GRAPH}", place)

    def registered(self, name: str, alias: str | None, version: str | None) -> str:
        """Return the id of the model that a name in the registry means."""
        try:
            model = self._ask(self._client.get_registered_model, name)
        except Refused:
            names = [item.name for item in self._ask(self._client.search_registered_models, max_results=1000)]
            sentence = f"{self._shown} has no registered model '{name}'"
            raise RunError.at(self._address, unknown(sentence, name, names, label="registered")) from None
        if alias is not None and alias not in model.aliases:
            shown = [f"{key} (version {value})" for key, value in sorted(model.aliases.items())]
            sentence = f"model '{name}' has no alias '{alias}'"
            raise RunError.at(self._address, unknown(sentence, alias, model.aliases, label="aliases", shown=shown))
        versions = self._ask(self._client.search_model_versions, f"name = '{name}'")
        numbers = sorted((int(item.version) for item in versions), reverse=True)
        wanted = model.aliases[alias] if alias is not None else version
        if wanted == "latest" and numbers:
            wanted = str(numbers[0])
        chosen = next((item for item in versions if str(item.version) == str(wanted)), None)
        if chosen is None:
            raise RunError.at(
                self._address, f"model '{name}' has no version {wanted}; versions: {comma_list(map(str, numbers))}"
            )
        source = _ADDRESS.fullmatch(chosen.source)  # the store keeps the model's id nowhere else
        if source is None or source["id"] is None:
            raise RunError.at(self._address, "the version was not made by expkit; mlflow models predict")
        return source["id"]

    def _download(self, artifact: str, place: str) -> Path:
        from mlflow.artifacts import download_artifacts

        return Path(self._ask(download_artifacts, artifact, dst_path=place, tracking_uri=self._uri))

    def _ask_for(self, absent: str, call: Callable[..., Answer], *arguments: Any) -> Answer:
        try:
            return self._ask(call, *arguments)
        except Refused as refused:
            raise RunError.at(self._address, f"{self._shown} {absent} ({refused})") from None

    def _ask(self, call: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
        """Return what MLflow answers; raises ``Refused`` where it has not got what is asked for."""
        try:
            return call(*arguments, **named)
        except Exception as error:  # MLflow's, SQLAlchemy's and requests' own errors all end here
            meaning = failure(error, opening=True)
            if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                raise meaning from None
            way_out = "start it, or give another with --uri URI" if isinstance(meaning, Unreachable) else "mend it"
            raise TrackingError.at(
                self._address, f"the store {self._shown} cannot be read ({meaning}); {way_out}"
            ) from None
