"""The store of a run's checkpoints: each is a complete folder or absent; the last ones and the best are kept."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expkit.checkpoints.record import Damage, check_contents, read_record, write_record
from expkit.config.sections.train import TrainConfig
from expkit.errors import CheckpointError, Problem, error_message
from expkit.fs import atomic_write, force_to_disk
from expkit.kinds.metrics import Mode

__all__ = ["Checkpoint", "CheckpointStore"]

_log = logging.getLogger(__name__)

_FOLDER = re.compile(r"step-(\d{8,})\Z")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint."""

    step: int
    prefix: Path
    """Start of the paths of its files, ``.index``, ``.data-*`` and ``.meta``, as TensorFlow names a checkpoint."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the step, if it was evaluated."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """State of the training besides variables, as plain values."""
    finite: bool = True
    """True if no value that training changes is NaN or infinite."""
    files: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Sizes and checksums of its files."""


class CheckpointStore:
    """The folder of a run's checkpoints; one process writes it.

    ``step-00000500/`` holds ``model.index``, ``model.data-*``, ``model.meta`` (the inference graph) and
    ``checkpoint.json``. It is written under another name and renamed when complete; a deletion renames it first. The
    file ``checkpoint`` names the latest one for ``tf.train.latest_checkpoint``.

    A save forces the earlier checkpoints to the disk, most of which the system has written by then, and deletes none
    while it is the only other one: after a power loss the newest may be damaged, and the one before it is intact.

    A damaged checkpoint is skipped with a warning.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_last: int,
        keep_every_steps: int | None = None,
        best_metric: str | None,
        best_mode: Mode | None,
    ) -> None:
        self._folder = folder
        self._keep_last = keep_last
        self._keep_every_steps = keep_every_steps
        self._best_metric = best_metric
        self._sign = -1 if best_mode == "min" else 1
        self._damaged: dict[str, str] = {}

    @classmethod
    def of(cls, folder: Path, train: TrainConfig) -> CheckpointStore:
        """Return the store in a folder, with the settings of the section ``train``."""
        return cls(
            folder,
            keep_last=train.keep_last,
            keep_every_steps=train.keep_every_steps,
            best_metric=train.best_metric,
            best_mode=train.mode_of(train.best_metric or "", train.best_mode),
        )

    def all(self) -> list[Checkpoint]:
        """Return the checkpoints whose record and file sizes are intact, oldest first.

        Raises:
            CheckpointError: the folder is there and cannot be read, so that a run would seem to have none.
        """
        found = []
        try:
            os.listdir(self._folder)  # ``glob`` finds nothing in a folder that it may not read.
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError.at(str(self._folder), f"cannot be read: {error.strerror}") from None
        for folder in self._folder.glob("step-*"):
            if (match := _FOLDER.match(folder.name)) and folder.name not in self._damaged:
                try:
                    kept = read_record(folder)
                except Damage as damage:
                    self._skip(folder, str(damage))
                    continue
                prefix = folder / "model"
                found.append(
                    Checkpoint(
                        step=int(match[1]),
                        prefix=prefix,
                        metrics=kept["metrics"],
                        state=kept["state"],
                        finite=kept["finite"],
                        files=kept["files"],
                    )
                )
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint, or ``None``.

        Raises:
            CheckpointError: all checkpoints are damaged.
        """
        return self._first_intact(lambda item: item.step)

    def latest_good(self) -> Checkpoint | None:
        """Return the newest checkpoint whose values are finite, or ``None``."""
        return self._first_intact(lambda item: item.step if item.finite else None)

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the best metric (the earliest if equal), or ``None``; ``nan`` is never best."""
        return self._first_intact(self._rank)

    def skip(self, checkpoint: Checkpoint, why: str) -> None:
        """Skip a checkpoint from now on, because reading its values showed that it is damaged."""
        self._skip(checkpoint.prefix.parent, why)

    def save(
        self,
        write: Callable[[str], bool],
        meta_graph: bytes,
        step: int,
        metrics: Mapping[str, float],
        state: Mapping[str, Any],
    ) -> Checkpoint:
        """Write a checkpoint, then delete those that need not be kept any longer.

        Args:
            write: writes the variables to a prefix; returns True if all values that training changes are finite.
            meta_graph: serialized inference ``MetaGraphDef``, kept beside the variables.
            step: global step.
            metrics: metrics of this step.
            state: plain values with which training resumes.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints are intact.
        """
        name = f"step-{step:08d}"
        partial = self._folder / f".{name}.partial"
        try:
            self._clear()
            partial.mkdir(parents=True)
            self._force_to_disk()  # Now, because later the system would write the new files as well.
            finite = write(str(partial / "model"))
            (partial / "model.meta").write_bytes(meta_graph)
            content = {"step": step, "finite": finite, "metrics": dict(metrics), "state": dict(state)}
            write_record(partial, content)
            with atomic_write(self._folder / "checkpoint", durable=False) as pointer:
                pointer.write_text(f'model_checkpoint_path: "{name}/model"\n')
                self._remove(self._folder / name)  # From here on only names change.
                partial.rename(self._folder / name)
            self._damaged.pop(name, None)
            self._prune()
        except Exception as error:
            self._clear()
            if not isinstance(error, OSError) and not type(error).__module__.startswith("tensorflow"):
                raise
            raise CheckpointError.at(
                str(self._folder),
                f"step {step} could not be saved ({error_message(error)}); earlier checkpoints are intact: fix that, "
                "and run.resume continues from the last",
            ) from error
        prefix = self._folder / name / "model"
        return Checkpoint(step=step, prefix=prefix, metrics=metrics, state=state, finite=finite)

    def _first_intact(self, rank: Callable[[Checkpoint], Any]) -> Checkpoint | None:
        """Return the checkpoint of the highest rank whose files are intact; rank ``None`` excludes one."""
        ranked = [item for item in self.all() if rank(item) is not None]
        for checkpoint in sorted(ranked, key=rank, reverse=True):
            try:
                check_contents(checkpoint.prefix.parent, checkpoint.files)
                return checkpoint
            except Damage as damage:
                self.skip(checkpoint, str(damage))
        if self._damaged and not self.all():
            raise CheckpointError(
                *(
                    Problem(
                        str(self._folder / name),
                        f"{why}; no other checkpoint is intact: delete {self._folder} to start again",
                    )
                    for name, why in sorted(self._damaged.items())
                )
            )
        return None

    def _rank(self, checkpoint: Checkpoint) -> tuple[float, int] | None:
        value = checkpoint.metrics.get(str(self._best_metric), math.nan)
        return (self._sign * value, -checkpoint.step) if checkpoint.finite and not math.isnan(value) else None

    def _skip(self, folder: Path, why: str) -> None:
        self._damaged[folder.name] = why
        _log.warning("%s is damaged and skipped: %s", folder, why)

    def _prune(self) -> None:
        found = self.all()
        every = self._keep_every_steps
        ranked = sorted((rank, index) for index, item in enumerate(found) if (rank := self._rank(item)) is not None)
        kept = [
            *found[-self._keep_last :],
            *(item for item in found if every is not None and item.step % every == 0),
            *[item for item in found if item.finite][-1:],
            *(found[index] for _, index in ranked[-1:]),
        ]
        gone = [item for item in found if item not in kept]
        if len(gone) == len(found) - 1:
            self._force_to_disk()
        for checkpoint in gone:
            self._remove(checkpoint.prefix.parent)

    def _force_to_disk(self) -> None:
        """Wait until all checkpoints would survive a power loss; those that already do take no time."""
        for folder in self._folder.glob("step-*"):
            for path in (*folder.iterdir(), folder, self._folder):
                force_to_disk(path)

    def _remove(self, folder: Path) -> None:
        """Delete a checkpoint; renaming it first ensures that it is never half there."""
        if folder.is_dir():
            gone = folder.with_name(f".{folder.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _clear(self) -> None:
        """Delete the remains of interrupted saves and deletions."""
        for pattern in (".step-*.partial", ".step-*.gone"):
            for folder in self._folder.glob(pattern):
                shutil.rmtree(folder, ignore_errors=True)
        for pointer in self._folder.glob(".checkpoint.*partial"):
            pointer.unlink(missing_ok=True)
