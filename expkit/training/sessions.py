"""Executors: sessions that run training steps and evaluation passes of finalized graphs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.batches import block_steps
from expkit.errors import CheckpointError, ConfigError, DamagedCheckpointError, Problem, error_message
from expkit.kinds.sources.base import Arrays
from expkit.training.graphs import EvaluateGraph, InferGraph, TrainGraph
from expkit.training.state import SumArrays

__all__ = ["Evaluator", "Executor", "Predictor", "add_sums", "results"]

LONGEST_CALL_SECONDS = 0.5
"""How long a call of the session may take before fewer steps go into it, so that Ctrl-C is answered."""

Values = Mapping[str, np.ndarray]
"""Values of variables, by name."""


def assign(session: Any, variables: Mapping[str, Any], values: Values) -> None:
    """Put values into variables through their initializers, which adds nothing to a finalized graph."""
    initializers = {name: variables[name].initializer for name in values}
    session.run(
        list(initializers.values()),
        {initializer.inputs[1]: np.asarray(values[name]) for name, initializer in initializers.items()},
    )


def add_sums(total: SumArrays, more: Mapping[str, Mapping[str, Any]]) -> None:
    """Add statistics to a running total, in float64."""
    for name, statistics in more.items():
        into = total.setdefault(name, {})
        for key, value in statistics.items():
            into[key] = into.get(key, np.float64(0)) + np.asarray(value, np.float64)


def results(config: Config, sums: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the numbers that statistics stand for: losses and metrics by name."""
    metrics = config.train.metrics
    return {
        name: metrics[name].result(statistics) if name in metrics else float(statistics["sum"] / statistics["count"])
        for name, statistics in sums.items()
    }


