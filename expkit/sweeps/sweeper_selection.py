"""Selection of the sweeper that Hydra's settings name."""

from __future__ import annotations

import re
from typing import Annotated, Any

from omegaconf import OmegaConf
from pydantic import ValidationError

from expkit.config.explain import explain
from expkit.errors import ConfigError, Problem, comma_list, unknown
from expkit.registry import KindsOf, Section, kinds
from expkit.sweeps import optuna_sweeper  # noqa: F401  # registers its kind
from expkit.sweeps.sweeper import Sweeper

__all__ = ["HydraSettings", "sweeper_of", "unknown_field"]


class HydraSettings(Section):
    """The part of Hydra's settings that expkit validates."""

    sweeper: Annotated[Sweeper, KindsOf("sweeper")]
    """Choice of the runs of a sweep: what varies, how often, which metric is optimized."""


def sweeper_of(settings: Any) -> Sweeper:
    """Return the sweeper that Hydra's settings name.

    Raises:
        ConfigError: it is not one of expkit's sweepers, or its fields are wrong.
    """
    raw: Any = {"sweeper": OmegaConf.to_container(settings.sweeper, resolve=True)}
    if "kind" not in raw["sweeper"]:
        allowed = comma_list(kinds("sweeper"))
        named = raw["sweeper"].get("_target_")
        of = f"'{named}' is a sweeper of another package, which" if named else "the sweeper has no kind, so it"
        raise ConfigError.at(
            "hydra/sweeper",
            f"{of} cannot resume runs, nor give workers the next one as they become free; write "
            f"hydra/sweeper=NAME; allowed: {allowed}",
        )
    if named := [key for key in ("sampler", "pruner") if isinstance(raw["sweeper"].get(key), str)]:
        raise ConfigError(
            *(
                Problem(f"hydra.sweeper.{key}", f"is chosen by its file: hydra/sweeper/{key}={raw['sweeper'][key]}")
                for key in named
            )
        )
    try:
        return HydraSettings.model_validate(raw).sweeper
    except ValidationError as error:
        problems = explain(error, raw, HydraSettings)
        raise ConfigError(*(Problem(f"hydra.{item.path}", item.message) for item in problems)) from None


def unknown_field(message: str) -> Problem | None:
    """Return the problem of Hydra's message about a field that the selected sweeper has not."""
    found = re.search(r"Could not override 'hydra\.sweeper\.(\w+)", message)
    if found is None:
        return None
    field, models = found[1], kinds("sweeper")
    having = [name for name, model in models.items() if field in model.model_fields]
    if having:
        said = f"is a field of another sweeper; add hydra/sweeper={having[0]}, or omit it"
    else:
        fields = dict.fromkeys(name for model in models.values() for name in model.model_fields if name != "kind")
        said = unknown("no sweeper has this field", field, fields)
    return Problem(f"hydra.sweeper.{field}", said)
