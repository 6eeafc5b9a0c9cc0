"""Where MLflow's pages show the newest sweep: its runs as one table, and side by side."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

from expkit.tracking.client import check_sqlite, prepare
from expkit.tracking.errors import Refused, TrackingError, failure

__all__ = ["sweep_pages"]

_VIEW = "mlflow.sharedViewState."
"""Tag of an experiment in which MLflow's pages keep a view that is shared by its key."""
_NAME = "attributes.`Run Name`"
_CARD = {"deleted": False, "isGenerated": False, "isReordered": False, "display": True}
_PARENT = "mlflow.parentRunId"


def sweep_pages(uri: str, page: str) -> list[str]:
    """Return links to the newest sweep of a store, or none when there is no sweep.

    The first is its runs in a table, with columns of what varies and of the score; the view is kept in the store, as
    MLflow's pages do when a view is shared. The second draws them, the third compares them.

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
        wanted = f"tags.`{_PARENT}` = '{key}'"
        runs = client.search_runs([experiment], wanted, max_results=1000, order_by=["attributes.start_time ASC"])
        client.set_experiment_tag(experiment, f"{_VIEW}{key}", json.dumps(_view(runs, wanted)))
    except Exception as error:  # MLflow's and SQLAlchemy's own errors end here
        meaning = error if isinstance(error, Refused) else failure(error)
        raise TrackingError.at(uri, f"the store cannot be read ({meaning}); mend it, or name another place") from None
    compared = json.dumps([run.info.run_id for run in runs], separators=(",", ":"))
    table = f"{page}/#/experiments/{experiment}/runs?viewStateShareKey={key}&workflowType=machine_learning"
    beside = urllib.parse.urlencode({"runs": compared, "experiments": json.dumps([experiment])})
    return [table, f"{table}&compareRunsMode=CHART", f"{page}/#/compare-runs?{beside}&workflowType=machine_learning"]


def _view(runs: Sequence[Any], wanted: str) -> dict[str, Any]:
    """Return what MLflow's table of runs is to show: these runs, the best first; what varies, and the score."""
    params = dict.fromkeys(key for run in runs for key in run.data.params)
    varied = [key for key in params if len({run.data.params.get(key) for run in runs}) > 1]
    best = next((run.data.params["train.best_metric"] for run in runs if "train.best_metric" in run.data.params), "")
    lowest = not best or any(run.data.params.get("train.best_mode") == "min" for run in runs)
    name = best.partition("/")[2] or "loss"
    recorded = {key for run in runs for key in run.data.metrics}
    scores = [key for part in ("valid", "test") for key in (f"{part}/{name}", f"{part}/{name}/ema") if key in recorded]
    columns = {f"params.`{key}`": key for key in varied} | {f"metrics.`{key}`": key for key in scores}
    widths = {_NAME: 260, **{column: 30 + 7 * len(key) for column, key in columns.items()}}  # so that words are whole
    ordered = {"orderByKey": f"metrics.`{scores[0]}`", "orderByAsc": lowest} if scores else {}
    shown = {"selectedColumns": list(columns), "columnOrder": list(widths), "columnWidths": widths}
    numeric = [key for key in varied if all(_is_number(run.data.params.get(key)) for run in runs)]
    charts = _charts(varied, numeric, scores[0]) if scores and varied else []
    drawn = {"compareRunCharts": charts, "compareRunSections": [{**_CARD, "uuid": "sweep", "name": "sweep"}]}
    return {"searchFilter": wanted, **shown, **ordered, **(drawn if charts else {})}


def _is_number(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", text, re.IGNORECASE) is not None


def _charts(varied: Sequence[str], numeric: Sequence[str], score: str) -> list[dict[str, Any]]:
    """Return charts of what varies and the score: parallel coordinates, and a contour over the first two numbers."""
    card = {**_CARD, "metricSectionId": "sweep", "runsCountToCompare": 10}
    parallel = {"uuid": "sweep-parallel", "type": "PARALLEL", "selectedParams": varied, "selectedMetrics": [score]}
    charts = [{**card, **parallel, "showAllRuns": True}]
    if len(numeric) > 1:
        axes = zip("xy", numeric, strict=False)
        plane = {f"{axis}axis": {"key": key, "type": "PARAM"} for axis, key in axes}
        contour = {"uuid": "sweep-contour", "type": "CONTOUR", **plane, "zaxis": {"key": score, "type": "METRIC"}}
        charts.append({**card, **contour})
    return charts