class _Session:
    """A session on a finalized graph, released when the ``with`` block ends."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._released = ExitStack()
        self._released.callback(self._session.close)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self._released.close()


class Executor(_Session):
    """Runs training steps."""

    def __init__(self, built: TrainGraph) -> None:
        """Open a session that holds the training examples, or prepares blocks of them.

        Raises:
            ConfigError: products are to be computed in bfloat16 on a processor that has none.
        """
        bfloat16 = built.execution.precision == "bfloat16"
        if bfloat16 and not tf.has_bfloat16():
            raise ConfigError(
                Problem(
                    "train.precision",
                    "bfloat16 needs a processor with AVX-512 or AVX-NE-CONVERT and oneDNN turned on "
                    "(TF_ENABLE_ONEDNN_OPTS); set float32",
                )
            )
        threads = 1 if built.execution.parallelism == "inter_op" else 0
        super().__init__(tf.training_session(built.graph, bfloat16=bfloat16, threads=threads))
        self._built = built
        self._most = min(built.execution.steps_per_execution, 2)  # how slow steps are is not known yet
        self._session.run(built.supply.load, dict(built.supply.load_feed))
        self.rate_factor = 1.0
        """What the learning rate is multiplied by; only where the graph was built to roll back."""
        factor = [] if built.rate_factor is None else [built.rate_factor]
        feeds = [built.count, *factor, *built.supply.feeds]
        state = [built.after, built.learning_rate]
        self._run = self._session.make_callable([built.run, dict(built.sums), state], feed_list=feeds)
        self._state = self._session.make_callable(state, feed_list=[built.count])
        self._known: tuple[int, np.float32] | None = None
        """Step and learning rate as the graph has them; ``None`` where they may have changed."""
        self._ready: int | None = None
        """Number of the block of batches that the session has ready; ``None`` where it is not known."""
        self._stream = built.open_stream() if built.open_stream is not None else None
        if self._stream is not None:
            self._released.callback(self._stream.close)

    def initialize(self) -> None:
        """Give every variable its initial value, whatever it has been."""
        self._known = None
        for part in self._built.initialize:
            self._session.run(part)

    def load(self, values: Values) -> None:
        """Put values into variables."""
        self._known = None
        assign(self._session, self._built.variables, values)

    def restore(self, prefix: str) -> None:
        """Load every variable from a checkpoint of this graph; no initializer runs.

        Raises:
            DamagedCheckpointError: a value is not the one that was written.
            CheckpointError: the checkpoint is not of this graph.
        """
        self._known = None
        try:
            with self._built.graph.as_default():
                self._built.saver.restore(self._session, prefix)
        except (tf.errors.DataLossError, tf.errors.OutOfRangeError) as error:
            raise DamagedCheckpointError.at(prefix, f"damaged: {error_message(error)}") from None
        except (tf.errors.OpError, ValueError) as error:
            raise CheckpointError.at(
                prefix, f"not of this network: {error_message(error)}; begin a new run, with restore.from={prefix}"
            ) from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all that a checkpoint holds."""
        return tuple(self._built.variables)

    def values(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the values of variables as they are now; later steps do not change them."""
        return dict(self._session.run({name: self._built.variables[name] for name in names}))

    def snapshot(self) -> Callable[[str], bool]:
        """Hold the values of all variables as they are now; later steps do not change them.

        Returns:
            What writes them to a prefix, once, in any thread, and tells whether all that training changes are finite.
        """
        of = self._built.snapshot
        self._session.run(of.take)
        return lambda prefix: bool(self._session.run([of.finite, of.write], {of.prefix: prefix})[0])

    @property
    def step(self) -> int:
        """Steps done since training began."""
        step, _ = self._step_and_rate
        return step

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        _, rate = self._step_and_rate
        return float(rate if self._built.rate_factor is None else rate * np.float32(self.rate_factor))

    def run(self, steps: int) -> SumArrays:
        """Do steps; return the statistics summed over their batches.

        Raises:
            DataError: training examples on disk cannot be read.
        """
        total: SumArrays = {}
        factor = [] if self._built.rate_factor is None else [self.rate_factor]
        most = self._built.execution.steps_per_execution
        while steps > 0:
            number, place = divmod(self.step, most)
            count = min(self._most, steps, most - place)
            fed = self._fed(number, place)
            begun, self._known, self._ready = time.perf_counter(), None, None
            _, sums, (step, rate) = self._run(count, *factor, *fed)
            self._known, self._ready = (int(step), rate), int(step) // most
            add_sums(total, sums)
            took = time.perf_counter() - begun
            self._most = max(1, min(most, int(count * LONGEST_CALL_SECONDS / took)))
            steps -= count
        return total

    @property
    def _step_and_rate(self) -> tuple[int, np.float32]:
        if self._known is None:
            step, rate = self._state(0)
            self._known = int(step), rate
        return self._known

    def _fed(self, number: int, place: int) -> list[Any]:
        """Make sure that a block of batches is ready; return what a call that begins at a place of it is fed."""
        if self._stream is not None:
            return [place, *self._stream.block(number).values()]
        if number != self._ready:
            self._ready = None
            self._session.run(self._built.supply.fill)
        return []


class Evaluator(_Session):
    """Runs evaluation passes; it has variables of its own, so training values cannot change."""

    def __init__(self, built: EvaluateGraph, config: Config, *, plain: bool = False) -> None:
        """Open a session; a ``plain`` one runs the graph as it is written."""
        super().__init__(tf.plain_session(built.graph) if plain else tf.Session(graph=built.graph))
        self._built = built
        self._config = config
        feeds = list(built.fields.values())
        self._sums = self._session.make_callable(dict(built.sums), feed_list=feeds)
        self._outputs = self._session.make_callable(dict(built.outputs), feed_list=feeds)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables to load: the network's and the averages."""
        return tuple(self._built.variables)

    def load(self, values: Values) -> None:
        """Put values into variables."""
        assign(self._session, self._built.variables, values)

    def evaluate(self, arrays: Arrays) -> dict[str, float]:
        """Return losses and metrics over all examples; averaged ones end in ``/ema``.

        It is one call of the session, which goes from batch to batch itself, for every 64 MiB of examples.
        """
        totals: dict[str, SumArrays] = {weights: {} for weights in self._built.sums}
        fields = {name: arrays[name] for name in self._built.fields}
        size = self._config.train.evaluation_batch_size
        total = len(next(iter(fields.values())))
        for part in _parts(fields, size * block_steps(fields, total, size)):
            for weights, sums in self._sums(*part).items():
                add_sums(totals[weights], sums)
        named = {"raw": "", "ema": "/ema"}
        return {
            f"{name}{named[weights]}": value
            for weights, total in totals.items()
            for name, value in results(self._config, total).items()
        }

    def outputs(self, arrays: Arrays) -> dict[str, dict[str, np.ndarray]]:
        """Return the network's outputs on all examples, by weights and output name."""
        fields = {name: arrays[name] for name in self._built.fields}
        batches = [self._outputs(*part) for part in _parts(fields, self._config.train.evaluation_batch_size)]
        return {
            weights: {name: np.concatenate([batch[weights][name] for batch in batches]) for name in outputs}
            for weights, outputs in self._built.outputs.items()
        }


class Predictor(_Session):
    """Runs the inference graph, as it is written."""

    def __init__(self, built: InferGraph) -> None:
        super().__init__(tf.plain_session(built.graph))
        self._built = built

    @property
    def session(self) -> Any:
        """The session, for freezing."""
        return self._session

    def load(self, values: Values) -> None:
        """Put values into variables."""
        assign(self._session, self._built.variables, values)

    def predict(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the outputs of a batch of inputs."""
        feed = {self._built.inputs[name]: inputs[name] for name in self._built.inputs}
        return dict(self._session.run(dict(self._built.outputs), feed))


def _parts(fields: Arrays, size: int) -> Iterable[list[np.ndarray]]:
    for start in range(0, len(next(iter(fields.values()))), size):
        yield [array[start : start + size] for array in fields.values()]
