"""What can be checked of a configuration before there is data or TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from expkit.config.load import load
from expkit.config.schema import Config
from expkit.config.source_lines import locating_problems
from expkit.errors import ConfigError, Problem, unknown
from expkit.network.averages import averaged_names
from expkit.network.spec import NetworkSpec, network_spec

__all__ = ["check", "load_checked", "load_network", "metric_names"]


def load_checked(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> tuple[Config, NetworkSpec]:
    """Return the configuration of a list of overrides, and its network.

    Raises:
        ConfigError: with every mistake found, each with its file and line where it comes from a file.
    """
    with locating_problems(overrides, config_dirs):
        config = load(overrides, config_dirs)
        return config, check(config)


def load_network(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> tuple[Config, NetworkSpec]:
    """Return the configuration of a list of overrides, and its network, whatever is to be trained of it.

    Raises:
        ConfigError: with every mistake found, each with its file and line where it comes from a file.
    """
    with locating_problems(overrides, config_dirs):
        config = load(overrides, config_dirs)
        return config, network_spec(config.network)


def check(config: Config) -> NetworkSpec:
    """Return the network of a configuration.

    Raises:
        ConfigError: with every mistake found.
    """
    spec = network_spec(config.network)
    problems = [*_unknown_outputs(config, spec)]
    try:
        problems += _unknown_metrics(config, bool(averaged_names(config.ema, spec)))
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return spec


def metric_names(config: Config, spec: NetworkSpec) -> list[str]:
    """Return the names of all metrics that a run records of its losses and metrics, raw and averaged."""
    averages = bool(averaged_names(config.ema, spec))
    judged = ["valid", "test"] if config.data.split.valid is not None else ["test"]
    return [
        *_names_of(config, "train", averages=False),
        *(name for part in judged for name in _names_of(config, part, averages)),
    ]


def _names_of(config: Config, part: str, averages: bool) -> list[str]:
    losses = [f"loss/{name}" for name in config.train.losses] if len(config.train.losses) > 1 else []
    ends = ("", "/ema") if averages else ("",)
    return [f"{part}/{name}{end}" for name in ("loss", *losses, *config.train.metrics) for end in ends]


def _unknown_outputs(config: Config, spec: NetworkSpec) -> Iterator[Problem]:
    judges = [
        *((f"train.losses.{name}", loss.output) for name, loss in config.train.losses.items()),
        *((f"train.metrics.{name}", metric.output) for name, metric in config.train.metrics.items()),
    ]
    for at, output in judges:
        if output not in spec.outputs:
            yield Problem(f"{at}.output", unknown(f"no output '{output}'", output, spec.outputs))


def _unknown_metrics(config: Config, averages: bool) -> Iterator[Problem]:
    train = config.train
    known = _names_of(config, "valid", averages)
    asked = {"train.best_metric": train.best_metric, "train.early_stopping.metric": train.early_stopping.metric}
    for at, metric in asked.items():
        if metric is None:
            continue
        if config.data.split.valid is None:
            yield Problem(
                at,
                f"'{metric}' cannot be known: there is no validation part; give data.split.valid, or {at}=null",
            )
        elif metric not in known:
            yield Problem(at, unknown(f"no metric '{metric}'", metric, known))
