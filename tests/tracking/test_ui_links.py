"""Links to MLflow's pages of the newest sweep."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from expkit.tracking.errors import TrackingError
from expkit.tracking.mlflow_internals import shared_view, view_text
from expkit.tracking.ui_links import store_pages


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('views') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def make_sweep(client: Any, at: int, best: dict[str, str], metrics: list[str]) -> tuple[str, list[str]]:
    tags = {"expkit.sweep.key": "k"}
    parent = client.create_run("0", start_time=at, tags=tags).info.run_id
    children = []
    for number in range(3):
        run = client.create_run("0", start_time=at + 1 + number, tags={**tags, "mlflow.parentRunId": parent})
        params = {"optimizer.learning_rate": str(number), "train.steps": "3", **best}
        for key, value in params.items():
            client.log_param(run.info.run_id, key, value)
        for name in metrics:
            client.log_metric(run.info.run_id, name, number)
        children.append(run.info.run_id)
    return parent, children


def view_of(client: Any, key: str) -> Any:
    return json.loads(client.get_experiment("0").tags[f"mlflow.sharedViewState.{key}"])


def test_a_store_without_a_sweep_has_no_links(uri: str, client: Any) -> None:
    client.create_run("0", start_time=1)
    assert store_pages(uri, "http://host") == {}


def test_links_show_what_varies_and_the_score_of_the_newest_sweep(uri: str, client: Any) -> None:
    make_sweep(client, 10, {}, [])
    named = {"train.best_metric": "valid/accuracy", "train.best_mode": "max"}
    recorded = ["train/loss", "valid/loss", "valid/accuracy", "valid/accuracy/ema", "test/accuracy"]
    parent, children = make_sweep(client, 20, named, recorded)
    links = store_pages(uri, "http://host")
    table, charts, beside = links["newest sweep"], links["its charts"], links["compared"]
    assert charts == f"{table}&compareRunsMode=CHART"
    assert table == f"http://host/#/experiments/0/runs?viewStateShareKey={parent}&workflowType=machine_learning"
    scores = ["metrics.`valid/accuracy`", "metrics.`valid/accuracy/ema`", "metrics.`test/accuracy`"]
    columns = ["params.`optimizer.learning_rate`", *scores]
    view = view_of(client, parent)
    parallel, *curves = view.pop("compareRunCharts")  # of one field there is no contour
    assert (parallel["selectedParams"], parallel["selectedMetrics"]) == (
        ["optimizer.learning_rate"],
        ["valid/accuracy"],
    )
    shown = [
        (card["type"], card["metricKey"], card.get("selectedMetricKeys")) for card in curves if not card["deleted"]
    ]
    assert shown == [
        ("LINE", "valid/accuracy", ["valid/accuracy", "valid/accuracy/ema"]),
        ("LINE", "valid/loss", ["valid/loss"]),
        ("LINE", "train/loss", ["train/loss"]),
        ("BAR", "test/accuracy", None),
    ]
    assert [card["metricKey"] for card in curves if card["deleted"]] == ["valid/accuracy/ema"]  # else MLflow adds it
    sections = [section["uuid"] for section in view.pop("compareRunSections")]
    assert (sections, view.pop("isAccordionReordered")) == (["sweep", "valid", "train", "test"], True)
    assert parallel["metricSectionId"] == "sweep"
    assert view == {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent}'",
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", *columns],
        "columnWidths": dict(zip(["attributes.`Run Name`", *columns], [260, 191, 128, 156, 121], strict=True)),
        "orderByKey": "metrics.`valid/accuracy`",
        "orderByAsc": False,
    }
    asked = urllib.parse.parse_qs(beside.removeprefix("http://host/#/compare-runs?"))
    assert json.loads(asked["runs"][0]) == children
    assert (json.loads(asked["experiments"][0]), asked["workflowType"]) == (["0"], ["machine_learning"])


def test_two_numbers_that_vary_span_a_contour_and_words_do_not(uri: str, client: Any) -> None:
    parent, children = make_sweep(client, 25, {}, ["valid/loss"])
    for number, child in enumerate(children):
        client.log_param(child, "optimizer.kind", ["sgd", "adam", "adamw"][number])
        client.log_param(child, "units", f"{number}e-05")
    store_pages(uri, "http://host")
    parallel, contour, _ = view_of(client, parent)["compareRunCharts"]
    assert parallel["selectedParams"] == ["optimizer.learning_rate", "optimizer.kind", "units"]
    assert (contour["type"], contour["zaxis"]) == ("CONTOUR", {"key": "valid/loss", "type": "METRIC"})
    assert contour["xaxis"] == {"key": "optimizer.learning_rate", "type": "PARAM"}
    assert contour["yaxis"] == {"key": "units", "type": "PARAM"}


def test_replicates_are_one_line_of_the_table_and_one_curve(uri: str, client: Any) -> None:
    parent, children = make_sweep(client, 27, {}, ["valid/loss"])
    client.log_param(parent, "hydra.sweeper.repeat_over", '["data.fold"]')
    for number, child in enumerate(children):
        client.log_param(child, "run.seed", str(number))
        client.log_param(child, "data.fold", str(number))
    store_pages(uri, "http://host")
    view = view_of(client, parent)
    assert view["selectedColumns"] == ["params.`optimizer.learning_rate`", "metrics.`valid/loss`"]
    assert view["groupBy"] == {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": "optimizer.learning_rate"}],
    }
    assert view["groupsExpanded"] == {f"param.optimizer.learning_rate.{number}": False for number in range(3)}


def test_a_view_that_is_too_long_for_a_tag_is_kept_without_what_is_least_needed() -> None:
    keys = [f"network.layers.a_long_name_of_a_layer_{number}.units" for number in range(60)]
    recorded = [f"valid/{number}" for number in range(30)]
    orders = {"search": "a", "params": keys, "scores": ["valid/0"], "ascending": True, "recorded": recorded}
    view = shared_view(**orders, groups=[["0" * 90] * 60] * 3)
    kept = json.loads(view_text(view))
    assert len(json.dumps(view)) > 20_000 >= len(json.dumps(kept))
    assert set(view) - set(kept) == {"groupsExpanded", "compareRunCharts", "compareRunSections"}
    assert kept.items() <= view.items()


def test_the_newest_run_has_its_curves_if_it_is_in_no_sweep(uri: str, client: Any) -> None:
    run = client.create_run("0", start_time=50, tags={"run_folder": "runs/one"}).info.run_id
    client.log_metric(run, "valid/loss", 0.5)
    client.log_metric(run, "valid/loss/ema", 0.25)
    link = store_pages(uri, "http://host")["newest run"]
    assert link.startswith(f"http://host/#/experiments/0/runs?viewStateShareKey={run}&")
    view = view_of(client, run)
    assert view["searchFilter"] == f"attributes.run_id = '{run}'"
    assert view["compareRunCharts"][0]["selectedMetricKeys"] == ["valid/loss", "valid/loss/ema"]


def test_the_lowest_loss_comes_first_where_no_metric_is_named_the_best(uri: str, client: Any) -> None:
    parent, _ = make_sweep(client, 30, {}, ["valid/loss"])
    store_pages(uri, "http://host")
    view = view_of(client, parent)
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`valid/loss`", True)


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be read as one" * 20)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(TrackingError) as caught:
        store_pages(uri, "http://host")
    assert str(caught.value) == (
        f"{uri}: the store cannot be read (file is not a database); fix it, or name another folder"
    )
