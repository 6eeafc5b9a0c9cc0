"""The checks of a configuration that need neither data nor TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from omegaconf import DictConfig

from expkit.config.load import compose_plain, explain_composed, unrelated
from expkit.config.schema import Config
from expkit.config.source_lines import locating_problems
from expkit.data.augment_checks import augment_problems
from expkit.data.checks import preprocess_problems
from expkit.errors import ConfigError, Problem, comma_list, limit_problems, unknown
from expkit.kinds.class_weights import ClassWeighted
from expkit.kinds.evaluated import Evaluated, Readable
from expkit.network.elaborate import network_spec
from expkit.network.ema import ema_variables
from expkit.network.gradient_paths import unreached_variables
from expkit.network.memory import memory_problems
from expkit.network.phases import Phase, phases, wrong_losses
from expkit.network.spec import NetworkSpec
from expkit.recorded import unknown_metrics

__all__ = [
    "CheckedConfig",
    "check",
    "check_composed",
    "check_here",
    "load_checked",
    "load_network",
    "named",
    "with_config",
]

_Checked = TypeVar("_Checked")
_FLOATS = ("float", "bfloat")


@dataclass(frozen=True, kw_only=True)
class CheckedConfig:
    """A validated configuration with its network."""

    config: Config
    spec: NetworkSpec
    ema_names: tuple[str, ...]
    """Names of the variables that have an EMA."""
    phases: tuple[Phase, ...]
    """Phases of a training step, at least one."""


def with_config(checked: CheckedConfig, config: Config) -> CheckedConfig:
    """Return a checked configuration with values that follow from the data."""
    found = phases(config.train, config.optimizer, checked.spec)
    return checked if config is checked.config else replace(checked, config=config, phases=found)


def named(config: Config) -> CheckedConfig:
    """Return a configuration with its network and EMA; losses and metrics may still be wrong.

    Raises:
        ConfigError: with every mistake found.
    """
    spec = network_spec(config.network)
    checked, problems = _named(config, spec)
    if checked is None:
        raise ConfigError(*problems)
    return checked


def check(config: Config) -> CheckedConfig:
    """Return a configuration with its network and EMA, checked as far as training needs it.

    Raises:
        ConfigError: with every mistake found.
    """
    spec = network_spec(config.network)
    problems = [*_unreadable(config, spec), *wrong_losses(config.train), *_wrong_order(config, spec.trained)]
    problems += [*_nothing_to_freeze(config, spec), *_no_samples(config, spec)]
    problems += _wrong_exports(config, spec)
    readable = not problems
    problems += [*preprocess_problems(config, spec.trained), *augment_problems(config, spec.trained)]
    checked, unnamed = _named(config, spec)
    problems += unnamed
    if checked is not None:
        problems += unknown_metrics(config, bool(checked.ema_names))
        problems += unreached_variables(checked.phases, config.train.losses, spec) if readable else ()
    if checked is None or problems:
        raise ConfigError(*problems)
    return checked


def _named(config: Config, spec: NetworkSpec) -> tuple[CheckedConfig | None, list[Problem]]:
    """Return a configuration with its network, EMA and phases, or what is wrong with EMA and phases."""
    problems: list[Problem] = []
    ema_names: tuple[str, ...] = ()
    found: tuple[Phase, ...] = ()
    try:
        ema_names = ema_variables(config.ema, spec)
    except ConfigError as error:
        problems += error.problems
    try:
        found = phases(config.train, config.optimizer, spec)
    except ConfigError as error:
        problems += error.problems
    checked = None if problems else CheckedConfig(config=config, spec=spec, ema_names=ema_names, phases=found)
    return checked, problems


def check_here(config: Config) -> CheckedConfig:
    """Return a checked configuration that the memory of this machine can train.

    Raises:
        ConfigError: with every mistake found.
    """
    checked = check(config)
    problems = list(
        memory_problems(
            checked.spec, checked.ema_names, batch_size=config.train.batch_size, freezes=config.export.enabled
        )
    )
    if problems:
        raise ConfigError(*limit_problems(problems))
    return checked


def load_checked(
    overrides: Sequence[str], config_dirs: Sequence[str] = (), by: Callable[[Config], CheckedConfig] = check_here
) -> CheckedConfig:
    """Return the configuration of a list of overrides, checked.

    Args:
        overrides: as on the command line.
        config_dirs: further folders of configuration files.
        by: the check: ``check_here``, ``check`` or ``named``.

    Raises:
        ConfigError: with every mistake found, each with its file and line where it comes from a file.
    """
    with locating_problems(overrides, config_dirs):
        return check_composed(compose_plain(overrides, config_dirs), config_dirs, by)


def check_composed(composed: DictConfig, config_dirs: Sequence[str], by: Callable[[Config], _Checked]) -> _Checked:
    """Return a composed configuration, validated and checked.

    Raises:
        ConfigError: with every mistake found; values that are missing do not hide the mistakes of the network.
    """
    config, problems = explain_composed(composed, config_dirs)
    if config is not None:
        try:
            checked = by(config)
            if not problems:
                return checked
        except ConfigError as error:
            problems += unrelated(error.problems, problems)
    raise ConfigError(*limit_problems(problems))


def load_network(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> NetworkSpec:
    """Return the network of a list of overrides, whatever is to be trained of it.

    Raises:
        ConfigError: with every mistake found, each with its file and line where it comes from a file.
    """
    with locating_problems(overrides, config_dirs):
        return check_composed(
            compose_plain(overrides, config_dirs), config_dirs, lambda config: network_spec(config.network)
        )


def _wrong_exports(config: Config, spec: NetworkSpec) -> Iterator[Problem]:
    """Yield the formats of ``export.to`` that cannot hold the network's variables."""
    if "npz" in config.export.to:
        half = [name for name, variable in spec.variables.items() if variable.dtype == "bfloat16"]
        if half:
            text = "bfloat16, which NumPy alone does not have; name safetensors in its place"
            yield Problem("export.to", f"npz cannot hold {comma_list(half)}: {text}")


