"""The verbs of the command line, by the module that defines each."""

from __future__ import annotations

__all__ = ["VERBS"]

VERBS = {
    "train": "expkit.cli.train",
    "init": "expkit.cli.init",
    "names": "expkit.cli.names",
    "check": "expkit.cli.check",
    "show-data": "expkit.cli.show_data",
    "find-learning-rate": "expkit.cli.find_learning_rate",
    "restore-plan": "expkit.cli.restore_plan",
    "verify-resume": "expkit.cli.verify_resume",
    "schema": "expkit.cli.schema",
    "import-graph": "expkit.cli.import_graph",
    "checkpoint": "expkit.cli.checkpoint",
    "evaluate": "expkit.cli.evaluate",
    "freeze": "expkit.cli.freeze",
    "export": "expkit.cli.export",
    "predict": "expkit.cli.predict",
    "info": "expkit.cli.info",
    "sync": "expkit.cli.sync",
    "report": "expkit.cli.report",
    "sweep": "expkit.cli.sweep",
    "diff": "expkit.cli.diff",
    "ui": "expkit.cli.ui",
}
"""Only the module of the verb in use is imported."""
