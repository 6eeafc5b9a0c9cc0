"""A program that runs experiments in children forked from itself and kills them: TensorFlow is imported only once.

Usage: PYTHONPATH=tests python -m support.forked_runs FOLDER SEED KILLS

It kills one run again and again, at moments drawn from the seed: half of them anywhere from the start of the process
on, the others while a checkpoint is being written. Then it lets the run end, and lets another one train without a stop.
The last line that it prints is a JSON object: what it did, and the folders.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from expkit import tf1 as tf
from expkit.config.load import plain_yaml
from expkit.config.schema import Config
from expkit.preflight import check
from expkit.runs.job import Job, run_job
from support.experiments import config_of, examples

FEW_STEPS = 40
"""How many steps the run does after the last kill."""
NETWORK = {
    "inputs": {"x": {"shape": [600]}},
    "layers": {
        "first": {"kind": "dense", "units": 600, "activation": "relu"},
        "norm": {"kind": "batch_norm"},
        "drop": {"kind": "dropout", "rate": 0.5},
        "logits": {"kind": "dense", "units": 3},
    },
    "outputs": {"logits": "logits"},
}
"""All that has a memory or is random, and enough numbers for a save to take a while."""


def config(folder: Path, **train: object) -> Config:
    """Return the experiment."""
    clock = {"log_every_steps": 5, "evaluate_every_steps": 10, "save_every_steps": 3, "keep_last": 2, "batch_size": 8}
    return config_of(
        folder,
        examples((600,), 60),
        network=NETWORK,
        optimizer={"kind": "adam", "learning_rate": 0.001},
        train={
            **clock,
            "steps": 10**6,
            "jit_compile": False,
            "parallelism": "intra_op",
            "best_metric": "valid/loss/ema",
            "best_mode": "min",
            "losses": {"main": {"kind": "sparse_softmax_cross_entropy"}},
            "metrics": {"accuracy": {"kind": "accuracy"}},
            **train,
        },
        export={"enabled": False},
    )


def begin(experiment: Config, run: Path, output: Path) -> int:
    """Start a process that runs the experiment; return its id."""
    child = os.fork()
    if child == 0:
        try:
            for stream, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(output.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            code = run_job(Job(checked=check(experiment), folder=run, overrides=(), recorder=None)).exit_code
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(9)
        os._exit(code)
    return child


def end(child: int) -> None:
    """Wait for a process; its exit code must be 0."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        sys.exit(f"a run ended with {code}")


def partial(run: Path) -> set[tuple[str, int]]:
    """Return the checkpoints that are being written: name and number of their folders."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as found:
        return {
            (item.name, item.inode())
            for item in found
            if item.name.startswith(".step-") and item.name.endswith(".partial")
        }


def kill(experiment: Config, run: Path, output: Path, draw: random.Random) -> bool:
    """Start a process and kill it at a random moment; return whether it was inside a save of its own."""
    left = partial(run)
    child = begin(experiment, run, output)
    if draw.random() < 0.5:
        time.sleep(draw.uniform(0, 0.8))
    else:
        seen: set[tuple[str, int]] = set()
        wanted = draw.randint(1, 2)
        while len(seen) < wanted:
            seen |= partial(run) - left
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
        sys.exit("a run ended before it was killed")
    return bool(partial(run) - left)


def main() -> None:
    """Kill again and again, then run to the end, and once without a stop."""
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    experiment = config(folder)
    run, unbroken, output = folder / "killed", folder / "unbroken", folder / "output"
    tf.tensorflow_version()
    plain_yaml(experiment)  # pydantic completes its serializers when they are first used
    gc.freeze()
    draw = random.Random(seed)
    inside = sum(kill(experiment, run, output, draw) for _ in range(kills))
    reached = max((int(item.name[5:]) for item in (run / "checkpoints").glob("step-*")), default=0)
    steps = reached + FEW_STEPS
    whole = begin(config(folder, steps=steps, save_every_steps=steps, keep_last=1), unbroken, output)
    end(begin(config(folder, steps=steps), run, output))
    end(whole)
    told = {"seed": seed, "kills": kills, "inside a save": inside, "reached": reached, "steps": steps}
    print(json.dumps({**told, "run": str(run), "unbroken": str(unbroken)}))


if __name__ == "__main__":
    main()
