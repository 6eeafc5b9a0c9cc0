"""What a sweep leaves of its best runs: files to train them again, marks in MLflow, the last lines of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from expkit.sweeps.best import best_command, keep_best, shown
from expkit.sweeps.progress import Watch
from expkit.sweeps.sweep_folder import SweepFolder

if TYPE_CHECKING:
    from expkit.tracking.recorder import Recorder
    from expkit.tracking.tracker import SweepRun

__all__ = ["leave_best"]

_MARK = "expkit.best"
_MOST_LINES = 10


def leave_best(
    folder: SweepFolder,
    watch: Watch,
    config_dirs: Sequence[str],
    recorder: Recorder | None,
    parent: SweepRun | None,
) -> list[str]:
    """Keep and mark the best run; of several objectives all that no other is better than.

    Returns:
        What to say of them, line by line.
    """
    if not (best := watch.best):
        return []
    files = keep_best(folder, best, watch.objectives, config_dirs)
    _mark(folder, watch, recorder, parent)
    if parent is not None:
        parent.artifacts(files)
    if len(watch.objectives) == 1:
        lines = [f"best {shown(watch.objectives, best[0][1])}: {best[0][0].label}"]
    else:
        these = "this one" if len(best) == 1 else f"these {len(best)}"
        rows = [f"  {shown(watch.objectives, state)}: {child.label}" for child, state in best[:_MOST_LINES]]
        rest = [f"  and {len(best) - _MOST_LINES} more"] if len(best) > _MOST_LINES else []
        lines = [f"no run is better than {these} in all objectives:", *rows, *rest]
    return [*lines, f"train again with {best_command(folder, best[0][0], files[0].stem)}"]


def _mark(folder: SweepFolder, watch: Watch, recorder: Recorder | None, parent: SweepRun | None) -> None:
    """Tag the best runs and their parent; what was best before is so no more."""
    names = [child.folder.path.name for child, _ in watch.best]
    before = folder.settings().get("best", [])
    folder.update(best=names)
    if recorder is None or parent is None:
        return
    from expkit.tracking.marks import mark

    marks = {**dict.fromkeys(before, "false"), **dict.fromkeys(names, "true")}
    for name, is_best in marks.items():
        if (is_best == "true") != (name in before) and name in watch.states:
            child, _ = watch.states[name]
            mark(recorder, child.job.config, child.folder.path, {_MARK: is_best})
    parent.tags(
        {
            _MARK: "; ".join(child.label for child, _ in watch.best),
            f"{_MARK}.runs": ",".join(str(child.folder.state().get("mlflow_run_id")) for child, _ in watch.best),
        }
    )
