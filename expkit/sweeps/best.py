"""The best runs of a sweep, written as experiments that ``--config-dir`` finds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from expkit.config.hydra_internals import dump
from expkit.config.load import compose_plain, plain
from expkit.config.schema import Config
from expkit.config.yaml_files import literal
from expkit.fs import atomic_write_text
from expkit.redact import masked_values
from expkit.sweeps.sweep_folder import Child, SweepFolder

__all__ = ["best_command", "write_best"]

# Sections that belong to a run rather than to its experiment.
_OMITTED = ("plugins", "tracking")
_KEPT_OF_RUN = ("name", "seed")


def write_best(
    folder: SweepFolder,
    best: Sequence[Child],
    results: Sequence[str],
    config_dirs: Sequence[str],
) -> list[Path]:
    """Write the best run as ``conf/experiment/best.yaml`` in the sweep's folder, or several as ``best_0.yaml`` etc.

    Args:
        folder: the sweep.
        best: its best runs, best first; of a configuration with several runs the first.
        results: the results of each.
        config_dirs: its ``--config-dir`` folders.

    Returns:
        The files; those of an earlier call are deleted.
    """
    experiments = _experiments(folder)
    experiments.mkdir(parents=True, exist_ok=True)
    choices = compose_plain([], config_dirs).hydra.runtime.choices
    groups = [group for group in Config.model_fields if group in choices and group not in ("run", *_OMITTED)]
    files: list[Path] = []
    for index, (child, result) in enumerate(zip(best, results, strict=True)):
        name = "best" if len(best) == 1 else f"best_{index}"
        file = experiments / f"{name}.yaml"
        header = f"# {result}\n"
        header += f"# Command:  {best_command(folder, child, name)}\n"
        atomic_write_text(file, "# @package _global_\n" + header + _experiment(child.job.config, groups))
        files.append(file)
    for file in set(experiments.glob("best*.yaml")) - set(files):
        file.unlink()
    return files


def best_command(folder: SweepFolder, child: Child, name: str) -> str:
    """Return the command that trains one of the best runs again, by the name of its experiment."""
    plugins = child.job.config.plugins
    arguments = [
        *("expkit", "train", "--config-dir", str(_experiments(folder).parent), f"experiment={name}"),
        *([f"plugins=[{','.join(plugins)}]"] if plugins else []),
    ]
    return shlex.join(arguments)


def _experiment(config: Config, groups: Sequence[str]) -> str:
    """Return a configuration as a complete experiment, which takes nothing from the files of groups."""
    values = {key: value for key, value in masked_values(plain(config)).items() if key not in _OMITTED}
    values["run"] = {key: values["run"][key] for key in _KEPT_OF_RUN}
    defaults = {"defaults": [*({f"override /{group}": None} for group in groups), "_self_"]}
    return dump(defaults) + "\n" + dump(literal(values))


def _experiments(folder: SweepFolder) -> Path:
    return folder.path / "conf" / "experiment"
