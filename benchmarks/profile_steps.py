"""The time of a training step by operation, or by the parts that XLA compiled it to.

Usage: python benchmarks/profile_steps.py [--workload mlp_500] [--jit-compile auto|update|true|false] [--most 20]

Trains a workload of benchmarks/steps.py with expkit's executor, without MLflow, and lets TensorFlow's profiler watch
some of its steps. Two threads work at once, so the fractions of a step's time may add up to 2.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from steps import HERE, WORKLOADS, experiment

_NO_WORK = re.compile(r"(end: |Thread|Executor|Session|ParallelFor|CpuExecutable|Block|Slinky|while$)")


def seconds_by_operation(folder: Path) -> dict[str, tuple[int, float]]:
    """Return how often each operation ran, and for how long in all, from a profile."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(next(folder.rglob("*.xplane.pb")).read_bytes())
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = re.sub(r"^while/body/_\d+/", "", plane.event_metadata[event.metadata_id].name)
                if not _NO_WORK.match(name):
                    count, seconds = found[name]
                    found[name] = count + 1, seconds + event.duration_ps / 1e12
    return found


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="mlp_500", choices=WORKLOADS)
    parser.add_argument("--jit-compile", default="auto", choices=("auto", "update", "true", "false"))
    parser.add_argument("--most", type=int, default=20, help="rows")
    given = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_enable_xprof_traceme=true"
    from expkit.config.load import load
    from expkit.data.dataset import load_dataset
    from expkit.preflight import check
    from expkit.training.autotune import choose

    with tempfile.TemporaryDirectory() as name:
        work = WORKLOADS[given.workload]
        overrides = [*experiment(work, Path(name)), f"train.jit_compile={given.jit_compile}"]
        config = load(overrides, [str(HERE / "conf")])
        checked = check(config)
        dataset = load_dataset(config, checked.spec)
        choice, executor = choose(checked, dataset)
        with executor:
            executor.initialize()
            for steps in (1, 4, 20, 100):
                executor.run(steps)
            from tensorflow import profiler

            steps, begun = 0, time.perf_counter()
            profiler.experimental.start(name)
            while time.perf_counter() - begun < 0.5:
                executor.run(100)
                steps += 100
            took = time.perf_counter() - begun
            profiler.experimental.stop()
        found = seconds_by_operation(Path(name))
    step = took / steps
    print(f"{given.workload}: {choice}; {step * 1e3:.3f} ms a step while watched")
    print(f"{'share':>6}{'us a step':>11}  operation")
    for operation, (_, seconds) in sorted(found.items(), key=lambda item: -item[1][1])[: given.most]:
        print(f"{seconds / took:6.2f}{seconds / steps * 1e6:11.1f}  {operation}")


if __name__ == "__main__":
    main()
