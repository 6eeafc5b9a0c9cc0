"""Drawing of a network before its layout: nested boxes, edges, and layers that share variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from expkit.config.sections.network import Use
from expkit.diagram.cells import with_cells
from expkit.diagram.repetitions import Repetition, find_repetitions, own_fields
from expkit.network.names import ema_name, join
from expkit.network.spec import LayerSpec, NetworkSpec
from expkit.tensor_spec import TensorSpec

__all__ = ["Box", "Drawing", "Item", "Row", "drawing"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variable, by its layer's own name for it."""

    name: str
    shape: str
    shared: bool
    trainable: bool


@dataclass(frozen=True, kw_only=True)
class Item:
    """A layer, an input or an output."""

    path: str
    """Unique; that of an output begins with ``outputs:``."""
    title: str
    note: str
    """Kind, and the fields that are set."""
    shape: str
    rows: tuple[Row, ...]
    family: str
    """``input``, ``output``, or the module that the kind is from."""
    hint: str
    """Full description, for the tooltip."""


@dataclass(kw_only=True)
class Box:
    """A scope with its children, in order."""

    path: str
    title: str
    times: int = 1
    shared: bool = False
    """True if all repetitions use one set of variables."""
    children: list[Item | Box] = field(default_factory=list)


@dataclass(frozen=True)
class Drawing:
    """Content of the diagram."""

    root: Box
    edges: tuple[tuple[str, str], ...]
    """Paths of the layer or input that is read and of its reader."""
    shares: tuple[tuple[str, str], ...]
    """Paths of layers that use the same variables."""


class _Repetitions:
    """Scopes that are drawn once."""

    def __init__(self, runs: Sequence[Repetition]) -> None:
        self.runs = {repetition.paths[0]: repetition for repetition in runs}
        self._first = {path: repetition.paths[0] for repetition in runs for path in repetition.paths}

    def drawn(self, path: str) -> str:
        """Return the path of the layer that is drawn for another; for a repetition, the one in its first scope."""
        *scopes, name = path.split("/")
        scope = ""
        for part in scopes:
            scope = join(scope, part)
            scope = self._first.get(scope, scope)
        return join(scope, name)


def drawing(spec: NetworkSpec) -> Drawing:
    """Return the drawing of a network; repeated scopes are drawn once, cells once for all steps."""
    ends = [(name, spec.output_spec(name)) for name in spec.outputs]
    titles = {layer.path: layer.layer.kind for layer in spec.layers if layer.cell is not None}
    spec = with_cells(spec)
    known = {layer.path for layer in spec.layers} | set(spec.inputs)
    reads = [
        (_owner(source, known), layer.path)
        for layer in spec.layers
        for source in (*layer.inputs, *layer.named.values())
    ]
    reads += [(_owner(path, known), f"outputs:{name}") for name, path in spec.outputs.items()]
    readers: dict[str, list[str]] = {}
    for source, reader in reads:
        readers.setdefault(source, []).append(reader)
    repetitions = _Repetitions(find_repetitions(spec, readers))
    root = Box(path="", title="")
    boxes = {"": root}
    root.children += [_end(name, item, "input", name, spec.use(name)) for name, item in spec.inputs.items()]
    for layer in spec.layers:
        if repetitions.drawn(layer.path) == layer.path:
            _box_of(layer.path, boxes, repetitions).children.append(_item(layer, spec))
    for path, kind in titles.items():
        if path in boxes:
            boxes[path].title += f" · {kind}"
    root.children += [_end(f"outputs:{name}", item, "output", name, spec.use(name)) for name, item in ends]
    return Drawing(root, tuple(_edges(reads, repetitions)), tuple(_shares(spec, repetitions)))


def _owner(path: str, known: set[str]) -> str:
    """Return the layer or input that a tensor comes from: ``layer/name`` is an output of ``layer``."""
    return path if path in known else path.rpartition("/")[0]


