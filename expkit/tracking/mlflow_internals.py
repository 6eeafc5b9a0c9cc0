"""Private API of MLflow, which no other module uses; its test names what a new version lacks.

These are its monitors of the machine, the schema revisions of its databases, the addresses of its pages, and the view
of a table of runs that its pages read from a tag when their address has ``viewStateShareKey``.
"""

from __future__ import annotations

import importlib.util
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from expkit.metric_names import EMA

__all__ = [
    "SHARED_VIEW",
    "compared_page",
    "create_tables",
    "experiments_page",
    "latest_metrics",
    "monitors",
    "run_page",
    "schema_revisions",
    "shared_view",
    "shared_view_pages",
    "skip_package_search",
    "view_text",
]

SHARED_VIEW = "mlflow.sharedViewState."
"""Prefix of an experiment's tags that hold shared views; the key follows."""
_WORKFLOW = "workflowType=machine_learning"
_NAME = "attributes.`Run Name`"
_CARD = {"deleted": False, "isGenerated": False, "isReordered": False, "display": True}
_LINE = {"xAxisKey": "step", "scaleType": "linear", "lineSmoothness": 0, "useGlobalLineSmoothing": False}
_MOST_CLOSED = 40
_MOST_CURVES = 20  # a tag, which holds the view, has at most 20,000 letters


def monitors() -> list[Any]:
    """Return the monitors of processor, disk, network and, where there is one, NVIDIA's processor."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    found: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(ImportError, RuntimeError):  # no NVIDIA processor, or its library is not installed
        found.append(GPUMonitor())
    return found


def schema_revisions() -> set[str]:
    """Return the revisions of a database's schema that the installed MLflow knows; MLflow is not imported."""
    package = importlib.util.find_spec("mlflow")
    assert package is not None
    assert package.origin is not None
    versions = Path(package.origin).parent / "store" / "db_migrations" / "versions"
    return {file.name.partition("_")[0] for file in versions.glob("*.py")}


