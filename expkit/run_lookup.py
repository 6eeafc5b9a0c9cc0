"""Runs by the name that a user gives: a folder, an id in MLflow, or the run to resume."""

from __future__ import annotations

from pathlib import Path

from expkit.config.schema import Config
from expkit.errors import RunError, comma_list, error_message
from expkit.run_folder import RunFolder, check_same, config_digest

__all__ = ["find_run", "named_path", "resumable", "run_of_uri"]


def find_run(run: str) -> RunFolder:
    """Return the run folder a user names.

    Raises:
        RunError: there is no run.
    """
    if not run.strip():  # An unset variable of the shell, not the working folder.
        raise RunError.at(f"'{run}'", f"names no run; runs: {comma_list(_runs_near(Path()), 5)}")
    try:
        path = Path(run).expanduser()
        if (path / "config.yaml").is_file() and (path / "run.json").is_file():
            return RunFolder(path)
        exists = path.exists()
    except (OSError, RuntimeError) as error:  # No permission, a name too long, no such home folder.
        raise RunError.at(
            run, f"cannot be read ({error_message(error)}); runs: {comma_list(_runs_near(Path()), 5)}"
        ) from None
    problem = "is not a run folder (config.yaml and run.json are not in it)" if exists else "does not exist"
    raise RunError.at(run, f"{problem}; runs: {comma_list(_runs_near(path), 5)}")


def named_path(name: str, kind: str) -> Path:
    """Return the path that a user names.

    Args:
        name: the path as written.
        kind: the kind of thing that is there, for the error.

    Raises:
        RunError: it cannot be a path: it is empty or too long, or its home folder does not exist.
    """
    if not name.strip():
        raise RunError.at(f"'{name}'", f"names no {kind}")
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:
        raise RunError.at(name, f"cannot be read ({error_message(error)})") from None
    return path


def run_of_uri(uri: str, runs: str, at: str) -> RunFolder | None:
    """Return the run of MLflow's ``runs:/ID``, found by its id among runs and sweeps; ``None`` for another name.

    Args:
        uri: the name.
        runs: folder that holds all runs.
        at: path of the problem.

    Raises:
        RunError: no run has the id.
    """
    if not uri.startswith("runs:/"):
        return None
    run_id = uri.removeprefix("runs:/")
    for pattern in ("*/*/run.json", "multirun/*/*/*/run.json"):
        for file in Path(runs).glob(pattern):
            folder = RunFolder(file.parent)
            if folder.state().get("mlflow_run_id") == run_id:
                return folder
    raise RunError.at(
        at, f"no run in {runs} has the id {run_id} in MLflow; give its folder, which is in the run's tag run_folder"
    )


def resumable(config: Config) -> RunFolder | None:
    """Return the run that ``run.resume`` names, or ``None`` to start a new one.

    ``auto`` is the newest run of the same configuration that has not finished.

    Raises:
        RunError: ``run.resume`` is a path, but not of a run.
        ConfigError: it is a run of another configuration.
    """
    if config.run.resume is None:
        return None
    if config.run.resume != "auto":
        folder = find_run(config.run.resume)
        check_same(folder, config)
        return folder
    digest = config_digest(config)
    found = [RunFolder(file.parent) for file in Path(config.run.folder).glob("*/*/run.json")]
    states = [(folder, folder.state()) for folder in found]
    same = [folder for folder, state in states if state.get("digest") == digest and state.get("status") != "FINISHED"]
    return max(same, key=lambda folder: folder.path.as_posix(), default=None)


def _runs_near(path: Path) -> list[str]:
    folders = [folder for folder in (path, path.parent, Path("runs")) if folder.is_dir()]
    found = [file.parent for folder in folders for file in [*folder.glob("*/run.json"), *folder.glob("*/*/run.json")]]
    shown = {folder.resolve(): folder.as_posix() for folder in reversed(found)}
    return sorted(shown.values(), reverse=True)