def _edges(reads: Sequence[tuple[str, str]], repetitions: _Repetitions) -> Iterator[tuple[str, str]]:
    seen = set()
    for source, reader in reads:
        if repetitions.drawn(reader) != reader:
            continue  # The layer that is drawn for it has the edge.
        edge = (repetitions.drawn(source), reader)
        if edge not in seen:
            seen.add(edge)
            yield edge


def _shares(spec: NetworkSpec, repetitions: _Repetitions) -> Iterator[tuple[str, str]]:
    """Yield the neighbours among the layers that share a variable."""
    seen = set()
    for variable in spec.variables.values():
        for pair in pairwise(dict.fromkeys(map(repetitions.drawn, variable.layers))):
            if pair not in seen:
                seen.add(pair)
                yield pair


def _box_of(path: str, boxes: dict[str, Box], repetitions: _Repetitions) -> Box:
    scope = path.rpartition("/")[0]
    if scope not in boxes:
        boxes[scope] = Box(path=scope, title=scope.rpartition("/")[2])
        if repetition := repetitions.runs.get(scope):
            title = f"{boxes[scope].title} … {repetition.paths[-1].rpartition('/')[2]}"
            boxes[scope] = Box(path=scope, title=title, times=len(repetition.paths), shared=repetition.shared)
        _box_of(scope, boxes, repetitions).children.append(boxes[scope])
    return boxes[scope]


def _item(layer: LayerSpec, spec: NetworkSpec) -> Item:
    rows = []
    hint = [f"{layer.path}: {layer.layer.kind}"]
    hint += [f"{layer.tensor(name)}:0 {item}" for name, item in layer.outputs.items()]
    for local, full in layer.bindings.items():
        variable = spec.variables[full]
        users = dict.fromkeys(variable.layers)
        name = f"{local} (transposed)" if layer.shared.get(local) else local
        averaged = full in layer.averaged
        name = f"{name} (EMA)" if averaged else name
        shape = _sizes(variable.shape)
        trained = variable.trainable and not averaged
        rows.append(Row(name=name, shape=shape, shared=len(users) > 1, trainable=trained))
        frozen = "" if variable.trainable else ", not trained"
        shared = f", shared by {', '.join(users)}" if len(users) > 1 else ""
        size = f"{list(variable.shape)} {variable.dtype}, {variable.size:,}"
        hint.append(f"{ema_name(full) if averaged else full} {size}{frozen}{shared}")
    return Item(
        path=layer.path,
        title=layer.path.rpartition("/")[2],
        note=_note(layer),
        shape=_shapes(layer.outputs),
        rows=tuple(rows),
        family=type(layer.layer).__module__.rpartition(".")[2],
        hint="\n".join(hint),
    )


def _note(layer: LayerSpec) -> str:
    words = [layer.layer.kind]
    for name, value in own_fields(layer).items():
        if isinstance(value, bool):
            words.append(name if value else f"no {name.removeprefix('use_')}")
        elif isinstance(value, int | float | tuple | list):
            words.append(f"{name} {_sizes(value) if isinstance(value, tuple | list) else value}")
        elif isinstance(value, str):
            words.append(value)
    return " · ".join(words)


def _end(path: str, item: TensorSpec, family: str, title: str, use: Use) -> Item:
    only = "" if use == "always" else f" · {use} only"
    hint = f"{family} {title}: {title}:0 {item}{only}"
    return Item(path=path, title=title, note=family, shape=f"{_shape(item)}{only}", rows=(), family=family, hint=hint)


def _shapes(outputs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {_shape(item)}" if name else _shape(item) for name, item in outputs.items())


def _shape(item: TensorSpec) -> str:
    return _sizes(item.shape) + ("" if item.dtype == "float32" else f" {item.dtype}")


def _sizes(shape: Sequence[object]) -> str:
    return " × ".join("?" if size is None else str(size) for size in shape) or "scalar"
