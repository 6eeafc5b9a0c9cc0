"""Columns of tables that are probably no features are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expkit.data.columns import column_warnings
from expkit.data.dataset import load_dataset
from expkit.preflight import check
from support.experiments import config_of


def test_constant_columns_and_numbers_of_rows_are_reported() -> None:
    order = np.random.default_rng(0).permutation(30)
    columns = {
        "id": order + 7,
        "same": np.full(30, 7.0),
        "few": order % 5,
        "half": order + 0.5,
        "none": np.full(30, np.nan),
        "gap": np.where(order == 3, 4, order),
        "missing": np.where(order == 3, np.nan, order),
    }
    assert list(column_warnings([*columns], np.stack([*columns.values()], axis=1).astype(np.float64))) == [
        "column 'id' numbers the rows, from 7 to 36, and is read as a feature; leave it out unless it means more",
        "column 'same' is the same in all 30 rows, so a network learns nothing from it; leave it out",
        "column 'none' is the same in all 30 rows, so a network learns nothing from it; leave it out",
    ]
    assert len(list(column_warnings(["id"], order))) == 1
    assert list(column_warnings(["id"], order[order < 19])) == []


def test_only_columns_of_inputs_are_looked_at(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 7},1,2,{i % 3}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("id,a,b,c,label\n" + rows)
    columns = {"x": ("id", "a", "b", "c"), "label": "label"}
    source = {"kind": "table", "path": str(tmp_path / "t.csv"), "columns": columns}
    config = config_of(tmp_path, data={"source": source})
    warnings = load_dataset(config, check(config).spec).warnings
    assert [sentence.split("'")[1] for sentence in warnings if sentence.startswith("column")] == ["id", "b", "c"]
