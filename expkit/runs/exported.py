"""The graph to export that an address names: of a run, of a file, or of a model in MLflow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from expkit.errors import ExpkitError, ExportError, Problem
from expkit.experiment import Experiment, frozen_source
from expkit.export.constants import with_constants
from expkit.export.freeze import read_frozen
from expkit.export.operations import operations_of
from expkit.export.run import freeze_checkpoint
from expkit.export.targets.base import ExportSource
from expkit.run_lookup import find_run, named_path
from expkit.runs.frozen_graph import frozen_file, is_in_store, is_run_folder

__all__ = ["export_source"]


@contextmanager
def export_source(
    address: str,
    uri: str | None = None,
    *,
    weights: Literal["raw", "ema"] | None = None,
    checkpoint: Literal["latest", "best"] | None = None,
    allowed: Collection[str] = (),
    check: Callable[[Path], None] | None = None,
) -> Iterator[tuple[ExportSource, Path]]:
    """Yield the source of an export, and the default folder for its files.

    A run is frozen anew, so that the graph is proven to be that of its checkpoint.

    Args:
        address: run folder, ``.pb`` file, SavedModel folder, ``.meta`` file beside its checkpoint,
            ``models:/NAME@ALIAS`` or ``runs:/ID``.
        uri: the MLflow store of ``models:/`` and ``runs:/``.
        weights: of a run; overrides its ``export.weights``.
        checkpoint: of a run; overrides its ``export.checkpoint``.
        allowed: operations of a file to allow besides those known to be pure.
        check: looks at the folder by default, before anything is computed.
    """
    path = None if is_in_store(address) else named_path(address, "run or frozen graph")
    if path is not None and is_run_folder(path):
        folder = find_run(address)
        if allowed:
            raise ExportError.at("--allow-op", f"{address} is a run, whose operations are expkit's own; leave it out")
        if check is not None:
            check(folder.path / "export")
        experiment = Experiment.open(folder)
        try:
            run = frozen_source(experiment, weights=weights, checkpoint=checkpoint)
        except ExpkitError as error:
            alone = folder.path / "frozen.pb"
            if not (alone.is_file() and all(problem.path.startswith("data.") for problem in error.problems)):
                raise
            text = f"a run is exported with its data; its frozen graph can be without: `expkit export {alone} ...`"
            raise type(error)(*error.problems, Problem(address, text)) from None
        with TemporaryDirectory(prefix="expkit-") as temporary:
            file = freeze_checkpoint(run, Path(temporary) / "frozen.pb").path
            frozen = read_frozen(file, allowed=operations_of(run.graphs[1].graph.as_graph_def()))
            source = ExportSource(file=file, frozen=frozen, run=run, run_folder=folder.path.resolve())
            yield source, folder.path / "export"
        return
    if weights is not None or checkpoint is not None:
        raise ExportError.at(
            "--weights" if weights is not None else "--checkpoint", f"{address} is not a run folder, and holds one set"
        )
    default = Path("export") if path is None else path.with_name(f"{path.stem}-export")
    if check is not None:
        check(default)
    with frozen_file(address, uri) as file, TemporaryDirectory(prefix="expkit-") as temporary:
        frozen = read_frozen(file, allowed=allowed)
        read = file / "saved_model.pb" if file.is_dir() else file
        if frozen.initializers:
            frozen, read = with_constants(frozen, str(file)), Path(temporary) / "frozen.pb"
            read.write_bytes(frozen.graph_def.SerializeToString(deterministic=True))
        yield ExportSource(file=read, frozen=frozen), default
