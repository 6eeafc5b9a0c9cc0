"""The verb ``sync``: upload of records that MLflow is missing."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from expkit.run_folder import RunFolder
from expkit.sweeps.sweep_folder import SweepFolder

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "sync",
        help="upload records that MLflow is missing",
        description="Upload the records of runs that MLflow is missing because its server was down, slow or gone. "
        "Nothing is lost or recorded twice. The exit code is 1 when something is still missing.",
    )
    parser.add_argument(
        "folders", nargs="+", metavar="RUN", help="run folder, folder with runs such as a sweep's, or runs:/ID"
    )
    parser.add_argument("--folder", default="runs", metavar="DIR", help="folder of the runs, for runs:/ID (runs)")
    parser.add_argument(
        "--uri",
        help="store; needed where it is neither MLFLOW_TRACKING_URI nor the one beside the runs",
    )
    parser.add_argument("--restore", action="store_true", help="restore deleted runs from MLflow's trash")
    parser.set_defaults(run=_sync)


def _sync(given: argparse.Namespace) -> int:
    from expkit.tracking.sync import addresses, recorded_folders, sync
    from expkit.tracking.uploader import OpenStores

    folders = list(dict.fromkeys(folder for named in given.folders for folder in recorded_folders(named, given.folder)))
    stores, missing, where = OpenStores(), 0, addresses(folders, given.uri)
    warnings = _Warnings(logging.WARNING)
    logging.getLogger("expkit").addHandler(warnings)
    try:
        for folder, address in zip(folders, where, strict=True):
            synced = sync(folder, stores, address, given.restore)
            print(synced, flush=True)
            _keep_id(folder, synced.run_id)
            missing += synced.missing > 0 or synced.cause is not None
    finally:
        logging.getLogger("expkit").removeHandler(warnings)
    if len(folders) > 1:
        print(f"{len(folders) - missing} of {len(folders)} runs are complete in MLflow")
    return 1 if missing else 0


def _keep_id(folder: Path, run_id: str | None) -> None:
    """Write a run's id into its folder, for the other verbs."""
    if run_id is not None and (folder / "run.json").is_file():
        RunFolder(folder).update(mlflow_run_id=run_id)
    if run_id is not None and (folder / "sweep.json").is_file():
        SweepFolder(folder).update(mlflow_run_id=run_id)


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"warning: {record.getMessage()}", file=sys.stderr)
