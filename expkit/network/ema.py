"""Variables that have an exponential moving average (EMA)."""

from __future__ import annotations

import re

from expkit.config.sections.ema import EmaConfig
from expkit.errors import ConfigError, Problem, comma_list
from expkit.network.spec import NetworkSpec

__all__ = ["ema_variables"]


def ema_variables(ema: EmaConfig, spec: NetworkSpec) -> tuple[str, ...]:
    """Return the names of the variables that have an EMA; none if EMA is disabled.

    Raises:
        ConfigError: ``ema.variables`` is not a regular expression, or matches no trained variable.
    """
    if not ema.enabled:
        return ()
    try:
        names = tuple(name for name in spec.trainable if re.fullmatch(ema.variables, name))
    except re.error as error:
        raise ConfigError(Problem("ema.variables", f"'{ema.variables}' is not a regular expression: {error}")) from None
    if not names:
        raise ConfigError(
            Problem(
                "ema.variables",
                f"'{ema.variables}' matches no trained variable; variables: {comma_list(spec.trainable)}; "
                "use ema=none for no EMA",
            )
        )
    return names
