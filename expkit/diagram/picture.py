"""What is drawn of a network: boxes within boxes, lines between them, and which share variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from expkit.diagram.fold import Fold, folds, own_fields
from expkit.network.names import join
from expkit.network.spec import LayerSpec, NetworkSpec
from expkit.tensor_spec import TensorSpec

__all__ = ["Box", "Item", "Picture", "Row", "picture"]


@dataclass(frozen=True)
class Row:
    """A variable, as its layer calls it."""

    name: str
    shape: str
    shared: bool
    trainable: bool


@dataclass(frozen=True)
class Item:
    """A layer, an input or an output."""

    path: str
    """Tells it from all others; an output's begins with ``outputs:``."""
    title: str
    note: str
    """Kind, and the fields that were set."""
    shape: str
    rows: tuple[Row, ...]
    family: str
    """``input``, ``output``, or the module that the kind is from."""
    hint: str
    """All there is to say, for who asks."""


@dataclass
class Box:
    """A scope: what is drawn inside, in order."""

    path: str
    title: str
    times: int = 1
    shared: bool = False
    """Whether all repetitions use one set of variables."""
    children: list[Item | Box] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """All that is drawn."""

    root: Box
    edges: tuple[tuple[str, str], ...]
    """Paths of who is read and who reads."""
    shares: tuple[tuple[str, str], ...]
    """Paths of layers that use the same variables."""


class _Repeated:
    """Which scope stands for which."""

    def __init__(self, runs: Sequence[Fold]) -> None:
        self.runs = {fold.paths[0]: fold for fold in runs}
        self._first = {path: fold.paths[0] for fold in runs for path in fold.paths}

    def drawn(self, path: str) -> str:
        """Return the path of the layer that is drawn for one: of a repetition the first time's."""
        *scopes, name = path.split("/")
        scope = ""
        for part in scopes:
            scope = join(scope, part)
            scope = self._first.get(scope, scope)
        return join(scope, name)


def picture(spec: NetworkSpec) -> Picture:
    """Return what is to be drawn of a network; scopes that repeat are drawn once."""
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
    repeated = _Repeated(folds(spec, readers))
    root = Box("", "")
    boxes = {"": root}
    root.children += [_end(name, item, "input", name) for name, item in spec.inputs.items()]
    for layer in spec.layers:
        if repeated.drawn(layer.path) == layer.path:
            _box_of(layer.path, boxes, repeated).children.append(_item(layer, spec))
    root.children += [
        _end(f"outputs:{name}", spec.output_spec(name), "output", name) for name, path in spec.outputs.items()
    ]
    return Picture(root, tuple(_edges(reads, repeated)), tuple(_shares(spec, repeated)))


def _owner(path: str, known: set[str]) -> str:
    """Return the layer or input that a tensor belongs to: ``layer/name`` is an output of ``layer``."""
    return path if path in known else path.rpartition("/")[0]


def _edges(reads: Sequence[tuple[str, str]], repeated: _Repeated) -> Iterator[tuple[str, str]]:
    seen = set()
    for source, reader in reads:
        if repeated.drawn(reader) != reader:
            continue  # What is drawn for it has the line.
        edge = (repeated.drawn(source), reader)
        if edge not in seen:
            seen.add(edge)
            yield edge


def _shares(spec: NetworkSpec, repeated: _Repeated) -> Iterator[tuple[str, str]]:
    """Yield every two neighbours among the layers that share a variable."""
    seen = set()
    for variable in spec.variables.values():
        for pair in pairwise(dict.fromkeys(map(repeated.drawn, variable.layers))):
            if pair not in seen:
                seen.add(pair)
                yield pair


def _box_of(path: str, boxes: dict[str, Box], repeated: _Repeated) -> Box:
    scope = path.rpartition("/")[0]
    if scope not in boxes:
        boxes[scope] = Box(scope, scope.rpartition("/")[2])
        if fold := repeated.runs.get(scope):
            title = f"{boxes[scope].title} … {fold.paths[-1].rpartition('/')[2]}"
            boxes[scope] = Box(scope, title, len(fold.paths), fold.shared)
        _box_of(scope, boxes, repeated).children.append(boxes[scope])
    return boxes[scope]


def _item(layer: LayerSpec, spec: NetworkSpec) -> Item:
    rows = []
    hint = [f"{layer.path}: {layer.layer.kind}"]
    hint += [f"{layer.tensor(name)}:0 {item}" for name, item in layer.outputs.items()]
    for local, full in layer.bindings.items():
        variable = spec.variables[full]
        users = dict.fromkeys(variable.layers)
        name = f"{local} (transposed)" if layer.shared.get(local) else local
        rows.append(Row(name, _sizes(variable.shape), len(users) > 1, variable.trainable))
        frozen = "" if variable.trainable else ", not trained"
        shared = f", shared by {', '.join(users)}" if len(users) > 1 else ""
        hint.append(f"{full} {list(variable.shape)} {variable.dtype}, {variable.size:,}{frozen}{shared}")
    title = layer.path.rpartition("/")[2]
    family = type(layer.layer).__module__.rpartition(".")[2]
    return Item(layer.path, title, _note(layer), _shapes(layer.outputs), tuple(rows), family, "\n".join(hint))


def _note(layer: LayerSpec) -> str:
    said = [layer.layer.kind]
    for name, value in own_fields(layer).items():
        if isinstance(value, bool):
            said.append(name if value else f"no {name.removeprefix('use_')}")
        elif isinstance(value, int | float | tuple | list):
            said.append(f"{name} {_sizes(value) if isinstance(value, tuple | list) else value}")
        elif isinstance(value, str):
            said.append(value)
    return " · ".join(said)


def _end(path: str, item: TensorSpec, family: str, title: str) -> Item:
    return Item(path, title, family, _shape(item), (), family, f"{family} {title}: {title}:0 {item}")


def _shapes(outputs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {_shape(item)}" if name else _shape(item) for name, item in outputs.items())


def _shape(item: TensorSpec) -> str:
    return _sizes(item.shape) + ("" if item.dtype == "float32" else f" {item.dtype}")


def _sizes(shape: Sequence[object]) -> str:
    return " × ".join("?" if size is None else str(size) for size in shape) or "scalar"
