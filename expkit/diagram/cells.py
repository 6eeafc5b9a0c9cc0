"""Networks as they are drawn: with the layers of each cell in place of the layer that connects it in every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from expkit.kinds.layers.looped import Looped
from expkit.network.names import join
from expkit.network.spec import LayerSpec, NetworkSpec

__all__ = ["with_cells"]


def with_cells(spec: NetworkSpec) -> NetworkSpec:
    """Return a network whose layers are those of its cells, too; a state is read where it comes from before all steps.

    What a cell gives in every step, and after the last, is read from the layer of the cell that it comes from.
    """
    sources: dict[str, str] = {}
    layers = tuple(_flat(spec, {}, sources))
    outputs = {name: sources.get(path, path) for name, path in spec.outputs.items()}
    tensors = {layer.tensor(name): item for layer in layers for name, item in layer.outputs.items()}
    return replace(spec, layers=layers, tensors={**spec.inputs, **tensors}, outputs=outputs)


def _flat(spec: NetworkSpec, given: Mapping[str, str | None], sources: dict[str, str]) -> Iterator[LayerSpec]:
    """Yield the layers of a network, or of a cell.

    Args:
        spec: the network.
        given: where the inputs of a cell come from; ``None`` for one from nowhere.
        sources: takes where the outputs of looped layers come from.
    """

    def source(path: str) -> str | None:
        return given[path] if path in given else sources.get(path, path)

    for layer in spec.layers:
        inputs = tuple(path for path in map(source, layer.inputs) if path is not None)
        named = {field: path for field, read in layer.named.items() if (path := source(read)) is not None}
        if layer.cell is None:
            yield replace(layer, inputs=inputs, named=named)
            continue
        assert isinstance(layer.layer, Looped)
        read_inside = {
            join(layer.path, name): named.get(field, named.get(f"{field}.initial"))
            for field, name in layer.layer.read_inside.items()
        }
        inner: dict[str, str] = {}
        yield from _flat(layer.cell, read_inside, inner)
        for name in layer.outputs:
            path = layer.cell.outputs.get(name.removeprefix("state_"), layer.cell.outputs[""])
            sources[layer.tensor(name)] = inner.get(path, path)
