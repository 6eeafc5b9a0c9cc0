"""What a run of a sweep costs besides its steps: short runs by ``expkit train -m`` in one process.

Usage: python benchmarks/sweep.py [--steps 300] [--runs 18] [--units 1] [WORDS of the command line]
       python benchmarks/sweep.py --slots
       python benchmarks/sweep.py --processes

Prints, for every run (three seeds x learning rates x ``--units`` sizes of the layer, digits), the seconds from the end
of the run before it to its own end, those of them that were steps, the processor time of the process in between, which
other programs on the machine hardly change, and the memory of the process at its end; then what
the first run took besides its steps, which also imports TensorFlow (goal at most 5 s), beside the imports of
TensorFlow and MLflow alone, the median of the others (0.5 s), the time of the whole sweep, with the report, plots and
uploads that lag behind the runs, and how memory grows from the tenth run on (from the
third of fewer than twenty), by a straight line through all: little, because sessions and graphs are released. Runs of
one size share a graph; each size has its own.

With ``--slots``: the fraction of the time in which two local workers execute runs while both have any, for runs whose
steps are spread 1:4 in a shuffled order, beside that of batches of two of the same runs in the same order (goal at
least 95 %). The time between two runs counts as idle, but not in the batches. The first two runs of each worker are
left out, which build graphs.

With ``--processes``: the time of 18 runs of 300 steps by two processes, as a fraction of one process' (goal at most
0.65), each three times in turns. Beside it the least that can be: each process imports TensorFlow and builds graphs
until the end of its second run, as the one does, and only the runs after that are shared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL = 0.5
FIRST_GOAL = 5.0
QUICK = ("tracking=none", "export=none", "tracking.plots=false")
_TRAINING = re.compile(r"expkit\S*: training took ([\d.]+) s$", re.MULTILINE)


def resident_megabytes(process: int) -> float:
    """Return the memory of a process; 0 when it has ended."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def processor_seconds(process: int) -> float:
    """Return the processor time of a process, without that of others that it started; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def finished(folder: Path) -> list[Path]:
    """Return the runs that are finished, in their order."""
    states = sorted(folder.glob("sweep/*/run.json"), key=lambda file: int(file.parent.name.split("_")[0]))
    return [file.parent for file in states if json.loads(file.read_text()).get("status") == "FINISHED"]


def sweep(folder: Path, name: str, words: list[str]) -> tuple[float, list[tuple[float, float]]]:
    """Return the seconds of a sweep, and begin and end of its runs, by their claims and last writes."""
    command = [sys.executable, "-m", "expkit", "train", "-m", *words, f"hydra.sweep.dir={folder}/{name}"]
    begun = time.perf_counter()
    subprocess.run([*command, f"run.folder={folder}/{name}_runs"], stdout=subprocess.DEVNULL, cwd=folder, check=True)
    seconds = time.perf_counter() - begun
    runs = [file.parent for file in (folder / name).glob("*/run.json")]
    # overrides.yaml is written once, when a run begins, run.json last.
    return seconds, sorted(
        ((run / "overrides.yaml").stat().st_mtime, (run / "run.json").stat().st_mtime) for run in runs
    )


def busy(spans: list[tuple[float, float]], slots: int) -> float:
    """Return the fraction of busy slots from the first begin to the end of the first slot that finds no run left."""
    last = sorted(end for _, end in spans)[-slots]
    first = min(begin for begin, _ in spans)
    return sum(min(end, last) - begin for begin, end in spans if begin < last) / (slots * (last - first))


def in_batches(durations: list[float], slots: int) -> float:
    """Return the fraction of busy slots where a batch begins when all runs of the one before have ended."""
    batches = [durations[start : start + slots] for start in range(0, len(durations), slots)]
    return sum(durations) / (slots * sum(map(max, batches)))


def alone(library: str) -> float:
    """Return the seconds of a process that imports a library."""
    begun = time.perf_counter()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}  # as expkit sets them
    subprocess.run([sys.executable, "-c", f"import {library}"], env=environment, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def slots(words: list[str], shortest: int) -> None:
    """Measure how busy two local workers are."""
    steps = [shortest + 3 * shortest * number // 23 for number in range(24)]
    random.Random(0).shuffle(steps)
    varied = f"train.steps={','.join(map(str, [*range(shortest + 1, shortest + 5), *steps]))}"
    with tempfile.TemporaryDirectory() as name:
        _, spans = sweep(Path(name), "spread", [varied, "hydra.sweeper.n_jobs=2", *QUICK, *words])
    spans = spans[4:]
    durations = [end - begin for begin, end in spans]
    print(f"{len(spans)} runs of {min(durations):.1f} to {max(durations):.1f} s")
    print(f"busy: {busy(spans, 2):.3f}, in batches {in_batches(durations, 2):.3f}; goal at least 0.95")


def processes(words: list[str]) -> None:
    """Measure one and two local processes."""
    runs, ratios, bounds = ["run.seed=range(18)", "train.steps=300", *QUICK, *words], [], []
    with tempfile.TemporaryDirectory() as name:
        for turn in range(3):
            one, spans = sweep(Path(name), f"one{turn}", runs)
            two, _ = sweep(Path(name), f"two{turn}", [*runs, "hydra.sweeper.n_jobs=2"])
            later = spans[-1][1] - spans[1][1]
            ratios.append(two / one)
            bounds.append((one - later + later * 14 / 16 / 2) / one)
            print(f"one process {one:.1f} s, of which {later:.1f} s after its second run; two {two:.1f} s", flush=True)
    bound = f"{statistics.median(bounds):.2f} is the least"
    print(f"two processes: {statistics.median(ratios):.2f} of the time of one; goal at most 0.65, {bound}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="of a run, by default 300, with --slots of the shortest, 6000")
    parser.add_argument("--runs", type=int, default=18, help="rounded up to a multiple of three")
    parser.add_argument("--units", type=int, default=1, help="sizes of the layer")
    parser.add_argument("words", nargs="*", help="more overrides, such as tracking.plots=false")
    parser.add_argument("--slots", action="store_true", help="measure how busy two local workers are")
    parser.add_argument("--processes", action="store_true", help="measure two local processes beside one")
    given = parser.parse_args()
    if given.slots:
        slots(given.words, given.steps or 6000)
        return
    if given.processes:
        processes(given.words)
        return
    count = -(-given.runs // (3 * given.units))
    rates = ",".join(str(round(0.01 / (1 + place), 6)) for place in range(count))
    units = ",".join(str(256 + 16 * place) for place in range(given.units))
    steps = f"train.steps={given.steps or 300}"
    varied = ("run.seed=range(3)", f"optimizer.learning_rate={rates}", f"network.layers.layer1.units={units}")
    total = 3 * count * given.units
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [
            *(sys.executable, "-m", "expkit", "train", "-m", *varied, steps, *given.words),
            *(f"run.folder={folder}", f"hydra.sweep.dir={folder}/sweep"),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
        last = begun = time.perf_counter()
        rows: list[tuple[float, float, float, float]] = []
        before = 0.0
        print(f"{'run':>3}{'seconds':>10}{'training':>10}{'besides':>10}{'processor':>11}{'MB':>8}")
        while process.poll() is None or len(finished(folder)) > len(rows):
            for run in finished(folder)[len(rows) :]:
                now = time.perf_counter()
                (training,) = _TRAINING.findall((run / "run.log").read_text())
                used = processor_seconds(process.pid)
                rows.append((now - last, float(training), used - before, resident_megabytes(process.pid)))
                seconds, trained, processor, megabytes = rows[-1]
                shown = f"{seconds:10.2f}{trained:10.2f}{seconds - trained:10.2f}{processor:11.2f}{megabytes:8.0f}"
                print(f"{len(rows):3}{shown}", flush=True)
                last, before = now, used
            time.sleep(0.02)
        ended = time.perf_counter()
        if process.returncode != 0 or len(rows) != total:
            raise SystemExit(f"{' '.join(command)}\nended with {process.returncode} after {len(rows)} runs")
    besides = statistics.median(seconds - trained for seconds, trained, *_ in rows[1:])
    processor = statistics.median(row[2] for row in rows[2:-1])
    first = 10 if total >= 20 else 3
    memory = [row[3] for row in rows[first - 1 :] if row[3]]
    growth = statistics.linear_regression(range(len(memory)), memory).slope
    print(f"besides the steps: the first run {rows[0][0] - rows[0][1]:.2f} s, goal at most {FIRST_GOAL}")
    print(f"imports alone: TensorFlow {alone('tensorflow.compat.v1'):.2f} s, MLflow {alone('mlflow'):.2f} s")
    print(f"besides the steps: {besides:.2f} s a run, goal at most {GOAL}")
    print(
        f"processor time, steps included: the first run {rows[0][2]:.2f} s, {processor:.2f} s a run from the third on"
    )
    print(f"the whole sweep: {ended - begun:.1f} s, of which {ended - last:.1f} s after its last run")
    print(f"memory: {growth:+.2f} MB a run from run {first} on, {memory[0]:.0f} to {memory[-1]:.0f} MB")


if __name__ == "__main__":
    main()
