"""Numbers in which runs may differ that share a graph: seed, learning rate, weight decay, dropout and EMA decay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from expkit.kinds.layers.attention import Attention
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.noise import Dropout, DropPath
from expkit.kinds.optimizers import Adagrad, Adam, AdamW, Momentum, RMSProp, Sgd
from expkit.kinds.schedules import Constant, Cosine, Exponential, Polynomial, Schedule
from expkit.network.spec import LayerSpec, NetworkSpec
from expkit.preflight import CheckedConfig

__all__ = ["SEED", "numbers_of", "with_numbers"]

SEED = "run.seed"

_LAYERS: Mapping[type[Layer], str] = {Dropout: "rate", DropPath: "rate", Attention: "dropout"}
"""Field of a kind of layer that may be fed, unless it is 0: then the layer is another graph."""
_SCHEDULES: Mapping[type[Schedule], str] = {
    Constant: "value",
    Exponential: "initial_learning_rate",
    Cosine: "initial_learning_rate",
    Polynomial: "initial_learning_rate",
}
_OPTIMIZERS = (Adagrad, Adam, AdamW, Momentum, RMSProp, Sgd)


def numbers_of(checked: CheckedConfig) -> dict[str, float | int]:
    """Return the numbers of a configuration that a graph may be fed, by field, of a layer by ``PATH.FIELD``.

    Only kinds of expkit are known to read them as ``expkit.kinds.numbers`` has it; a plugin's may be any class of its
    own.
    """
    found: dict[str, float | int] = {}

    def noted(name: str, number: float | int) -> float | int:
        found[name] = number
        return number

    _replaced(checked, noted)
    return found


def with_numbers(checked: CheckedConfig, given: Mapping[str, Any]) -> CheckedConfig:
    """Return a checked configuration with other numbers, or tensors in their place.

    Args:
        checked: the configuration.
        given: by names of ``numbers_of``; others stay as they are.
    """
    return _replaced(checked, lambda name, number: given.get(name, number)) if given else checked


def _replaced(checked: CheckedConfig, new: Callable[[str, float | int], Any]) -> CheckedConfig:
    config = checked.config
    changes: dict[str, Any] = {"run": config.run.model_copy(update={"seed": new(SEED, config.run.seed)})}
    if config.ema.enabled:
        changes["ema"] = config.ema.model_copy(update={"decay": new("ema.decay", config.ema.decay)})
    phases = checked.phases
    if not config.train.phases and type(config.optimizer) in _OPTIMIZERS:
        changes["optimizer"] = optimizer = _optimizer(config.optimizer, new)
        phases = tuple(replace(phase, optimizer=optimizer) for phase in phases)
    layers = dict(_layers(checked.spec.layers, new))
    return replace(
        checked, config=config.model_copy(update=changes), phases=phases, spec=_network(checked.spec, layers)
    )


def _optimizer(optimizer: Any, new: Callable[[str, float | int], Any]) -> Any:
    schedule, changes = optimizer.learning_rate, dict[str, Any]()
    if (field := _SCHEDULES.get(type(schedule))) is not None and getattr(schedule, field):
        rate = new("optimizer.learning_rate", getattr(schedule, field))
        changes["learning_rate"] = schedule.model_copy(update={field: rate})
    if decay := optimizer.decoupled_weight_decay():
        changes["weight_decay"] = new("optimizer.weight_decay", decay)
    return optimizer.model_copy(update=changes)


def _layers(layers: tuple[LayerSpec, ...], new: Callable[[str, float | int], Any]) -> Iterator[tuple[str, LayerSpec]]:
    """Yield the layers, by path, that have such a number, with another one."""
    for layer in layers:
        field = _LAYERS.get(type(layer.layer))
        if field is not None and getattr(layer.layer, field):
            number = new(f"{layer.path}.{field}", getattr(layer.layer, field))
            yield layer.path, replace(layer, layer=layer.layer.model_copy(update={field: number}))


def _network(spec: NetworkSpec, layers: Mapping[str, LayerSpec]) -> NetworkSpec:
    if not layers:
        return spec
    return replace(
        spec,
        layers=tuple(layers.get(layer.path, layer) for layer in spec.layers),
        creators=tuple(layers.get(layer.path, layer) for layer in spec.creators),
    )
