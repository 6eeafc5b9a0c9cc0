"""Records of a sweep's results: its report, its best runs, its status."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from expkit.config.schema import Config
from expkit.sweeps.best import best_command, write_best
from expkit.sweeps.progress import Progress
from expkit.sweeps.standing import Standing
from expkit.sweeps.sweep_folder import DONE, Child, SweepFolder

if TYPE_CHECKING:
    from expkit.tracking.client import Status
    from expkit.tracking.recorder import Recorder
    from expkit.tracking.tracker import SweepRun

__all__ = ["SweepResults"]

_TAG = "expkit.best"
_MAX_LINES = 10


class SweepResults:
    """Records the results of a sweep in its folder, and under its run in MLflow if it has one."""

    def __init__(self, folder: SweepFolder, recorder: Recorder | None) -> None:
        self.parent: SweepRun | None = None
        """The sweep's run in MLflow."""
        self._folder = folder
        self._recorder = recorder

    def start_parent(self, config: Config, name: str, key: str, params: Mapping[str, object]) -> None:
        """Start the sweep's run in MLflow, or resume it, without waiting; ``params`` say what varies, and how."""
        from expkit.tracking.tracker import SweepRun

        assert self._recorder is not None
        self.parent = SweepRun(
            self._recorder, config, self._folder.path, name, tags={"expkit.sweep.key": key}, params=params
        )

    def wait_for_parent(self) -> None:
        """Wait until the sweep's run has begun in MLflow, if it has one, or its server is known not to answer.

        Raises:
            TrackingError: the store cannot be used as it is configured.
        """
        if self.parent is not None:
            self.parent.begin()
            self._folder.update(mlflow_run_id=self.parent.run_id, parent=self.parent.reference)

    def upload_missing(self, children: Sequence[Child]) -> None:
        """Upload what MLflow lacks of runs that have ended, if the process of an earlier command was killed then."""
        if self.parent is None:
            return
        from expkit.tracking.tracker import upload_ended_run

        assert self._recorder is not None
        for child in children:
            if child.status in DONE:
                upload_ended_run(self._recorder, child.job.config, child.folder.path)

    def record_death(self, child: Child, reason: str) -> None:
        """Mark a run as killed, which its dead process could not."""
        child.folder.update(status="KILLED", error=reason)
        if self._recorder is None or not child.job.config.tracking.enabled:
            return
        from expkit.tracking.tracker import MlflowTracker

        parent = self.parent.reference if self.parent is not None else None
        tracker = MlflowTracker(self._recorder, child.job.config, child.folder, name=child.label, parent=parent)
        tracker.finish("KILLED", reason)

    def record_point(self, progress: Progress, child: Child, runs: int) -> None:
        """Record the mean of a configuration when the last of its runs has finished, and the best mean so far.

        Args:
            progress: the runs so far.
            child: the run that has ended.
            runs: number of runs of a configuration.
        """
        if self.parent is None or len(progress.objectives) > 1:
            return
        standing, metric = progress.standing, progress.objective.metric
        complete = [item for item in standing.ranked if len(item.sample(metric)) >= runs and not item.without(metric)]
        found = next((item for item in complete if any(run.name == child.name for run in item.runs)), None)
        if found is not None and standing.summaries:
            values = list(found.sample(metric).values())
            best = standing.best_summary.mean
            self.parent.metrics(len(complete), {metric: sum(values) / len(values), "best/mean": best})

    def keep_best(self, progress: Progress, config_dirs: Sequence[str]) -> list[str]:
        """Write and tag the best run, or the Pareto front of several objectives; return lines for the terminal."""
        if not (best := progress.best):
            return []
        of_run = {run.name: item for item in progress.standing.configurations for run in item.runs}
        results = [of_run[child.name].result(progress.objectives) for child, _ in best]
        files = write_best(self._folder, [child for child, _ in best], results, config_dirs)
        self._tag_best(progress)
        if self.parent is not None and len(progress.objectives) == 1:
            self.parent.metrics(len(progress.standing.ranked), _final(progress.standing))
        if self.parent is not None:
            self.parent.artifacts(files)
        if len(progress.objectives) == 1:
            standing = progress.standing
            lines = [f"best {standing.result}"]
            lines += [line for line in (standing.verdict, standing.choice) if line is not None]
        else:
            what = "configuration" if progress.standing.replicated else "run"
            front = "this one" if len(best) == 1 else f"these {len(best)}"
            lines = [f"no {what} is better than {front} in all objectives:"]
            lines += [f"  {result}" for result in results[:_MAX_LINES]]
            lines += [f"  and {len(best) - _MAX_LINES} more"] if len(best) > _MAX_LINES else []
        return [*lines, f"train again with {best_command(self._folder, best[0][0], files[0].stem)}"]

    def finish(self, status: Status, *, report: bool) -> Path | None:
        """Record the status; return the page of the report, which is written unless the sweep was interrupted.

        The status in the folder comes last: a sweep killed before that is resumed, and finishes again.
        """
        several = len(self._folder.settings().get("objectives", [])) > 1
        page = self._write_report(several) if report and status != "KILLED" else None
        if self.parent is not None:
            self.parent.finish(status)
            self._folder.update(mlflow_run_id=self.parent.run_id)
        self._folder.update(status=status)
        if status == "KILLED":
            print("stopped; the same command runs the missing runs", file=sys.stderr)
        return page

    def _write_report(self, several: bool) -> Path | None:
        """Write the report of all runs so far; return its page, or ``None`` with a warning if it cannot be written."""
        from expkit.report.configurations import description
        from expkit.report.runs import read_sweep
        from expkit.report.write import REPORT, draw_report

        try:
            sweep = read_sweep(self._folder.path)
            files = draw_report(sweep, self._folder.path / REPORT)
        except Exception as error:
            print(f"warning: no report: {error}", file=sys.stderr)
            return None
        if self.parent is not None:
            self.parent.artifacts([files[0].parent])
            if not several:
                self.parent.describe(description(sweep))
        return files[0]

    def _tag_best(self, progress: Progress) -> None:
        """Tag the best runs and their parent; remove the tag from runs that were best before."""
        names = [child.name for child in progress.best_runs]
        before = self._folder.settings().get("best", [])
        self._folder.update(best=names)
        if self._recorder is None or self.parent is None:
            return
        from expkit.tracking.tracker import tag_ended_run

        tags = {**dict.fromkeys(before, "false"), **dict.fromkeys(names, "true")}
        for name, is_best in tags.items():
            if (is_best == "true") != (name in before) and name in progress.states:
                child, _ = progress.states[name]
                tag_ended_run(self._recorder, child.job.config, child.folder.path, {_TAG: is_best})
        self.parent.tags(
            {
                _TAG: "; ".join(child.job.point for child, _ in progress.best),
                f"{_TAG}.runs": ",".join(
                    str(child.folder.state().get("mlflow_run_id")) for child in progress.best_runs
                ),
            }
        )


def _final(standing: Standing) -> dict[str, float]:
    """Return the metrics of a sweep at its end: mean of the best configuration, its interval, ties."""
    best = standing.best_summary
    low, high = best.interval or (best.mean, best.mean)
    interval = {"best/low": low, "best/high": high, "best/tied": float(len(standing.tied))} if best.n > 1 else {}
    return {"best/mean": best.mean, "best/runs": float(best.n), **interval}
