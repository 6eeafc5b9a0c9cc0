"""The frozen graph that an address names: a file, a run folder, or a model in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from expkit.errors import RunError
from expkit.export.exporter import recorded
from expkit.export.freeze import FrozenGraph, read_frozen
from expkit.export.preprocessing import PREPROCESSING
from expkit.export.runtime_graph import RuntimeGraph, runtime_of
from expkit.redact import masked
from expkit.run_lookup import named_path

__all__ = ["find_frozen", "find_graph", "frozen_file", "is_in_store", "is_run_folder", "read_graph"]


def is_in_store(address: str) -> bool:
    """Return True if an address is of a model or a run in MLflow."""
    return address.startswith(("models:", "runs:"))


def is_run_folder(path: Path) -> bool:
    """Return True for a folder that is not a SavedModel."""
    return path.is_dir() and not (path / "saved_model.pb").is_file()


def find_frozen(
    address: str, uri: str | None = None, *, fetch: Sequence[str] = (), allowed: Collection[str] = ()
) -> FrozenGraph:
    """Read the graph that an address names.

    Args:
        address: a ``.pb`` or ``.meta`` file, a run folder, a SavedModel folder, ``models:/NAME@ALIAS``,
            ``models:/NAME/VERSION`` or ``runs:/ID``.
        uri: the MLflow store of ``models:/`` and ``runs:/``; by default ``MLFLOW_TRACKING_URI``, or the local one in
            ``runs/``.
        fetch: tensors to compute in place of the outputs.
        allowed: operations to allow besides those known to be pure.

    Raises:
        ExpkitError: there is none, or it cannot be read.
    """
    with frozen_file(address, uri) as file:
        return read_graph(file, fetch=fetch, allowed=allowed)


def read_graph(file: Path, *, fetch: Sequence[str] = (), allowed: Collection[str] = ()) -> FrozenGraph:
    """Read a file that TensorFlow computes, with the verdict of ``export.json`` beside it; see ``read_frozen``."""
    frozen = read_frozen(file, fetch=fetch, allowed=allowed)
    about = recorded(file / "saved_model.pb" if file.is_dir() else file)
    return frozen if about is None else replace(frozen, metadata={**frozen.metadata, "verdict": about.verdict})


def find_graph(
    address: str, uri: str | None = None, *, fetch: Sequence[str] = (), allowed: Collection[str] = ()
) -> FrozenGraph | RuntimeGraph:
    """Read the graph that an address names, or a file of another format; arguments are those of ``find_frozen``.

    Raises:
        ExpkitError: there is none, or it cannot be read.
    """
    if is_in_store(address) or (kind := runtime_of(path := named_path(address, "graph"))) is None:
        return find_frozen(address, uri, fetch=fetch, allowed=allowed)
    refused = {"--fetch": fetch, "--allow-op": allowed and not path.with_name(PREPROCESSING).is_file(), "--uri": uri}
    if given := [name for name, value in refused.items() if value]:
        raise RunError.at(given[0], f"{address} is computed by the runtime of {kind}, which gives its outputs only")
    return RuntimeGraph(path, allowed=allowed)


@contextmanager
def frozen_file(address: str, uri: str | None = None) -> Iterator[Path]:
    """Yield the file of the frozen graph that an address names; one from MLflow is temporary.

    Raises:
        ExpkitError: there is none.
    """
    if is_in_store(address):
        from expkit.tracking.download import downloaded

        with downloaded(address, uri or _default_uri(address)) as file:
            yield file
        return
    if uri is not None:
        raise RunError.at("--uri", f"{address} is not a model or run in a store; allowed: models:/NAME@ALIAS, runs:/ID")
    path = named_path(address, "frozen graph")
    yield path / "frozen.pb" if is_run_folder(path) else path


def _default_uri(address: str) -> str:
    from expkit.tracking.store_address import local_store, local_uri, uri_of_environment

    if (uri := uri_of_environment()) is not None:
        print(f"MLflow: store {masked(uri)} (MLFLOW_TRACKING_URI)", file=sys.stderr)
        return uri
    store = local_store("runs")
    if not store.is_file():
        raise RunError.at(address, f"no store {store}; give the store's address with --uri URI")
    return local_uri("runs")
