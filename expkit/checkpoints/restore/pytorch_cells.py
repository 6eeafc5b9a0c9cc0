"""Recurrent layers in files of PyTorch, whose tensors are other matrices than their variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.restore.plan import OpenedCheckpoint, Target
from expkit.checkpoints.restore.rules import renames
from expkit.errors import CheckpointError
from expkit.kinds.layers.pytorch import Block, Layout
from expkit.tensor_spec import TensorSpec

__all__ = ["PytorchTensor", "pytorch_parts", "pytorch_tensors", "with_cells"]


@dataclass(frozen=True, kw_only=True)
class PytorchTensor:
    """A tensor in PyTorch of parts of variables."""

    spec: TensorSpec
    blocks: tuple[tuple[str, Block], ...]
    """The parts in the order of the rows, each with its variable."""

    def value(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the tensor of the variables' values."""
        parts = []
        for variable, block in self.blocks:
            array = values[variable]
            if block.constant is not None:
                parts.append(np.full(block.width, block.constant, array.dtype))
            else:
                columns = slice(*block.columns)
                parts.append(array[columns] if block.rows is None else array[slice(*block.rows), columns].T)
        return np.concatenate(parts)


def pytorch_tensors(layouts: Mapping[str, tuple[TensorSpec, Layout | None]]) -> dict[str, PytorchTensor]:
    """Return the tensors that PyTorch has in place of variables that are several, by the names that rules lead to.

    They have the name of their layer: ``lstm/weight_ih`` in place of ``lstm/kernel``.

    Args:
        layouts: spec and layout by full name of the variable.
    """
    found: dict[str, list[tuple[str, Block]]] = {}
    for variable, (_, layout) in layouts.items():
        if layout is not None:
            for block in layout.blocks:
                found.setdefault(_prefix(variable, layout) + block.tensor, []).append((variable, block))
    tensors = {}
    for name, blocks in found.items():
        ordered = tuple(sorted(blocks, key=lambda item: item[1].first))
        last = ordered[-1][1]
        inner = next((block.rows[1] - block.rows[0] for _, block in ordered if block.rows is not None), None)
        shape = (last.first + last.width, *(() if inner is None else (inner,)))
        spec = TensorSpec.of_variable(shape, layouts[ordered[0][0]][0].dtype)
        tensors[name] = PytorchTensor(spec=spec, blocks=ordered)
    return tensors


def pytorch_parts(variable: str, layout: Layout | None) -> list[str]:
    """Return the tensors of which a variable is made in PyTorch, by the names that rules lead to; none of most."""
    if layout is None or not layout.blocks:
        return []
    return list(dict.fromkeys(_prefix(variable, layout) + block.tensor for block in layout.blocks))


def _prefix(variable: str, layout: Layout) -> str:
    """Return the scope of a variable's layer; of one with a name of its own the scope around it."""
    if variable == layout.own or variable.endswith(f"/{layout.own}"):
        return variable.removesuffix(layout.own)
    return variable[: variable.rfind("/") + 1]


def with_cells(checkpoint: OpenedCheckpoint, targets: Mapping[str, Target]) -> OpenedCheckpoint:
    """Return a checkpoint in PyTorch's layout with the variables of recurrent layers in place of their tensors.

    Rules lead the tensors to names such as ``lstm/weight_ih``; a variable of which one is missing is left out.

    Raises:
        CheckpointError: a tensor has another shape or dtype, or a rule changes its value.
    """
    owners = {name: target for name, target in targets.items() if target.owner is None}
    tensors = pytorch_tensors({name: (target.spec, target.pytorch) for name, target in owners.items()})
    if checkpoint.config.layout != "pytorch" or not tensors:
        return checkpoint
    files = _files(checkpoint, tensors)
    parts: dict[str, list[tuple[str, Block]]] = {}
    for tensor, item in tensors.items():
        for variable, block in item.blocks:
            parts.setdefault(variable, []).append((tensor, block))
    made = {name: items for name, items in parts.items() if all(tensor in files for tensor, _ in items)}
    consumed = {files[tensor] for items in made.values() for tensor, _ in items}
    source = checkpoint.source
    values = {name: partial(_value, owners[name].spec, items, files, source.read) for name, items in made.items()}
    kept = {name: spec for name, spec in source.variables.items() if name not in consumed}

    def get(name: str) -> np.ndarray:
        return values[name]() if name in values else np.asarray(source.get(name))

    variables = dict(sorted((kept | {name: owners[name].spec for name in made}).items()))
    config = checkpoint.config
    rules = tuple(rule.model_copy(update={"optional": True}) for rule in config.rename)
    include = (*config.include, *map(re.escape, made)) if config.include else ()
    return OpenedCheckpoint(
        checkpoint.at,
        VariableSource(path=source.path, format=source.format, variables=variables, get=get, at=source.at),
        config.model_copy(update={"rename": rules, "include": include}) if made else config,
        composed=frozenset(made),
    )


def _files(checkpoint: OpenedCheckpoint, tensors: Mapping[str, PytorchTensor]) -> dict[str, str]:
    """Return the names in the file of the tensors that it has."""
    config, variables = checkpoint.config, checkpoint.variables
    names = [
        name
        for name in variables
        if (not config.include or any(re.fullmatch(pattern, name) for pattern in config.include))
        and not any(re.fullmatch(pattern, name) for pattern in config.exclude)
    ]
    found: dict[str, str] = {}
    for index, rule in enumerate(config.rename):
        for sources, to in renames(rule, names, names):
            if to in tensors:
                if rule.transform or rule.concat:
                    text = f"'{to}' is a tensor of a recurrent layer, which is read as it is; leave out transform"
                    raise CheckpointError.at(f"{checkpoint.at}.rename[{index}]", f"{text} and concat")
                found.setdefault(to, sources[0])
    moved = set(found.values())
    found |= {name: name for name in names if name in tensors and name not in found and name not in moved}
    for name, file in found.items():
        if variables[file] != tensors[name].spec:
            raise CheckpointError.at(
                checkpoint.at,
                f"'{file}' is {variables[file]} in {checkpoint.source.path}; '{name}' of the network is "
                f"{tensors[name].spec}",
            )
    return found


def _value(
    spec: TensorSpec,
    parts: Sequence[tuple[str, Block]],
    files: Mapping[str, str],
    read: Callable[[str], np.ndarray],
) -> np.ndarray:
    """Return a variable's value, made of the tensors in the file; the constants last."""
    tensors = {tensor: read(files[tensor]) for tensor in {tensor for tensor, _ in parts}}
    value = np.empty(spec.sizes, next(iter(tensors.values())).dtype)
    for tensor, block in sorted(parts, key=lambda item: item[1].constant is not None):
        array = tensors[tensor][block.first : block.first + block.width]
        columns = slice(*block.columns)
        if block.constant is not None:  # Nothing is added where it is the constant, so that every bit is had back.
            value[columns] -= np.full(block.width, block.constant, value.dtype) - array
        elif block.rows is None:
            value[columns] = array
        else:
            value[slice(*block.rows), columns] = array.T
    return value
