"""The receipt of a restore: what went into every variable, from where, and a checksum of its bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from expkit.checkpoints.restore.plan import Plan

__all__ = ["as_plain", "receipt_text"]


def receipt_text(plan: Plan, values: Mapping[str, np.ndarray]) -> str:
    """Return the receipt of a plan that was carried out, as JSON: a line for each variable."""
    content = as_plain(plan)
    for row in content["variables"]:
        row["sha256"] = hashlib.sha256(np.asarray(values[row["variable"]], order="C").tobytes()).hexdigest()
    rows = ",\n".join(f"    {json.dumps(row)}" for row in content.pop("variables"))
    rest = json.dumps(content, indent=2).removesuffix("\n}")
    return f'{rest},\n  "variables": [\n{rows}\n  ]\n}}\n'


def as_plain(plan: Plan) -> dict[str, Any]:
    """Return what a plan does as plain data."""
    return {
        "loaded": plan.loaded,
        "files": dict(plan.files),
        "kept_initial": list(plan.kept_initial),
        "skipped": dict(plan.skipped),
        "variables": [
            {
                "variable": pair.variable,
                "role": pair.role,
                "file": plan.files[pair.offer],
                "source": list(pair.sources),
                "weights": pair.weights,
                "rule": str(pair.origin),
                "transform": pair.changes,
                "shape": list(pair.shape),
                "dtype": pair.dtype,
            }
            for pair in plan.pairs
        ],
    }
