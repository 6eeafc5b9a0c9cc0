"""Private API of other packages: one module for each package, and a clear message when a new version lacks any."""

from __future__ import annotations

import ast
import importlib
import sqlite3
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import expkit
from expkit.tracking.mlflow_internals import latest_metrics, schema_revisions, shared_view

PACKAGE = Path(expkit.__file__).parent
USED = {
    "config/hydra_internals.py": {
        "hydra-core": (
            "hydra._internal.callbacks:Callbacks.on_multirun_start",
            "hydra._internal.callbacks:Callbacks.on_multirun_end",
            "hydra._internal.config_loader_impl:ConfigLoaderImpl.load_configuration",
            "hydra._internal.core_plugins.bash_completion:BashCompletion._query",
            "hydra._internal.core_plugins.file_config_source:FileConfigSource._get_header_dict",
            "hydra._internal.core_plugins.file_config_source:FileConfigSource._normalize_file_name",
            "hydra._internal.core_plugins.importlib_resources_config_source:ImportlibResourcesConfigSource",
            "hydra._internal.sources_registry:SourcesRegistry.instance",
            "hydra._internal.utils:create_config_search_path",
            "hydra._internal.utils:get_args_parser",
            "hydra.core.utils:JobReturn._return_value",
        ),
        "omegaconf": ("omegaconf._utils:get_omega_conf_dumper", "omegaconf._utils:get_yaml_loader"),
    },
    "export/converters/tflite.py": {
        "tensorflow": (
            "tensorflow.lite.python.lite:TFLiteConverterV2.from_saved_model",
            "tensorflow.lite.python.lite:TFLiteSavedModelConverterV2._convert_from_saved_model",
        ),
    },
    "export/targets/runtimes.py": {
        "ai-edge-litert": ("ai_edge_litert.interpreter:Interpreter._get_ops_details",),
    },
    "sweeps/optuna_internals.py": {
        "optuna": (
            "optuna.storages:BaseStorage.get_trial",
            "optuna.storages:BaseStorage.set_trial_intermediate_value",
            "optuna.storages:BaseStorage.set_trial_user_attr",
        )
    },
    "tracking/mlflow_internals.py": {
        "mlflow": (
            "mlflow.store.db.utils:_initialize_tables",
            "mlflow.store.db.utils:create_sqlalchemy_engine",
            "mlflow.utils.requirements_utils:_MODULES_TO_PACKAGES",
            "mlflow.utils.validation:MAX_EXPERIMENT_TAG_VAL_LENGTH",
            *(
                f"mlflow.system_metrics.metrics.{name.lower()}_monitor:{name}Monitor.{method}"
                for name in ("CPU", "Disk", "GPU", "Network")
                for method in ("collect_metrics", "aggregate_metrics", "clear_metrics")
            ),
        )
    },
}
"""By module of expkit and by package: MODULE:NAME of all private API that is used."""
INSIDE = {
    "_content",
    "_get_header_dict",
    "_get_ops_details",
    "_metric_objs",
    "_normalize_file_name",
    "_query",
    "_return_value",
    "_storage",
    "_trial_id",
}
"""Private attributes among it."""


def lacking(package: str, used: str, module: str) -> str | None:
    """Return a sentence about private API that a package lacks, or ``None``."""
    where, _, names = used.partition(":")
    try:
        found = importlib.import_module(where)
        for name in names.split("."):
            found = getattr(found, name) if hasattr(found, name) else found.__dataclass_fields__[name]
    except (ImportError, AttributeError, KeyError):
        return f"{package} {version(package)} no longer has {where}.{names}: adapt expkit/{module}"
    return None


@pytest.mark.parametrize(
    ("module", "package", "used"),
    [(module, package, used) for module, uses in USED.items() for package, names in uses.items() for used in names],
)
def test_a_package_still_has_the_private_api_that_is_used(module: str, package: str, used: str) -> None:
    pytest.importorskip(used.partition(".")[0], reason="the package is an extra that is not installed")
    assert (said := lacking(package, used, module)) is None, said