def create_tables(path: Path) -> None:
    """Create the tables of MLflow in a new SQLite file."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(f"sqlite:///{path}")
    _initialize_tables(engine)
    engine.dispose()


def experiments_page(server: str) -> str:
    """Return the address of the list of experiments."""
    return f"{server}/#/experiments?{_WORKFLOW}"


def run_page(server: str, experiment: str, run_id: str) -> str:
    """Return the address of a run."""
    return f"{server}/#/experiments/{experiment}/runs/{run_id}?{_WORKFLOW}"


def shared_view_pages(server: str, experiment: str, key: str) -> tuple[str, str]:
    """Return the addresses of a shared view as a table and as charts."""
    table = f"{server}/#/experiments/{experiment}/runs?viewStateShareKey={key}&{_WORKFLOW}"
    return table, f"{table}&compareRunsMode=CHART"


def compared_page(server: str, experiment: str, run_ids: Sequence[str]) -> str:
    """Return the address of a comparison of runs."""
    compared = json.dumps(list(run_ids), separators=(",", ":"))
    query = urllib.parse.urlencode({"runs": compared, "experiments": json.dumps([experiment])})
    return f"{server}/#/compare-runs?{query}&{_WORKFLOW}"


def skip_package_search() -> None:
    """Keep MLflow from listing the files of all installed packages for the first model, which takes half a second.

    It would use the list to find the version of a package that is not installed under its own name.
    """
    from mlflow.utils import requirements_utils

    if requirements_utils._MODULES_TO_PACKAGES is None:
        requirements_utils._MODULES_TO_PACKAGES = {}


def latest_metrics(run: Any) -> list[Any]:
    """Return the last point of every metric of a run that was read: with its value, step and time."""
    return list(run.data._metric_objs)


def shared_view(
    *,
    search: str,
    params: Sequence[str],
    numeric: Sequence[str] = (),
    scores: Sequence[str],
    ascending: bool,
    recorded: Sequence[str] = (),
    groups: Sequence[Sequence[str | None]] = (),
) -> dict[str, Any]:
    """Return a view of runs, the best first, with columns and charts of parameters and scores.

    Args:
        search: filter that selects the runs.
        params: parameters to show.
        numeric: those among them that are numbers.
        scores: metrics to show; the first one orders the runs.
        ascending: the smallest score is the best.
        recorded: all metrics of the runs; the raw and the EMA one of the same name share a chart.
        groups: values of the parameters by which runs are one line, and one curve: their mean; none to group no runs.
    """
    columns = {f"params.`{key}`": key for key in params} | {f"metrics.`{key}`": key for key in scores}
    widths = {_NAME: 260, **{column: 30 + 7 * len(key) for column, key in columns.items()}}  # No word is cut off.
    order = {"orderByKey": f"metrics.`{scores[0]}`", "orderByAsc": ascending} if scores else {}
    table = {"selectedColumns": list(columns), "columnOrder": list(widths), "columnWidths": widths}
    view = {"searchFilter": search, **table, **order}
    if groups:
        keys = [{"mode": "param", "groupByData": key} for key in params]
        view["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
        view["useGroupedValuesInCharts"] = True
        named = (zip(params, values, strict=True) for values in groups[:_MOST_CLOSED])
        view["groupsExpanded"] = {
            ",".join(f"param.{key}.{value or 'null'}" for key, value in each): False for each in named
        }
    charts = [*(_charts(params, numeric, scores[0]) if scores and params else []), *_curves(recorded)]
    sections = dict.fromkeys(card["metricSectionId"] for card in charts)
    drawn = {
        "compareRunCharts": charts,
        "compareRunSections": [{**_CARD, "uuid": name, "name": name} for name in sections],
        "isAccordionReordered": True,
    }
    return {**view, **(drawn if charts else {})}


def view_text(view: Mapping[str, Any]) -> str:
    """Return a view as the value of a tag, without what MLflow's pages do without if it is longer than a tag may be."""
    from mlflow.utils.validation import MAX_EXPERIMENT_TAG_VAL_LENGTH

    kept = dict(view)
    for part in ("groupsExpanded", "compareRunCharts", "groupBy", "columnWidths", "columnOrder", "selectedColumns"):
        if len(text := json.dumps(kept)) <= MAX_EXPERIMENT_TAG_VAL_LENGTH:
            return text
        kept.pop(part, None)
        if part == "compareRunCharts":
            kept.pop("compareRunSections", None)
    return json.dumps(kept)


def _curves(recorded: Sequence[str]) -> list[dict[str, Any]]:
    """Return a chart of every metric by step, raw and EMA in one; numbers that are measured once are bars."""
    raw = [name for name in recorded if f"{name}/{EMA}" in recorded or not name.endswith(f"/{EMA}")]
    cards = []
    for name in raw[:_MOST_CURVES]:
        split = name.partition("/")[0]
        both = [name, *([f"{name}/{EMA}"] if f"{name}/{EMA}" in recorded else [])]
        for keys in [[key] for key in both] if split == "test" else [both]:
            shape = {"type": "BAR"} if split == "test" else {"type": "LINE", "selectedMetricKeys": keys, **_LINE}
            cards.append({**_CARD, **shape, "uuid": keys[0], "metricKey": keys[0], "metricSectionId": split})
        if split != "test":  # MLflow adds a chart of every metric that is in none as its first one
            cards += [
                {**_CARD, "uuid": key, "type": "LINE", "metricKey": key, "metricSectionId": split, "deleted": True}
                for key in both[1:]
            ]
    return cards


def _charts(params: Sequence[str], numeric: Sequence[str], score: str) -> list[dict[str, Any]]:
    """Return parallel coordinates of parameters and a score, and a contour over the first two numbers."""
    card = {**_CARD, "metricSectionId": "sweep", "runsCountToCompare": 10}
    parallel = {"uuid": "sweep-parallel", "type": "PARALLEL", "selectedParams": params, "selectedMetrics": [score]}
    charts = [{**card, **parallel, "showAllRuns": True}]
    if len(numeric) > 1:
        axes = {f"{axis}axis": {"key": key, "type": "PARAM"} for axis, key in zip("xy", numeric, strict=False)}
        contour = {"uuid": "sweep-contour", "type": "CONTOUR", **axes, "zaxis": {"key": score, "type": "METRIC"}}
        charts.append({**card, **contour})
    return charts
