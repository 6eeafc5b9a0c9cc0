"""Environment in which a network is elaborated: its layers by path, the tensors known so far, the problems found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from expkit.config.sections.network import NetworkConfig
from expkit.errors import Problem
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.scope import Scope
from expkit.network.names import Reuse, join
from expkit.tensor_spec import TensorSpec

__all__ = ["Average", "Environment", "Group", "Node"]


@dataclass(frozen=True, kw_only=True)
class Average:
    """A layer connected again with the EMA of its trained variables."""

    at: str
    """Path in the configuration of the layer that connects it again."""
    of: str
    """Path of the layer or scope that it is an average of."""
    training: bool
    """Whether it behaves in training as in training."""


@dataclass(kw_only=True, eq=False)
class Group:
    """Layers of a scope, of a connected block, or of the whole network."""

    at: str
    """Path in the configuration of the description."""
    nodes: dict[str, Node] = field(default_factory=dict)
    """Layers by name, in the order written."""
    output: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    block: str | None = None
    """Name of the block; its layers see only each other and the inputs of the layer that connects it."""


@dataclass(kw_only=True, eq=False)
class Node:
    """A layer with its position, and the settings for variables that it inherits from scopes around it."""

    name: str
    path: str
    """Names of the scopes around and of the layer, joined by ``/``."""
    at: str
    """Path in the configuration."""
    connected: str
    """Path in the configuration of the layer that connects the outermost block around it; ``at`` outside blocks."""
    layer: Layer
    """As described, its expressions filled in."""
    scope: str
    reuse: Reuse
    naming: Mapping[str, str]
    """Names for variables by the layer's own names for them."""
    trainable: bool
    learning_rate_multiplier: float
    group: Group | None = None
    """Layers inside; ``None`` if the layer is not a scope."""
    average: Average | None = None
    """Its original, if it has the variables of another; ``None`` if it has its own or shares them."""
    cell: Environment | None = None
    """Environment of the block that the layer connects once per step; ``None`` if it connects none."""
    inputs: tuple[str, ...] | None = None
    """Paths of the tensors it reads; ``None`` until they are resolved, or if one cannot be."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Paths of further tensors it reads, by the field that names them."""

    def variable_name(self, name: str) -> str:
        """Return the full name of the layer's variable ``name``."""
        return join(self.scope, self.naming.get(name, name))

    @property
    def reads(self) -> Iterator[tuple[str, str]]:
        """The field that names each tensor it reads, and the tensor's path."""
        yield from (("input", path) for path in self.inputs or ())
        yield from self.named.items()


class Environment:
    """State of one elaboration."""

    def __init__(self, network: NetworkConfig) -> None:
        self.network = network
        self.problems: list[Problem] = []
        self.root = Node(
            name="",
            path="",
            at="network",
            connected="network",
            layer=Scope.model_construct(layers={}),
            scope="",
            reuse="false",
            naming=network.variables,
            trainable=True,
            learning_rate_multiplier=1.0,
            group=Group(at="network"),
        )
        """The network itself, the scope around all layers."""
        self.nodes: dict[str, Node] = {}
        """Layers and scopes by path, in the order written, a scope before the layers inside it."""
        self.repetitions: dict[str, str] = {}
        """Path of the last repetition, by the path of the repeated scope."""
        self.scope_inputs: dict[str, Mapping[str, str | None]] = {}
        """Tensors that layers inside a scope read by the names of its ``inputs``; ``None`` if one is not known."""
        self.group_inputs: dict[str, tuple[str, ...] | None] = {}
        """Tensors that the first layer inside a scope reads; ``None`` if one is not known."""
        self.outputs: dict[str, str] = {}
        """Path of a tensor, by the name of the network's output."""
        self.promised: list[tuple[str, str]] = []
        """Tensors that scopes and the network name as outputs, each with the path in the configuration."""
        self.tensors = {name: TensorSpec(item.shape, item.dtype) for name, item in network.inputs.items()}
        """Network inputs, and outputs of the layers elaborated so far, by path."""
        self.layer_outputs: dict[str, tuple[str, ...]] = {}
        """Names of outputs, by the path of the layers elaborated so far."""
        self._whole = self
        self._size = 0

    def cell(self, node: Node) -> Environment:
        """Return the environment of a block that a layer connects once per step: one scope, of the layer's path.

        Its tensors are those of one step. Problems are reported, and layers counted, here.
        """
        inner = Environment(self.network)
        inner.problems, inner._whole, inner.tensors = self.problems, self._whole, {}
        inner.nodes[node.path] = replace(node, cell=None)
        return inner

    def add(self, node: Node) -> None:
        """Add a layer or scope."""
        self.nodes[node.path] = node
        self._whole._size += 1

    @property
    def size(self) -> int:
        """Number of layers and scopes of the whole network."""
        return self._whole._size

    @property
    def every_node(self) -> Iterator[Node]:
        """All layers and scopes, those of cells included."""
        for node in self.nodes.values():
            yield node
            if node.cell is not None:
                yield from node.cell.every_node

    def report(self, path: str, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(path, message))

    @property
    def grouped_problems(self) -> list[Problem]:
        """The problems by path, of many with one path the first: repetitions and blocks repeat their problems."""
        by_path: dict[str, list[str]] = {}
        for problem in self.problems:
            messages = by_path.setdefault(problem.path, [])
            if problem.message not in messages:
                messages.append(problem.message)
        grouped = []
        for path, messages in by_path.items():
            if len(messages) > 2:
                messages = [f"{messages[0]} (and {len(messages) - 1} more here)"]
            grouped += [Problem(path, message) for message in messages]
        return grouped

    def layer(self, path: str) -> str | None:
        """Return the path of a layer, for a repeated scope that of its last repetition; ``None`` for other paths."""
        return path if path in self.nodes else self.repetitions.get(path)

    def owner(self, path: str) -> str:
        """Return the path of a layer, for one inside a cell that of the layer that connects the cell."""
        while path not in self.nodes:
            path = path.rpartition("/")[0]
        return path

    def producer(self, tensor: str) -> str:
        """Return the path of the layer or network input that a tensor comes from."""
        return tensor if tensor in self.nodes or tensor in self.network.inputs else tensor.rpartition("/")[0]