def _unreadable(config: Config, spec: NetworkSpec) -> Iterator[Problem]:
    """Yield the problems of losses and metrics with what they read of the network."""
    readable = spec.trained.readable
    for at, reader in config.train.readers.items():
        problems = [*_unreadable_of(reader, at, readable, spec)]
        yield from problems
        names = config.data.classes.get(reader.labels) if isinstance(reader, ClassWeighted) else None
        if not problems and (problem := reader.network_problem(readable) or _unnamed(reader, names)):
            yield Problem(at, problem)
    for name, metric in config.train.metrics.items():
        shape = spec.output_spec(metric.output).shape if metric.output in spec.outputs else ()
        if shape and shape[-1] is None and any(None in sizes for sizes in metric.statistic_shapes.values()):
            yield Problem(
                f"train.metrics.{name}.output",
                f"{metric.kind} needs an output whose last size is known, '{metric.output}' is "
                f"{spec.output_spec(metric.output)}; give the size in network.inputs",
            )


def _unnamed(reader: Evaluated, names: Sequence[str] | None) -> str | None:
    """Return which class has another name than a configuration that lists the names of classes says."""
    if names is not None and isinstance(reader, ClassWeighted):
        try:
            reader.named(names)
        except ValueError as error:
            return str(error)
    return None


def _unreadable_of(reader: Evaluated, at: str, readable: Readable, spec: NetworkSpec) -> Iterator[Problem]:
    for field, output in reader.names(reader.reads_outputs).items():
        if output not in readable.outputs:
            yield Problem(f"{at}.{field}", _no_output(output, readable, spec))
        elif not reader.whole_outputs and not (item := readable.outputs[output]).dtype.startswith(_FLOATS):
            yield Problem(f"{at}.{field}", f"'{output}' is {item}, needs floats; convert it with kind 'cast'")
    for field, name in reader.names(reader.reads_variables).items():
        if name not in readable.variables:
            yield Problem(f"{at}.{field}", unknown(f"no variable '{name}'", name, readable.variables))


def _wrong_order(config: Config, spec: NetworkSpec) -> Iterator[Problem]:
    """Yield the settings that contradict the order of the examples."""
    data, carrying = config.data, [layer.path for layer in spec.layers if layer.state]
    if data.order == "shuffled" and carrying:
        yield Problem(
            "data.order",
            f"the state of {comma_list(carrying)} is carried from batch to batch, but examples are shuffled, so none "
            "continues another; set data.order: stream, or carry: false",
        )
    if carrying and config.train.batches_per_step > 1:
        yield Problem(
            "train.phases",
            f"the state of {comma_list(carrying)} is carried from step to step, but a step has "
            f"{config.train.batches_per_step} batches; give every phase steps: 1, or set carry: false",
        )
    why = "order is stream" if data.order == "stream" else "windows are of consecutive steps"
    if data.in_order and data.pairs is not None:
        yield Problem("data.pairs", f"{why}, but pairs are of examples drawn from anywhere; set data.pairs: null")
    if data.in_order and data.split.seed != 0:
        message = f"{why}, so the split is in order and nothing is drawn; set data.split.seed: 0"
        yield Problem("data.split.seed", message)


def _no_output(output: str, readable: Readable, spec: NetworkSpec) -> str:
    if output in spec.outputs:
        return (
            f"'{output}' is in the frozen graph only (use: serving), and training has {comma_list(readable.outputs)}; "
            "read one of these, or give it use: always"
        )
    return unknown(f"no output '{output}'", output, readable.outputs)


def _no_samples(config: Config, spec: NetworkSpec) -> Iterator[Problem]:
    """Yield why ``tracking.samples`` draws no images."""
    output, served = config.tracking.samples, spec.served
    if output is None:
        return
    if output not in served.outputs:
        absent = f"the frozen graph has no output '{output}'"
        yield Problem("tracking.samples", unknown(absent, output, served.outputs, label="outputs"))
    elif config.data.source.image_shape((item := served.output_spec(output)).shape) is None:
        yield Problem(
            "tracking.samples", f"'{output}' is {item}, which is not an image; needs [batch, height, width, 1, 3 or 4]"
        )


def _nothing_to_freeze(config: Config, spec: NetworkSpec) -> Iterator[Problem]:
    if config.export.enabled and not spec.served.outputs:
        yield Problem(
            "export.enabled",
            f"all outputs are for training only ({comma_list(spec.outputs)}), so there is nothing to freeze; give one "
            "use: always, or set export.enabled: false (export=none)",
        )
