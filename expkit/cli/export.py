"""The verb ``export``: a run or a frozen graph in other formats, each proven in its own runtime."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from expkit.cli.predict import add_allow_op
from expkit.config.restore_files import read_restore
from expkit.config.sections.restore import RestoreConfig
from expkit.errors import ExportError
from expkit.export.exporter import check_folder, export
from expkit.export.input_file import open_arrays
from expkit.export.targets.base import TARGETS, ExportOptions, check_installed, check_options, chosen_targets
from expkit.runs.exported import export_source
from expkit.runs.interruption import interruption_exits, termination_raises
from expkit.runs.terminal import export_table

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "export",
        help="write a run or a frozen graph in other formats, each proven in its runtime",
        description="Convert a run's graph, and compare the outputs that each format's own runtime computes with those "
        "of the frozen graph. Files are written only if all agree.",
    )
    parser.add_argument(
        "graph",
        metavar="RUN|GRAPH|models:/NAME@ALIAS",
        help="run folder; a .pb file, SavedModel folder, or .meta file beside its checkpoint; or model",
    )
    parser.add_argument("--to", required=True, metavar="TARGETS", help=f"separated by commas: {', '.join(TARGETS)}")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="a new folder; default: RUN/export, FILE-export; of a model: export",
    )
    parser.add_argument("--checkpoint", choices=("latest", "best"), help="of a run; default: its export.checkpoint")
    parser.add_argument("--weights", choices=("raw", "ema"), help="of a run; default: its export.weights")
    parser.add_argument("--uri", help="MLflow store of models:/ and runs:/")
    parser.add_argument(
        "--quantize",
        choices=("none", "float16", "dynamic", "int8"),
        default="none",
        help="weights of tflite; int8 is calibrated on the training part (default: none)",
    )
    parser.add_argument(
        "--max-drop",
        type=_number,
        default=0.01,
        metavar="DROP",
        help="largest fall of a metric of a quantized file (default: 0.01, one point)",
    )
    parser.add_argument(
        "--tolerance",
        type=_number,
        default=2e-5,
        help="largest difference allowed, as a fraction of the largest output (default: 2e-5)",
    )
    parser.add_argument("--examples", type=Path, metavar="FILE.npz", help="compare and calibrate on these arrays")
    add_allow_op(parser)
    parser.add_argument("--keep-anyway", action="store_true", help="write files whose proof failed, with the verdict")
    parser.add_argument("--per-layer", action="store_true", help="compare the output of every layer, too")
    parser.add_argument("--batch", type=_count, metavar="N", help="fix the number of examples; default: open")
    parser.add_argument(
        "--input-shape",
        action="append",
        default=[],
        metavar="NAME=SIZES",
        help="image=1,224,224,3; ? leaves a size open",
    )
    parser.add_argument("--opset", type=_count, help="of onnx (default: 18)")
    parser.add_argument("--rename-output", action="append", default=[], metavar="OLD=NEW", help="logits=scores")
    parser.add_argument(
        "--layout",
        choices=("tensorflow", "pytorch"),
        help="of kernels in safetensors and npz; default: that of the rules",
    )
    parser.add_argument(
        "--rules",
        metavar="NAME|FILE.yaml",
        help="conf/restore/NAME.yaml or a file of rename rules for such files; they are read backwards",
    )
    parser.add_argument(
        "--timeout", type=_count, default=1800, metavar="SECONDS", help="stop a converter after (default: 1800)"
    )
    parser.set_defaults(run=_export)


_LARGEST = 2**31 - 1
"""Largest size that every format can hold, and seconds that the system can wait."""


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:20]) <= _LARGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number up to {_LARGEST:,}")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of at least 0")
    return value


def _export(given: argparse.Namespace) -> int:
    targets = chosen_targets([name.strip() for name in given.to.split(",") if name.strip()], "--to")
    rules = RestoreConfig() if given.rules is None else read_restore(given.rules, "--rules")
    options = ExportOptions(
        quantize=given.quantize,
        max_drop=given.max_drop,
        tolerance=given.tolerance,
        keep_anyway=given.keep_anyway,
        per_layer=given.per_layer,
        batch=given.batch,
        input_shapes=_shapes(given.input_shape),
        opset=given.opset,
        rename_outputs=_pairs(given.rename_output, "--rename-output", "logits=scores"),
        layout=given.layout or rules.layout,
        rules=rules.rename,
        timeout=given.timeout,
    )
    check_options(targets, options)
    check_installed(targets, "--to")
    if given.output is not None:
        check_folder(given.output)
    with interruption_exits(), termination_raises(), ExitStack() as held:
        examples = None if given.examples is None else held.enter_context(open_arrays(given.examples))
        source, default = held.enter_context(
            export_source(
                given.graph, given.uri, weights=given.weights, checkpoint=given.checkpoint, allowed=given.allow_op,
                check=check_folder if given.output is None else None,
            )
        )  # fmt: skip
        source = replace(source, examples=examples)
        folder = export(source, targets, options, given.output or default, lambda text: print(text, file=sys.stderr))
    export_table(folder)
    return 0


def _pairs(given: list[str], at: str, example: str) -> dict[str, str]:
    found = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name or not value:
            raise ExportError.at(at, f"'{text}' is not NAME=VALUE; write {example}")
        if name in found:
            raise ExportError.at(at, f"{name} is given twice")
        found[name] = value
    return found


def _shapes(given: list[str]) -> dict[str, list[int | None]]:
    example = "image=1,224,224,3"
    found: dict[str, list[int | None]] = {}
    for name, sizes in _pairs(given, "--input-shape", example).items():
        words = [word.strip() for word in sizes.split(",")]
        if wrong := [
            word for word in words if word != "?" and not (word.isdecimal() and 0 < int(word[:20]) <= _LARGEST)
        ]:
            text = f"'{wrong[0]}' is no size; write sizes as in {example}, ? for one that is left open"
            raise ExportError.at("--input-shape", text)
        found[name] = [None if word == "?" else int(word) for word in words]
    return found
