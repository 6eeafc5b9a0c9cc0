"""Execution modes of a workload of benchmarks/steps.py, side by side in one process.

Usage: python benchmarks/execution_modes.py [--workload lstm] [--rounds 15] [--batch-size 64] [MODE ...]

A mode is ``train.jit_compile`` and ``train.parallelism``, such as ``update:inter_op``. Each has a session of its own;
the modes take turns in every round, so that all meet the same machine. Prints the median milliseconds per step, and
the median ratio to the first mode of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from steps import HERE, WORKLOADS, experiment

MODES = ("false:intra_op", "false:inter_op", "update:intra_op", "update:inter_op")
TURN_SECONDS = 0.3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="lstm", choices=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, help="the workload's when not given")
    parser.add_argument("modes", nargs="*", default=MODES, metavar="MODE")
    given = parser.parse_args()
    from expkit.config.load import load
    from expkit.data.dataset import load_dataset
    from expkit.preflight import check
    from expkit.training.autotune import choose

    work = WORKLOADS[given.workload]
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        overrides = experiment(work, Path(name))
        if given.batch_size:
            overrides.append(f"train.batch_size={given.batch_size}")
        executors = {}
        for mode in given.modes:
            jit_compile, _, parallelism = mode.partition(":")
            settings = [f"train.jit_compile={jit_compile}", f"train.parallelism={parallelism}"]
            config = load([*overrides, *settings], [str(HERE / "conf")])
            checked = check(config)
            _, executor = choose(checked, load_dataset(config, checked.spec))
            executors[mode] = opened.enter_context(executor)
            executor.initialize()
            executor.run(20)
        seconds: dict[str, list[float]] = {mode: [] for mode in executors}
        for _ in range(given.rounds):
            for mode, executor in executors.items():
                executor.run(5)
                done, begun = 0, time.perf_counter()
                while time.perf_counter() - begun < TURN_SECONDS:
                    executor.run(20)
                    done += 20
                seconds[mode].append((time.perf_counter() - begun) / done)
    first = next(iter(seconds.values()))
    for mode, times in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(times, first, strict=True))
        print(f"{given.workload} {mode:16} {1e3 * statistics.median(times):8.3f} ms per step {ratio:6.2f}")


if __name__ == "__main__":
    main()
