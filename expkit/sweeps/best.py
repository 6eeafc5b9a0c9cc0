"""The best runs of a sweep as experiments of their own, which ``--config-dir`` takes back."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from expkit.config.load import compose_plain, plain
from expkit.config.schema import Config
from expkit.fs import atomic_write_text
from expkit.sweeps.objective import Objective
from expkit.sweeps.sweep_folder import Child, State, SweepFolder

__all__ = ["best_command", "keep_best", "shown"]

# What is the new run's own: where it is kept, and how it is recorded.
_LEFT_OUT = ("plugins", "tracking")
_KEPT_OF_RUN = ("name", "seed")


def keep_best(
    folder: SweepFolder,
    best: Sequence[tuple[Child, State]],
    objectives: Sequence[Objective],
    config_dirs: Sequence[str],
) -> list[Path]:
    """Write the best run as ``conf/experiment/best.yaml`` of the sweep's folder; of several ``best_0.yaml`` and so on.

    Args:
        folder: of the sweep.
        best: the runs, best first.
        objectives: what they are judged by.
        config_dirs: those of the sweep.

    Returns:
        The files; those of an earlier call are gone.
    """
    place = _place(folder)
    place.mkdir(parents=True, exist_ok=True)
    choices = compose_plain([], config_dirs).hydra.runtime.choices
    groups = [group for group in Config.model_fields if group in choices and group not in ("run", *_LEFT_OUT)]
    files: list[Path] = []
    for number, (child, state) in enumerate(best):
        file = place / f"{_name(number, len(best))}.yaml"
        about = f"# {child.label}: {shown(objectives, state)}\n# Command:  {best_command(folder, child, file.stem)}\n"
        atomic_write_text(file, "# @package _global_\n" + about + _experiment(child.job.config, groups))
        files.append(file)
    for file in set(place.glob("best*.yaml")) - set(files):
        file.unlink()
    return files


def shown(objectives: Sequence[Objective], state: State) -> str:
    """Return what a run reached, of every objective."""
    return ", ".join(f"{item.metric} {state.values[item.metric]:.4f}" for item in objectives)


def best_command(folder: SweepFolder, child: Child, name: str) -> str:
    """Return the command that trains one of the best again."""
    plugins = child.job.config.plugins
    words = [
        *("expkit", "train", "--config-dir", str(_place(folder).parent), f"experiment={name}"),
        *([f"plugins=[{','.join(plugins)}]"] if plugins else []),
    ]
    return shlex.join(words)


def _experiment(config: Config, groups: Sequence[str]) -> str:
    """Return a configuration as an experiment: whole, so that nothing is left of the groups' files."""
    values = {key: value for key, value in plain(config).items() if key not in _LEFT_OUT}
    values["run"] = {key: values["run"][key] for key in _KEPT_OF_RUN}
    defaults = {"defaults": [*({f"override /{group}": None} for group in groups), "_self_"]}
    return OmegaConf.to_yaml(OmegaConf.create(defaults)) + "\n" + OmegaConf.to_yaml(OmegaConf.create(values))


def _place(folder: SweepFolder) -> Path:
    return folder.path / "conf" / "experiment"


def _name(number: int, count: int) -> str:
    return "best" if count == 1 else f"best_{number}"
