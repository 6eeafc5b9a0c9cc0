"""The verb ``find-learning-rate``: the training loss over a rising learning rate, and a suggestion."""

from __future__ import annotations

import argparse
import json
import math
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expkit.config.load import plain_yaml
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem
from expkit.fs import atomic_write_text, cannot_write
from expkit.kinds.schedules import Constant
from expkit.preflight import load_checked, with_config

if TYPE_CHECKING:
    from expkit.training.rate_finder import RateCurve

__all__ = ["add_verbs"]

DEFAULT = "learning-rate.png"
FILES = CURVE, PICTURE, SUGGESTION, CONFIG = "curve.csv", "curve.png", "suggestion.json", "config.yaml"
"""Files of a folder that keeps the curve."""
RECORDS = "find-learning-rate"
"""Folder in that of the runs, of what MLflow has."""
LEAST, MOST = 20, 100_000
"""Number of steps."""


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "find-learning-rate",
        help="train while the learning rate rises, draw the loss and suggest a rate",
        description="Train from the initial values (or those of restore) while the learning rate rises exponentially, "
        "until the loss explodes; draw the loss over the rate, and suggest the rate at which its moving average falls "
        "steepest. The rising rate replaces the optimizer's rate, schedule and warm-up. A folder given "
        "with --output keeps the curve, its picture, the suggestion and the configuration; so does an MLflow run, if "
        "tracking is enabled.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: experiment=digits_cnn")
    parser.add_argument(
        "--from", dest="low", type=float, metavar="RATE", default=1e-6, help="first rate; default: 1e-6"
    )
    parser.add_argument("--to", dest="high", type=float, metavar="RATE", default=1.0, help="last; default: 1")
    parser.add_argument("--steps", type=int, metavar="N", default=100, help="number of steps; default: 100")
    parser.add_argument(
        "--output",
        metavar="FILE.png|FOLDER",
        default=DEFAULT,
        help=f"the picture, or a new folder for {', '.join(FILES)}; default: {DEFAULT}",
    )
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_find)


def _find(given: argparse.Namespace) -> int:
    _check(given)
    output = Path(given.output)
    checked = load_checked(given.overrides, given.config_dir)
    # Imported late: they need TensorFlow and the libraries of plots, and a configuration that is right.
    from expkit.data.dataset import load_dataset
    from expkit.data.derived import derived_config
    from expkit.plots.rates import rate_curve
    from expkit.plots.style import save
    from expkit.runs.recording import recorder_of_process, say_environment
    from expkit.training.rate_finder import Rise, check_one_rate, find_rates

    config, rise = checked.config, Rise(low=given.low, high=given.high, steps=given.steps)
    key, note = _key(config)
    check_one_rate(config)
    say_environment(config)
    with recorder_of_process(tracked=config.tracking.enabled) as recorder, ExitStack() as opened:
        dataset = load_dataset(config, checked.spec)
        derived = with_config(checked, derived_config(config, checked.spec.trained, dataset))
        record, folder = None, output
        if recorder is not None:
            from expkit.tracking.rates import recorded_rates

            folder = Path(config.run.folder) / RECORDS / f"{datetime.now():%Y-%m-%d}" / _name(config)
            record = opened.enter_context(recorded_rates(recorder, config, folder, rise))
        curve = find_rates(derived, dataset, rise)
        picture = rate_curve(curve, config.run.name)

        def write(into: Path) -> None:
            into.mkdir(exist_ok=True)
            atomic_write_text(into / CURVE, _table(curve))
            atomic_write_text(into / SUGGESTION, json.dumps({key: curve.suggestion}, indent=1) + "\n")
            atomic_write_text(into / CONFIG, plain_yaml(config))
            save(picture, into / PICTURE)

        try:
            if output.suffix == ".png":
                save(picture, output)
            else:
                write(output)
        except OSError as error:
            problem = cannot_write(output, error, "give a writable path with --output=FILE.png or FOLDER")
            raise ConfigError.at("--output", problem) from None
        if record is not None:
            write(folder)
            record.curve(curve, key, [folder / name for name in FILES])
    end = "where the loss exploded" if curve.exploded else "the last one"
    print(f"{len(curve.rates)} steps, learning rate {curve.rates[0]:.2g} to {curve.rates[-1]:.2g}, {end}; see {output}")
    if (rate := curve.suggestion) is None:
        print("no suggestion: the loss falls nowhere; try other rates with --from and --to, or more --steps")
        return 0
    if note:
        print(note)
    print(f"suggestion {rate:.2g}, where the loss falls steepest: {key}={rate:.2g}")
    return 0


def _name(config: Config) -> str:
    return f"{datetime.now():%H-%M-%S-%f}_{config.run.name}"


def _check(given: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        ConfigError: with every mistake.
    """
    output, problems = Path(given.output), []
    if not (math.isfinite(given.low) and given.low > 0):
        problems.append(Problem("--from", f"needs a rate above 0, got {given.low:g}"))
    elif not (math.isfinite(given.high) and given.high > given.low):
        problems.append(Problem("--to", f"needs a rate above --from, {given.low:g}, got {given.high:g}"))
    if not LEAST <= given.steps <= MOST:
        problems.append(Problem("--steps", f"needs {LEAST} to {MOST:,}, got {given.steps}"))
    if problem := _output_problem(output):
        problems.append(Problem("--output", f"{given.output}{problem}"))
    if problems:
        raise ConfigError(*problems)


def _output_problem(output: Path) -> str | None:
    if output.suffix not in ("", ".png") and not output.is_dir():
        return " does not end in .png; give FILE.png, or a folder"
    if not output.absolute().parent.is_dir():
        return ": its folder does not exist; give FILE.png, or a new folder, in a folder that exists"
    if output.suffix == ".png":
        return ": is a folder; give FILE.png in a folder that exists" if output.is_dir() else None
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        what = "holds files" if output.is_dir() else "is a file"
        return f": {what}, and nothing is overwritten; give a new folder, or FILE.png"
    return None


def _table(curve: RateCurve) -> str:
    """Return the curve as a table, a line per step."""
    columns = (range(1, len(curve.rates) + 1), curve.rates.tolist(), curve.losses.tolist(), curve.smoothed.tolist())
    rows = [",".join(map(repr, row)) for row in zip(*columns, strict=True)]
    return "\n".join(["step,learning_rate,loss,moving_average", *rows]) + "\n"


def _key(config: Config) -> tuple[str, str]:
    """Return the key of the rate to set, and a note where it is that of a schedule."""
    schedule = config.optimizer.learning_rate
    if isinstance(schedule, Constant):
        return "optimizer.learning_rate", ""
    note = f"the rising rate replaced the schedule '{schedule.kind}'"
    if "initial_learning_rate" in type(schedule).model_fields:
        return "optimizer.learning_rate.initial_learning_rate", f"{note}; the suggestion is for its initial rate"
    return "optimizer.learning_rate", f"{note}; the suggestion is for its highest rate, here given as a constant"
