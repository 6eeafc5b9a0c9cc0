"""Restore sections in files of their own: rename rules by the name of a group's file, or by a path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import ValidationError

from expkit.config.explain import explain
from expkit.config.load import compose_plain
from expkit.config.sections.restore import RestoreConfig
from expkit.config.yaml_files import read_yaml
from expkit.errors import ConfigError, Problem, limit_problems, reading

__all__ = ["read_restore"]


def read_restore(source: str, at: str) -> RestoreConfig:
    """Return a section ``restore``.

    Args:
        source: name of a file in the group ``restore``, or the path of a ``.yaml`` file: the section itself, or a
            mapping with the key ``restore``, as ``restore-plan --suggest`` prints it.
        at: argument that gave it, for problems.

    Raises:
        ConfigError: there is no such file, or it is not a section ``restore``.
    """
    content: Any
    if not source.endswith((".yaml", ".yml")):
        content = OmegaConf.to_container(compose_plain([f"restore={source}"]).restore, resolve=True)
    else:
        problem = f"{source} is not a readable file of rename rules"
        with reading(at, problem, raises=ConfigError):
            content = OmegaConf.to_container(OmegaConf.create(read_yaml(Path(source))), resolve=True)
        content = content.get("restore", content) if isinstance(content, dict) else content
        if not isinstance(content, dict):
            raise ConfigError.at(at, f"{problem}: it is not a mapping with 'rename'")
        content.pop("defaults", None)
    try:
        return RestoreConfig.model_validate_json(json.dumps(content))
    except ValidationError as error:
        problems = explain(error, content, RestoreConfig)
        raise ConfigError(
            *limit_problems([Problem(f"{source}: {item.path}", item.message) for item in problems])
        ) from None
