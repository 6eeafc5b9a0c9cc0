"""Params of an MLflow run: configured values as texts that MLflow accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from expkit.config.load import plain
from expkit.config.schema import Config
from expkit.redact import masked
from expkit.run_folder import flat

__all__ = ["param_name", "params_of", "texts"]

_LONGEST_PARAM = 6000  # MLflow's limit


def params_of(config: Config) -> dict[str, str]:
    """Return the configured values, each short enough for a table; config.yaml among the artifacts has the rest."""
    return texts(flat(plain(config, exclude_unset=True)))


def param_name(key: str) -> str:
    """Return a key without what MLflow does not accept in the name of a param."""
    return re.sub(r"[^/\w.\- :]", "_", key)[:250]


def texts(values: Mapping[str, object]) -> dict[str, str]:
    """Return values as texts, without those that are not set, masked and cut to MLflow's length."""
    params = {}
    for key, value in values.items():
        if value not in (None, {}, []):
            text = masked(value if isinstance(value, str) else json.dumps(value))
            params[key] = text if len(text) <= _LONGEST_PARAM else f"{text[: _LONGEST_PARAM - 3]}..."
    return params
