"""Links to the newest sweep and run on MLflow's pages: a table of its runs, charts, a comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from expkit.sweeps.jobs import SEEDS, is_under
from expkit.sweeps.objective import mode_of
from expkit.tracking.client import prepare
from expkit.tracking.errors import StoreRefused, TrackingError, failure
from expkit.tracking.mlflow_internals import SHARED_VIEW, compared_page, shared_view, shared_view_pages, view_text
from expkit.tracking.sqlite_store import check_sqlite

__all__ = ["store_pages"]

_PARENT = "mlflow.parentRunId"


def store_pages(uri: str, page: str) -> dict[str, str]:
    """Return links to the newest sweep of a store, and to the newest run if it is in no sweep, by what they show.

    Views are kept in the store, as MLflow's pages do when a user shares one: a table of the runs of the sweep, with
    columns of varied parameters and scores, and charts, in which raw and EMA share one. Replicates are one line.

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
        links = _pages_of_sweep(client, newest[0], page) if newest else {}
        last = client.search_runs(experiments, "tags.run_folder LIKE '%'", max_results=1)
        if last and _PARENT not in last[0].data.tags:
            links |= _pages_of_run(client, last[0], page)
        return links
    except Exception as error:  # MLflow's and SQLAlchemy's own errors end here
        meaning = error if isinstance(error, StoreRefused) else failure(error)
        raise TrackingError.at(uri, f"the store cannot be read ({meaning}); fix it, or name another folder") from None


def _pages_of_sweep(client: Any, newest: Any, page: str) -> dict[str, str]:
    key, experiment = newest.data.tags.get(_PARENT, newest.info.run_id), newest.info.experiment_id
    search = f"tags.`{_PARENT}` = '{key}'"
    runs = client.search_runs([experiment], search, max_results=1000, order_by=["attributes.start_time ASC"])
    repeated = json.loads(client.get_run(key).data.params.get("hydra.sweeper.repeat_over", "[]"))
    view = _view(runs, search, (*SEEDS, *([repeated] if isinstance(repeated, str) else repeated)))
    client.set_experiment_tag(experiment, f"{SHARED_VIEW}{key}", view_text(view))
    table, charts = shared_view_pages(page, experiment, key)
    compared = compared_page(page, experiment, [run.info.run_id for run in runs])
    return {"newest sweep": table, "its charts": charts, "compared": compared}


def _pages_of_run(client: Any, run: Any, page: str) -> dict[str, str]:
    key, experiment = run.info.run_id, run.info.experiment_id
    view = _view([run], f"attributes.run_id = '{key}'", ())
    client.set_experiment_tag(experiment, f"{SHARED_VIEW}{key}", view_text(view))
    return {"newest run": shared_view_pages(page, experiment, key)[1]}


def _view(runs: Sequence[Any], search: str, replicated: Sequence[str]) -> dict[str, Any]:
    """Return the view of runs: parameters that vary, the score on the valid and test splits, curves.

    Runs that differ in replicates only are grouped.
    """
    params = dict.fromkeys(key for run in runs for key in run.data.params)
    differing = [key for key in params if len({run.data.params.get(key) for run in runs}) > 1]
    varied = [key for key in differing if not is_under(key, replicated)]
    groups = dict.fromkeys(tuple(run.data.params.get(key) for key in varied) for run in runs)
    if len(varied) == len(differing) or not varied:
        varied, groups = differing, {}
    best = next((run.data.params["train.best_metric"] for run in runs if "train.best_metric" in run.data.params), "")
    name = best.partition("/")[2] or "loss"
    recorded = {key for run in runs for key in run.data.metrics}
    scores = [key for split in ("valid", "test") for key in (f"{split}/{name}", f"{split}/{name}/ema")]
    splits = ("valid", "train", "test")
    curves = [key for key in (*scores, *sorted(recorded)) if key in recorded and key.partition("/")[0] in splits]
    return shared_view(
        search=search,
        params=varied,
        numeric=[key for key in varied if all(_is_number(run.data.params.get(key)) for run in runs)],
        scores=[key for key in scores if key in recorded],
        ascending=not best or any(mode_of(run.data.params, best) == "min" for run in runs),
        recorded=sorted(dict.fromkeys(curves), key=lambda key: splits.index(key.partition("/")[0])),
        groups=list(groups),
    )


def _is_number(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", text, re.IGNORECASE) is not None
