"""The MLflow model of a short run on files of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from expkit.config.load import load
from expkit.export.freeze import FrozenGraph, read_frozen
from expkit.tracking.model import ModelRecord, _save
from support.experiments import run


def loaded_model(folder: Path, conf: Mapping[str, str], words: Sequence[str]) -> tuple[Any, FrozenGraph]:
    """Train, save the model and load it with MLflow; return it with the frozen graph.

    Args:
        folder: the folder, whose path replaces FOLDER in the files.
        conf: configuration files by group.
        words: overrides.
    """
    import mlflow.pyfunc

    for group, content in conf.items():
        (folder / "conf" / group).mkdir(parents=True)
        (folder / "conf" / group / "t.yaml").write_text(content.replace("FOLDER", str(folder)))
    words = ["data=t", "network=t", "train=classification", "tracking=none", *words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        done = run(load(words, (str(folder / "conf"),)), folder / "run")
    assert done.frozen is not None
    frozen = read_frozen(done.frozen.path)
    record = ModelRecord(
        graph="frozen.pb", example="frozen.example.npz", metadata=frozen.metadata, register=None, alias=None
    )
    _save(
        folder, SimpleNamespace(artifact_location=str(folder / "m"), model_id="m-1"), "0" * 32, record, folder / "run"
    )
    return mlflow.pyfunc.load_model(str(folder / "model")), frozen
