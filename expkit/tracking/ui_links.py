"""Links to the newest sweep on MLflow's pages: a table of its runs, charts, a comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from expkit.sweeps.objective import mode_of
from expkit.tracking.client import check_sqlite, prepare
from expkit.tracking.errors import StoreRefused, TrackingError, failure
from expkit.tracking.mlflow_internals import SHARED_VIEW, shared_view, shared_view_pages

__all__ = ["sweep_pages"]

_PARENT = "mlflow.parentRunId"


def sweep_pages(uri: str, page: str) -> list[str]:
    """Return links to the newest sweep of a store, or none when there is no sweep.

    The first is a table of its runs, with columns of varied parameters and scores; the view is kept in the store, as
    MLflow's pages do when a user shares one. The second shows charts, the third compares the runs.

    Args:
        uri: of the store.
        page: of MLflow, without a slash at its end.

    Raises:
        TrackingError: the store cannot be read.
    """
    prepare()
    from mlflow import MlflowClient

    try:
        check_sqlite(uri)
        client: Any = MlflowClient(uri)
        experiments = [item.experiment_id for item in client.search_experiments()]
        newest = client.search_runs(experiments, "tags.`expkit.sweep.key` LIKE '%'", max_results=1)
        if not newest:
            return []
        key, experiment = newest[0].data.tags.get(_PARENT, newest[0].info.run_id), newest[0].info.experiment_id
        search = f"tags.`{_PARENT}` = '{key}'"
        runs = client.search_runs([experiment], search, max_results=1000, order_by=["attributes.start_time ASC"])
        client.set_experiment_tag(experiment, f"{SHARED_VIEW}{key}", json.dumps(_view(runs, search)))
    except Exception as error:  # MLflow's and SQLAlchemy's own errors end here
        meaning = error if isinstance(error, StoreRefused) else failure(error)
        raise TrackingError.at(uri, f"the store cannot be read ({meaning}); fix it, or name another folder") from None
    return shared_view_pages(page, experiment, key, [run.info.run_id for run in runs])


def _view(runs: Sequence[Any], search: str) -> dict[str, Any]:
    """Return the view of a sweep's runs: parameters that vary, and the score on the valid and test splits."""
    params = dict.fromkeys(key for run in runs for key in run.data.params)
    varied = [key for key in params if len({run.data.params.get(key) for run in runs}) > 1]
    best = next((run.data.params["train.best_metric"] for run in runs if "train.best_metric" in run.data.params), "")
    name = best.partition("/")[2] or "loss"
    recorded = {key for run in runs for key in run.data.metrics}
    return shared_view(
        search=search,
        params=varied,
        numeric=[key for key in varied if all(_is_number(run.data.params.get(key)) for run in runs)],
        scores=[
            key for split in ("valid", "test") for key in (f"{split}/{name}", f"{split}/{name}/ema") if key in recorded
        ],
        ascending=not best or any(mode_of(run.data.params, best) == "min" for run in runs),
    )


def _is_number(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", text, re.IGNORECASE) is not None
