"""The MLflow run of a learning-rate finder: the loss over the rate, and the suggestion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from expkit.config.schema import Config
from expkit.errors import error_message
from expkit.run_folder import unwritable
from expkit.tracking.params import params_of, texts
from expkit.tracking.recorded_run import NewRun, RecordedRun
from expkit.tracking.recorder import Recorder
from expkit.tracking.tracker import run_tags
from expkit.training.rate_finder import RateCurve, Rise

__all__ = ["RateRun", "recorded_rates"]

SOURCE = "expkit find-learning-rate"


class RateRun(RecordedRun):
    """The record of one curve."""

    def curve(self, curve: RateCurve, key: str, files: Sequence[Path]) -> None:
        """Record a curve.

        Args:
            curve: the rates and losses.
            key: key of the configuration that the suggestion is for.
            files: artifacts.
        """
        columns = (curve.rates.tolist(), curve.losses.tolist(), curve.smoothed.tolist())
        for step, (rate, loss, smoothed) in enumerate(zip(*columns, strict=True), start=1):
            self.metrics(step, {"learning_rate": rate, "train/loss": loss, "train/loss_moving_average": smoothed})
        if (rate := curve.suggestion) is not None:
            self.metrics(len(curve.rates), {"suggested_learning_rate": rate})
            self.tags({"suggestion": f"{key}={rate:.2g}"})
            self.describe(f"The loss falls steepest at a learning rate of {rate:.2g}: `{key}={rate:.2g}`")
        else:
            self.describe("No suggestion: the loss falls nowhere.")
        self.artifacts(files)


@contextmanager
def recorded_rates(recorder: Recorder, config: Config, folder: Path, rise: Rise) -> Iterator[RateRun]:
    """Yield the run of a learning-rate finder; it ends with the block, as failed where that fails.

    Args:
        recorder: the process that uploads.
        config: the configuration.
        folder: folder of its journal, which is created.
        rise: the rates.

    Raises:
        RunError: the folder cannot be written.
        TrackingError: the store cannot be used as it is configured.
    """
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    given = {"from": rise.low, "to": rise.high, "steps": rise.steps}
    params = params_of(config) | texts({f"find_learning_rate.{name}": value for name, value in given.items()})
    name = f"{config.run.name}, learning rates"
    run = RateRun(recorder, config, folder, NewRun(name=name, tags=run_tags(folder, SOURCE), params=params))
    try:
        run.begin()
        yield run
    except BaseException as error:
        run.finish("FAILED" if isinstance(error, Exception) else "KILLED", error_message(error))
        raise
    run.finish("FINISHED")
