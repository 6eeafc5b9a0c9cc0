"""Files of a network's variables for other programs: by the names and in the layout that they have there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.write_arrays import write_npz, write_safetensors
from expkit.checkpoints.restore.inverse import Exported, exported, unused
from expkit.checkpoints.restore.plan import OpenedCheckpoint
from expkit.checkpoints.restore.planner import restore_plan
from expkit.checkpoints.restore.pytorch_cells import PytorchTensor, pytorch_tensors, with_cells
from expkit.checkpoints.restore.restore import carry_out
from expkit.checkpoints.restore.targets import run_targets
from expkit.checkpoints.restore.transforms import apply, to_pytorch
from expkit.config.sections.restore import RenameRule, SourceConfig, WeightLayout
from expkit.errors import ExportError, Problem, limit_problems
from expkit.network.spec import NetworkSpec

__all__ = ["WeightsFormat", "exported_variables", "laid_out", "read_weights", "weights_that_differ", "write_weights"]

WeightsFormat = Literal["npz", "safetensors"]


def exported_variables(
    spec: NetworkSpec, rules: Sequence[RenameRule], layout: WeightLayout, at: str
) -> dict[str, Exported]:
    """Return how a file has each variable of a network; nothing is read.

    In PyTorch's layout recurrent layers have other tensors, under names such as ``lstm/weight_ih``.

    Args:
        spec: the network.
        rules: rename rules of a restore from such a file; they are read backwards.
        layout: order of the dimensions in the file.
        at: path of the rules, for problems.

    Raises:
        ExportError: a rule has no inverse, PyTorch has no such tensor, or two variables would have one name.
    """
    found: dict[str, Exported] = {}
    problems: list[Problem] = []
    owners: dict[str, str] = {}
    cells = _cells(spec, layout)
    inside = {variable for tensor in cells.values() for variable, _ in tensor.blocks}
    variables = {name: (item.spec, item.pytorch) for name, item in spec.variables.items() if name not in inside}
    for name, (own, pytorch) in {**variables, **{name: (item.spec, None) for name, item in cells.items()}}.items():
        turned = pytorch if layout == "pytorch" else None
        try:
            result = exported(name, own, () if turned is None else to_pytorch(turned), rules, at)
        except ValueError as error:
            problems.append(Problem("layout", f"variable '{name}': {error}; leave out the layout"))
            continue
        if isinstance(result, Problem):
            problems.append(result)
            continue
        if (other := owners.setdefault(result.name, name)) != name:
            problems.append(Problem(at, f"'{other}' and '{name}' would both be '{result.name}' in the file"))
        found[name] = result
    if rules and not problems and len(unused(rules, found)) == len(rules):
        text = f"none of the {len(rules)} rules leads to a variable of this network, as '{next(iter(found))}'"
        raise ExportError.at(at, text)
    if problems:
        raise ExportError(*limit_problems(problems))
    return found


def _cells(spec: NetworkSpec, layout: WeightLayout) -> dict[str, PytorchTensor]:
    """Return the tensors that a layout has in place of the variables of recurrent layers, by name."""
    if layout != "pytorch":
        return {}
    return pytorch_tensors({name: (item.spec, item.pytorch) for name, item in spec.variables.items()})


def laid_out(spec: NetworkSpec, values: Mapping[str, np.ndarray], layout: WeightLayout) -> dict[str, np.ndarray]:
    """Return the values with those of the tensors that a layout has in place of several variables."""
    return {**values, **{name: tensor.value(values) for name, tensor in _cells(spec, layout).items()}}


def write_weights(
    path: Path,
    form: WeightsFormat,
    variables: Mapping[str, Exported],
    values: Mapping[str, np.ndarray],
    about: Mapping[str, str],
) -> None:
    """Write variables into a file.

    Args:
        path: the file.
        form: its format.
        variables: how the file has them, by their names in the network.
        values: their values, as ``laid_out`` returns them.
        about: facts for the header of a safetensors file.

    Raises:
        ValueError: the format has no such dtype.
        OSError: it cannot be written.
    """

    def value(name: str) -> np.ndarray:
        array = values[name]
        for transform in variables[name].transforms:
            array = apply(transform, array)
        return array

    specs = {item.name: item.spec for item in variables.values()}
    arrays: dict[str, Callable[[], np.ndarray]] = {item.name: partial(value, name) for name, item in variables.items()}
    if form == "npz":
        write_npz(path, specs, arrays)
    else:
        write_safetensors(path, specs, arrays, about)


def read_weights(
    path: Path, spec: NetworkSpec, rules: Sequence[RenameRule], layout: WeightLayout
) -> Mapping[str, np.ndarray]:
    """Return the values of a written file's variables by their names in the network, restored by the rules.

    Raises:
        CheckpointError: the rules do not give every variable a value.
    """
    applicable = tuple(rule.model_copy(update={"optional": True}) for rule in rules)  # Others are for other networks.
    config = SourceConfig(rename=applicable, layout=layout)
    targets = run_targets(spec, (), averages=())
    checkpoints = [with_cells(OpenedCheckpoint("rules", open_variables(path, str(path)), config), targets)]
    return carry_out(restore_plan(targets, checkpoints, at="rules"), checkpoints).values


def weights_that_differ(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the first variables that are not equal to the second in every bit."""
    return [name for name, value in first.items() if value.tobytes() != np.asarray(second[name]).tobytes()]
