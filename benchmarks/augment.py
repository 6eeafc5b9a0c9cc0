"""Speed of training with augmentation beside the same training without it, in one run.

Usage: python benchmarks/augment.py [--rounds 5] [--seconds 3] [--workload cnn]

The networks of benchmarks/steps.py on 20,000 random images of 28 by 28 pixels. The trainings take turns in one process,
in the execution mode that expkit chooses for the first: ``resident``, whose session holds the images; ``streamed``,
whose batches a thread gathers; and ``augmented``, where that thread also changes them: flip, random crop with a padding
of 4, brightness. The table gives the median of steps per second, and of the ratio to ``resident`` in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from steps import HERE, WORKLOADS, experiment

STEPS = ("kind: flip, horizontal: true", "kind: random_crop, padding: 4", "kind: brightness, max_delta: 0.1")
AUGMENT = f"+data.augment={{image: [{', '.join(f'{{{step}, shape: [28, 28, 1]}}' for step in STEPS)}]}}"
TRAININGS = {
    "resident": ["data.placement=resident"],
    "streamed": ["data.placement=streamed"],
    "augmented": [AUGMENT],
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--workload", choices=WORKLOADS, default="cnn")
    given = parser.parse_args()
    from expkit.config.load import load
    from expkit.data.dataset import load_dataset
    from expkit.preflight import check
    from expkit.training.autotune import choose
    from expkit.training.graphs import train_graph
    from expkit.training.sessions import Executor

    executors: dict[str, Executor] = {}
    with tempfile.TemporaryDirectory() as folder:
        words = experiment(WORKLOADS[given.workload], Path(folder))
        for name, own in TRAININGS.items():
            checked = check(load([*words, *own], [str(HERE / "conf")]))
            dataset = load_dataset(checked.config, checked.spec)
            if not executors:
                choice, executors[name] = choose(checked, dataset)
                print(choice)
            else:
                executors[name] = Executor(train_graph(checked, dataset, choice.execution))
            executors[name].initialize()
            executors[name].run(choice.execution.steps_per_execution)

    def speed(executor: Executor) -> float:
        executor.run(choice.execution.steps_per_execution // 2)  # Blocks that were prepared before its turn.
        done, begun = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < given.seconds:
            executor.run(choice.execution.steps_per_execution)
            done += choice.execution.steps_per_execution
        return done / elapsed

    rounds = [{name: speed(executor) for name, executor in executors.items()} for _ in range(given.rounds)]
    print(f"{given.workload:12} {'steps/s':>10} {'ratio':>8}")
    for name in TRAININGS:
        ratios = [one[name] / one["resident"] for one in rounds]
        speeds = [one[name] for one in rounds]
        print(f"{name:12} {statistics.median(speeds):10,.1f} {statistics.median(ratios):8.3f}")
    for executor in executors.values():
        executor.close()


if __name__ == "__main__":
    main()
