"""The export at the end of a run: ``export.to`` of its configuration."""

from __future__ import annotations

import logging
from pathlib import Path

from expkit.config.sections.export import ExportConfig
from expkit.errors import ExportError, Problem
from expkit.export.exporter import ExportFolder, export
from expkit.export.freeze import read_frozen
from expkit.export.operations import operations_of
from expkit.export.run import Frozen, FrozenSource
from expkit.export.targets.base import ExportOptions, ExportSource, check_installed, chosen_targets

__all__ = ["check_targets", "export_run"]

_AT = "export.to"
_log = logging.getLogger(__name__)


def check_targets(config: ExportConfig) -> None:
    """Check that what ``export.to`` needs is installed, before training.

    Raises:
        ExportError: it is not.
    """
    if config.to:
        check_installed(chosen_targets(config.to, _AT), _AT)


def export_run(frozen: Frozen, run: FrozenSource, folder: Path) -> ExportFolder:
    """Export a run's frozen graph to the targets of its configuration, into ``export`` in its folder.

    Raises:
        ExportError: a target is not proven; nothing is written. The message says how to export later.
    """
    config = run.checked.config.export
    allowed = operations_of(run.graphs[1].graph.as_graph_def())
    source = ExportSource(
        file=frozen.path,
        frozen=read_frozen(frozen.path, allowed=allowed),
        run=run,
        run_folder=folder.resolve(),
    )
    options = ExportOptions(quantize=config.quantize, max_drop=config.max_drop)
    targets = chosen_targets(config.to, _AT)
    into = folder / "export"
    try:
        return export(source, targets, options, into, lambda text: _log.info("%s", text), replace_folder=True)
    except ExportError as error:
        problems = [f"{item.path.removeprefix('--to ')}: {item.message}" for item in error.problems]
        problems[-1] += f"; the run is finished without it: `expkit export {folder} --to TARGETS` can follow"
        raise ExportError(*(Problem(_AT, text) for text in problems)) from None
