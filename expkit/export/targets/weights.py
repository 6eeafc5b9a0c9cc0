"""Base of the targets that hold variables by name, in place of a graph; proven by reading every bit back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.restore.inverse import unused
from expkit.checkpoints.restore.restore import read_values
from expkit.checkpoints.restore.targets import run_targets
from expkit.errors import ExportError, Problem, comma_list
from expkit.export.run import FrozenSource
from expkit.export.targets.base import Exported, ExportOptions, ExportSource, Proof, Target
from expkit.export.weights import (
    WeightsFormat,
    exported_variables,
    laid_out,
    read_weights,
    weights_that_differ,
    write_weights,
)

__all__ = ["WeightsTarget"]


_HEADER = ("name", "weights", "step", "run", "mlflow_run_id", "checkpoint")
"""Facts for the header of a safetensors file."""


class WeightsTarget(Target):
    """A file of a run's variables, raw or EMA, by the names and in the layout of another program."""

    takes = ("layout", "rules")
    form: WeightsFormat

    def problems(self, source: ExportSource, options: ExportOptions) -> list[Problem]:
        """Return the problems of the settings, before anything is written."""
        if source.run is None:
            text = "the variables of a frozen graph are constants; give the folder of a run"
            return [Problem(f"--to {self.name}", text)]
        try:
            exported_variables(source.run.checked.spec, options.rules, options.layout, "--rules")
        except ExportError as error:
            return list(error.problems)
        return []

    def write(self, source: ExportSource, options: ExportOptions, into: Path, say: Callable[[str], None]) -> Exported:
        """Write the variables, restore them by the rules, and compare every bit.

        Raises:
            ExportError: the format has no such dtype.
        """
        assert source.run is not None
        spec, values = source.run.checked.spec, _values(source.run)
        variables = exported_variables(spec, options.rules, options.layout, "--rules")
        path = into / f"variables.{self.form}"
        about = {key: str(value) for key, value in source.about.items() if key in _HEADER}
        say(f"{self.name}: writing {len(variables)} variables")
        if spare := unused(options.rules, variables):
            say(f"{self.name}: rules that lead to no variable: {comma_list(rule.selector for rule in spare)}")
        try:
            write_weights(path, self.form, variables, laid_out(spec, values, options.layout), about)
        except ValueError as error:
            raise ExportError.at(f"--to {self.name}", str(error)) from None
        restored = read_weights(path, spec, options.rules, options.layout)
        differing = weights_that_differ(restored, values)
        control = weights_that_differ(restored, {name: np.roll(value, 1) for name, value in values.items()})
        row = Proof(
            target=self.name, door="read back", compared="variables", difference=float(len(differing)), allowed=0.0
        )
        proofs = [row, replace(row, difference=float(len(control)), allowed=None, note="shifted by one value")]
        problems = []
        if differing:
            problems.append(f"{comma_list(differing)} is not what was written, when it is read back")
        names = {item.name: name for name, item in variables.items() if item.name != name}
        settings = {"layout": options.layout, "names": names}
        return Exported(target=self.name, files=[path], proofs=proofs, problems=problems, settings=settings)


def _values(run: FrozenSource) -> Mapping[str, np.ndarray]:
    """Return the values of all variables, raw or EMA as the run is exported."""
    opened = open_variables(run.checkpoint.prefix, str(run.checkpoint.prefix))
    targets = run_targets(run.checked.spec, run.checked.ema_names, averages=())
    return read_values(opened, targets, run.weights).values
