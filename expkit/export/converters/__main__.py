"""Conversion in a process of its own, started as ``python -m expkit.export.converters FOLDER``."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from expkit.export.converters.job import JOB, Conversion

if __name__ == "__main__":
    job = Conversion(**json.loads((Path(sys.argv[1]) / JOB).read_text()))
    importlib.import_module(f"expkit.export.converters.{job.target}").convert(job)
