"""Exporting to other formats: all targets are written with their proof, or nothing is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from expkit.errors import ExpkitError, ExportError, Problem, comma_list
from expkit.export.targets.base import Exported, ExportOptions, ExportSource, Proof, Target, check_installed
from expkit.fs import cannot_write, file_digest, force_to_disk, partial_folder, read_json
from expkit.provenance import versions

__all__ = ["RECORD", "ExportFolder", "check_folder", "export", "recorded"]

RECORD = "export.json"


@dataclass(frozen=True, kw_only=True)
class ExportFolder:
    """A folder of exported files, with the proofs of all."""

    path: Path
    targets: Sequence[Exported]
    record: dict[str, Any]
    """The content of ``export.json``."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Facts of ``export.json`` about a file beside it."""

    target: str
    verdict: str
    outputs: tuple[str, ...]
    """Names of the outputs."""


def check_folder(path: Path) -> None:
    """Check that a folder can be written as a whole: there is none, or it is empty.

    Raises:
        ExportError: it has files, is a file or a symbolic link.
    """
    if path.is_symlink():  # A folder cannot take the place of a link.
        raise ExportError.at("--output", f"{path} is a symbolic link; give a new folder")
    if path.is_dir() and any(path.iterdir()):
        raise ExportError.at("--output", f"{path} has files; give a new folder, or remove it")
    if path.exists() and not path.is_dir():
        raise ExportError.at("--output", f"{path} is not a folder; give a new one")


def export(
    source: ExportSource,
    targets: Sequence[Target],
    options: ExportOptions,
    into: Path,
    say: Callable[[str], None] = lambda text: None,
    *,
    replace_folder: bool = False,
) -> ExportFolder:
    """Write files of all targets into a new folder, with ``export.json``; if one fails, nothing is written.

    Args:
        source: what is exported.
        targets: the formats.
        options: settings.
        into: the folder.
        say: takes sentences about what goes on.
        replace_folder: put the new folder in place of one that is there, as a run that is repeated does.

    Raises:
        ExportError: with what is wrong with every target, or the folder cannot be written.
    """
    check_installed(targets, "--to")
    if not replace_folder:
        check_folder(into)
    if problems := [problem for item in targets for problem in item.problems(source, options)]:
        raise ExportError(*dict.fromkeys(problems))
    try:
        with partial_folder(into) as partial:
            done, failed = _write(source, targets, options, partial, say)
            if failed:
                raise ExportError(*failed)
            record = _record(source, done, options, partial)
            (partial / RECORD).write_text(json.dumps(record, indent=2) + "\n")
            for file in partial.rglob("*"):
                force_to_disk(file)
            if into.is_dir():
                shutil.rmtree(into) if replace_folder else into.rmdir()
            os.replace(partial, into)
    except OSError as error:
        raise ExportError.at("--output", cannot_write(into, error, "nothing was written")) from None
    moved = [replace(item, files=[into / file.relative_to(partial) for file in item.files]) for item in done]
    return ExportFolder(path=into, targets=moved, record=record)


def _write(
    source: ExportSource, targets: Sequence[Target], options: ExportOptions, into: Path, say: Callable[[str], None]
) -> tuple[list[Exported], list[Problem]]:
    """Return the files of each target, and their problems."""
    done: list[Exported] = []
    problems: list[Problem] = []
    for item in targets:
        folder = into / item.name if len(targets) > 1 else into
        folder.mkdir(exist_ok=True)
        try:
            exported = item.write(source, options, folder, say)
        except ExpkitError as error:
            problems += error.problems
            continue
        item.keep_inside(folder, {**source.about, "verdict": _verdict(exported)})
        done.append(replace(exported, files=sorted(path for path in folder.rglob("*") if path.is_file())))
        if exported.problems and not options.keep_anyway:
            text = "; ".join(exported.problems)
            fix = "nothing was written; --keep-anyway writes it with this verdict"
            problems.append(Problem(f"--to {item.name}", f"{text}; {fix}"))
    proven = [item.target for item in done if not item.problems]
    if problems and proven:
        problems.append(Problem("--to", f"{comma_list(proven)}: proven, but not written, because all are or none is"))
    return done, list(dict.fromkeys(problems))


def _record(source: ExportSource, done: Sequence[Exported], options: ExportOptions, folder: Path) -> dict[str, Any]:
    metadata = source.frozen.metadata
    run = source.run
    return {
        "source": {
            "frozen_sha256": file_digest(source.file),
            "frozen_bytes": source.file.stat().st_size,
            **{key: metadata[key] for key in ("name", "weights", "step", "config_sha256") if key in metadata},
            "run": None if source.run_folder is None else str(source.run_folder),
            "mlflow_run_id": metadata.get("mlflow_run_id"),
            "checkpoint": None
            if run is None
            else {"prefix": str(run.checkpoint.prefix), "files": dict(run.checkpoint.files)},
        },
        "versions": {**versions(), **{name: word for item in done for name, word in item.versions.items()}},
        "options": {
            "quantize": options.quantize,
            "max_drop": options.max_drop,
            "tolerance": options.tolerance,
            "batch": options.batch,
            "input_shapes": {name: list(shape) for name, shape in options.input_shapes.items()},
            "opset": options.opset,
            "rename_outputs": dict(options.rename_outputs),
        },
        "targets": {
            item.target: {
                "verdict": _verdict(item),
                "problems": list(item.problems),
                "bytes": sum(file.stat().st_size for file in item.files),
                "files": {
                    file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": file_digest(file)}
                    for file in item.files
                },
                "proofs": [_finite(row) for row in item.proofs],
                **item.settings,
            }
            for item in done
        },
    }


def _verdict(item: Exported) -> str:
    return "proven" if not item.problems else "not proven, kept anyway"


def _finite(row: Proof) -> dict[str, Any]:
    """Return a row in JSON's own words: infinity, which JSON lacks, as text."""
    return {key: str(value) if value == float("inf") else value for key, value in row.as_dict().items()}


def recorded(file: Path) -> Recorded | None:
    """Return what the record beside an exported file says about it; the verdict is void if a file has changed."""
    for folder in (file.parent, file.parent.parent):
        for name, item in _targets(folder / RECORD).items():
            try:
                if file.relative_to(folder).as_posix() not in item["files"]:
                    continue
                changed = [path for path, about in item["files"].items() if _has_changed(folder, path, about["sha256"])]
                verdict = "; ".join([item["verdict"], *item["problems"]])
                if changed:
                    verdict = f"not as it was proven: {comma_list(changed)} is not what {folder / RECORD} says"
                return Recorded(target=name, verdict=verdict, outputs=tuple(map(str, item.get("outputs", ()))))
            except (KeyError, TypeError, AttributeError, ValueError, OSError):
                continue
    return None


def _has_changed(folder: Path, path: str, sha256: str) -> bool:
    """Return True for a file whose content is not that of the record; one elsewhere is not opened."""
    file = folder / path
    return not file.resolve().is_relative_to(folder.resolve()) or not file.is_file() or file_digest(file) != sha256


def _targets(record: Path) -> dict[str, Any]:
    targets = read_json(record).get("targets")
    return targets if isinstance(targets, dict) else {}
