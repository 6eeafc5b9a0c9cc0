"""Variables that have an exponential moving average (EMA)."""

from __future__ import annotations

import re
from collections.abc import Collection

from expkit.config.sections.ema import EmaConfig
from expkit.errors import ConfigError, Problem, comma_list
from expkit.network.spec import NetworkSpec

__all__ = ["ema_variables"]


def ema_variables(ema: EmaConfig, spec: NetworkSpec) -> tuple[str, ...]:
    """Return the names of the variables that have an EMA; none if EMA is disabled.

    Raises:
        ConfigError: ``ema.variables`` is not a regular expression, or matches no trained variable, or not all that
            layers of kind ``ema_of`` read.
    """
    if not ema.enabled:
        _check_averages(spec, (), "ema.enabled is false; set it to true")
        return ()
    try:
        names = tuple(name for name in spec.trainable if re.fullmatch(ema.variables, name))
    except re.error as error:
        raise ConfigError.at("ema.variables", f"'{ema.variables}' is not a regular expression: {error}") from None
    if not names:
        raise ConfigError.at(
            "ema.variables",
            f"'{ema.variables}' matches no trained variable; variables: {comma_list(spec.trainable)}; "
            "use ema=none for no EMA",
        )
    _check_averages(spec, names, f"ema.variables does not match it: '{ema.variables}'; extend it")
    return names


def _check_averages(spec: NetworkSpec, names: Collection[str], why: str) -> None:
    """Check that there is an EMA of all trained variables that layers of kind ``ema_of`` connect.

    Raises:
        ConfigError: with every such layer whose variables have none, or none of whose variables is trained.
    """
    known = set(names)
    reads: dict[str, list[str]] = {}
    for layer in spec.layers:
        if layer.average is not None:
            reads.setdefault(layer.average.at, []).extend(layer.averaged)
    problems = []
    for at, averaged in reads.items():
        if missing := [name for name in dict.fromkeys(averaged) if name not in known]:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            problems.append(Problem(f"{at}.of", f"variable '{missing[0]}'{more} inside has no average: {why}"))
        elif not averaged:
            message = "nothing inside is trained, so it has no averages; connect it again with reuse: true"
            problems.append(Problem(f"{at}.of", message))
    if problems:
        raise ConfigError(*problems)