def test_private_api_that_is_gone_is_named_with_the_module_to_adapt() -> None:
    assert lacking("hydra-core", "hydra._internal.utils:gone", "config/hydra_internals.py") == (
        f"hydra-core {version('hydra-core')} no longer has hydra._internal.utils.gone: "
        "adapt expkit/config/hydra_internals.py"
    )
    assert lacking("hydra-core", "hydra._internal.gone:Gone", "x.py") is not None


def test_a_mapping_of_omegaconf_keeps_its_nodes_where_they_are_put() -> None:
    from omegaconf import AnyNode, DictConfig

    from expkit.config.hydra_internals import fill

    mapping = DictConfig({})
    fill(mapping, {"a": AnyNode(1)})
    assert mapping == {"a": 1}, f"omegaconf {version('omegaconf')} keeps content elsewhere: adapt {fill.__module__}"


def test_a_study_of_optuna_has_its_storage_and_trials_their_number_there() -> None:
    optuna = pytest.importorskip("optuna", reason="expkit[optuna] is not installed")
    study = optuna.create_study()
    study.ask()
    for owner, name in ((study, "_storage"), (study.trials[0], "_trial_id")):
        said = f"optuna {version('optuna')} no longer has {type(owner).__name__}.{name}"
        assert hasattr(owner, name), f"{said}: adapt expkit/sweeps/optuna_internals.py"


def test_the_pages_of_mlflow_know_the_view_of_a_sweep_and_its_addresses() -> None:
    folder = find_spec("mlflow").origin
    pages = "".join(file.read_text() for file in (Path(str(folder)).parent / "server/js/build/static/js").glob("*.js"))
    recorded = ["valid/s", "valid/s/ema", "test/s"]
    orders = {"search": "", "params": ["a", "b"], "numeric": ["a", "b"], "scores": ["s"], "ascending": True}
    view = shared_view(**orders, recorded=recorded, groups=[["1", "2"]])
    words = {"sharedViewState", "viewStateShareKey", "compareRunsMode", "workflowType", "compare-runs"}
    words |= {*view, *view["groupBy"], *view["groupBy"]["groupByKeys"][0], *view["compareRunSections"][0]}
    words |= {key for chart in view["compareRunCharts"] for key in chart}
    words |= {chart["type"] for chart in view["compareRunCharts"]}
    unknown = sorted(word for word in words if word not in pages)
    assert not unknown, f"MLflow {version('mlflow')} no longer knows {unknown}: adapt {shared_view.__module__}"


def test_a_run_of_mlflow_has_the_last_points_of_its_metrics() -> None:
    from mlflow.entities import Metric, Run, RunData, RunInfo, RunStatus

    point = Metric("loss", 0.5, 1, 20)
    run = Run(RunInfo("1", "0", "user", RunStatus.RUNNING, 1, None, "active"), RunData(metrics=[point]))
    said = f"MLflow {version('mlflow')} keeps points elsewhere: adapt {latest_metrics.__module__}"
    assert getattr(run.data, "_metric_objs", None) == [point], said
    assert latest_metrics(run) == [point]


def test_the_schema_of_mlflow_is_among_its_revisions(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        revisions = {row[0] for row in connection.execute("select version_num from alembic_version")}
    said = f"MLflow {version('mlflow')} keeps revisions elsewhere: adapt {schema_revisions.__module__}"
    assert revisions <= schema_revisions(), said


def private(file: Path) -> set[str]:
    """Return the private modules of other packages that a file imports, and the attributes of ``INSIDE`` it names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in INSIDE:
            found.add(node.attr)
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            parts = name.split(".")
            hidden = any(part.startswith("_") for part in parts)
            if (parts[0] in ("hydra", "omegaconf", "optuna") and hidden) or parts[:2] == ["mlflow", "system_metrics"]:
                found.add(name)
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_private_api_is_used_in_its_module_only(file: Path) -> None:
    place = file.relative_to(PACKAGE).as_posix()
    assert place in USED or not private(file), f"{place} uses {sorted(private(file))}; allowed in {sorted(USED)}"


def test_the_list_of_private_api_is_complete() -> None:
    for module, uses in USED.items():
        listed = {used.partition(":") for names in uses.values() for used in names}
        known = {f"{where}.{names.split('.')[0]}" for where, _, names in listed} | INSIDE
        assert private(PACKAGE / module) <= known
