"""Sessions that run finalized graphs: training steps, evaluation passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.batches import chunk_steps
from expkit.data.order import consecutive, in_lanes
from expkit.errors import CheckpointError, ConfigError, DamagedCheckpointError, error_message
from expkit.kinds.sources.base import Fields
from expkit.metric_names import EMA
from expkit.training.execution import Execution
from expkit.training.graphs import EvaluateGraph, TrainGraph
from expkit.training.session import Session, Values, assign
from expkit.training.state import StatisticArrays
from expkit.training.sums import add_statistics, results

__all__ = ["Evaluator", "Executor"]

LONGEST_CALL_SECONDS = 0.5
"""Duration of a session call above which the next does fewer steps, so that Ctrl-C is answered."""


class Executor(Session):
    """Runs training steps."""

    def __init__(self, built: TrainGraph, numbers: Mapping[str, float | int] | None = None) -> None:
        """Open a session that holds the training examples, or prepares chunks of them.

        Args:
            built: the graph.
            numbers: those that the graph is fed, by name.

        Raises:
            ConfigError: the precision is bfloat16, which the processor does not have.
        """
        bfloat16 = built.execution.precision == "bfloat16"
        if bfloat16 and not tf.has_bfloat16():
            raise ConfigError.at(
                "train.precision",
                "bfloat16 needs a processor with AVX-512 or AVX-NE-CONVERT and oneDNN turned on "
                "(TF_ENABLE_ONEDNN_OPTS); set float32",
            )
        threads = 1 if built.execution.parallelism == "inter_op" else 0
        super().__init__(tf.training_session(built.graph, bfloat16=bfloat16, threads=threads))
        self._built = built
        self._session.run(built.batches.load, dict(built.batches.load_feed))
        self._start(numbers or {})
        factor = [] if built.rate_factor is None else [built.rate_factor]
        fed = list(built.numbers.values())
        feeds = [built.count, *factor, *fed, *built.batches.feeds]
        state = [built.next_step, dict(built.learning_rates)]
        self._run = self._session.make_callable([built.run, dict(built.statistics), state], feed_list=feeds)
        self._state = self._session.make_callable(state, feed_list=[built.count, *fed])
        self._stream = built.open_stream() if built.open_stream is not None else None
        if self._stream is not None:
            self._released.callback(self._stream.close)

    def _start(self, numbers: Mapping[str, float | int]) -> None:
        self._numbers = [numbers[name] for name in self._built.numbers]
        self._call_steps = min(self._built.execution.steps_per_execution, 2)  # Their duration is not known yet.
        self.rate_factor = 1.0
        """Factor of the learning rate; only where the graph was built to roll back."""
        self._known: tuple[int, Mapping[str, np.float32]] | None = None
        """Step and learning rates in the graph; ``None`` where they may have changed."""
        self._ready: int | None = None
        """Number of the chunk of batches that the session has ready; ``None`` where unknown."""

    def renew(self, numbers: Mapping[str, float | int], examples: Fields | None) -> None:
        """Start another run in the same session, with variables that are not initialized.

        Args:
            numbers: those that the graph is fed, by name.
            examples: training examples in place of those that the session holds; ``None`` to keep them.
        """
        self._start(numbers)
        if examples is not None:
            feed = zip(self._built.batches.load_feed, examples.values(), strict=True)
            self._session.run(self._built.batches.load, {placeholder: array[:] for placeholder, array in feed})

    @property
    def _fed_numbers(self) -> dict[Any, float | int]:
        return dict(zip(self._built.numbers.values(), self._numbers, strict=True))

    def initialize(self) -> None:
        """Give every variable its initial value."""
        self._known = None
        for operation in self._built.initialize:
            self._session.run(operation, self._fed_numbers)

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
                prefix, f"not of this network: {error_message(error)}; start a new run, with restore.from={prefix}"
            ) from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables of a checkpoint."""
        return tuple(self._built.variables)

    def values(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the values of variables as they are now; later steps do not change them."""
        return dict(self._session.run({name: self._built.variables[name] for name in names}))

    def snapshot(self) -> Callable[[str], bool]:
        """Hold the values of all variables as they are now; later steps do not change them.

        Returns:
            A function that writes them to a prefix, once, in any thread; it returns whether all values that training
            changes are finite.
        """
        snapshot = self._built.snapshot
        self._session.run(snapshot.take)
        return lambda prefix: bool(self._session.run([snapshot.finite, snapshot.write], {snapshot.prefix: prefix})[0])

    @property
    def execution(self) -> Execution:
        """The execution mode in use."""
        return self._built.execution

    @property
    def step(self) -> int:
        """Steps done since training began."""
        step, _ = self._step_and_rates
        return step

    @property
    def learning_rates(self) -> dict[str, float]:
        """Learning rates of the last step done, by the name they are recorded under; before any, of the first."""
        _, rates = self._step_and_rates
        factor = np.float32(self.rate_factor if self._built.rate_factor is not None else 1)
        return {name: float(rate * factor) for name, rate in rates.items()}

    def run(self, steps: int, interrupted: Callable[[], bool] = lambda: False) -> StatisticArrays:
        """Run steps; return the statistics summed over their batches.

        Args:
            steps: how many, at least 1.
            interrupted: True to end after the session call in progress, with fewer steps done.

        Raises:
            DataError: training examples on disk cannot be read.
        """
        total: StatisticArrays = {}
        factor = [] if self._built.rate_factor is None else [self.rate_factor]
        chunk_size = self._built.execution.steps_per_execution
        while True:
            number, index = divmod(self.step, chunk_size)
            count = min(self._call_steps, steps, chunk_size - index)
            fed = self._fed(number, index)
            begun, self._known, self._ready = time.perf_counter(), None, None
            _, statistics, (step, rates) = self._run(count, *factor, *self._numbers, *fed)
            self._known, self._ready = (int(step), rates), int(step) // chunk_size
            add_statistics(total, statistics)
            seconds = time.perf_counter() - begun
            self._call_steps = max(1, min(chunk_size, int(count * LONGEST_CALL_SECONDS / seconds)))
            steps -= count
            if steps <= 0 or interrupted():
                return total

    @property
    def _step_and_rates(self) -> tuple[int, Mapping[str, np.float32]]:
        if self._known is None:
            step, rates = self._state(0, *self._numbers)
            self._known = int(step), rates
        return self._known

    def _fed(self, number: int, index: int) -> list[Any]:
        """Make sure that a chunk of batches is ready; return the feeds of a call that starts at an index in it."""
        if self._stream is not None:
            return [index, *self._stream.chunk(number).values()]
        if number != self._ready:
            self._ready = None
            self._session.run(self._built.batches.fill, self._fed_numbers)
        return []


class Evaluator(Session):
    """Runs evaluation passes; it has variables of its own, so training values cannot change."""

    def __init__(self, built: EvaluateGraph, config: Config, *, plain: bool = False) -> None:
        """Open a session; a ``plain`` one runs the graph as it is written."""
        super().__init__(tf.plain_session(built.graph) if plain else tf.Session(graph=built.graph))
        self._built = built
        self._config = config
        self._state = tf.nest.flatten(built.state)
        feeds = list(built.fields.values())
        statistics = [dict(built.statistics), tf.nest.flatten(built.next_state)]
        step = [] if built.step is None else [built.step]
        self._statistics = self._session.make_callable(statistics, feed_list=[*step, *feeds, *self._state])
        self._outputs = self._session.make_callable(dict(built.outputs), feed_list=feeds)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables to load: the network's and their EMA."""
        return tuple(self._built.variables)

    def load(self, values: Values) -> None:
        """Put values into variables."""
        assign(self._session, self._built.variables, values)

    def evaluate(self, arrays: Fields, step: int) -> dict[str, float]:
        """Return losses and metrics over all examples; those of the EMA network end in ``/ema``.

        Arguments are those of ``statistics``.
        """
        return self.results(self.statistics(arrays, step))

    def statistics(self, arrays: Fields, step: int) -> dict[str, StatisticArrays]:
        """Return the summed statistics of losses and metrics over all examples, by weights.

        One session call goes through all batches of up to 64 MiB of examples. Where layers carry a state, a batch has
        the next example of each lane, and lanes start with zeros.

        Args:
            arrays: the examples.
            step: number of steps done; a loss's weight that is a schedule is that of the last one.
        """
        fed = [] if self._built.step is None else [max(step - 1, 0)]
        totals: dict[str, StatisticArrays] = {weights: {} for weights in self._built.statistics}
        size, total = self._config.train.evaluation_batch_size, len(next(iter(arrays.values())))
        laid = in_lanes(arrays, size) if self._state else arrays
        fields = {name: laid[name] for name in self._built.fields}
        state = [np.zeros((size, *item.shape[1:]), item.dtype.as_numpy_dtype) for item in self._state]
        for batch in consecutive(fields, size * chunk_steps(fields, total, size)):
            found, state = self._statistics(*fed, *batch, *state)
            for weights, statistics in found.items():
                add_statistics(totals[weights], statistics)
        return totals

    def results(self, statistics: Mapping[str, StatisticArrays]) -> dict[str, float]:
        """Return losses and metrics from summed statistics."""
        suffixes = {"raw": "", "ema": f"/{EMA}"}
        return {
            f"{name}{suffixes[weights]}": value
            for weights, sums in statistics.items()
            for name, value in results(self._config, sums).items()
        }

    def outputs(self, arrays: Fields) -> dict[str, dict[str, np.ndarray]]:
        """Return the network's outputs on all examples, by weights and output name; state starts with zeros."""
        return self._computed(self._outputs, {name: arrays[name] for name in self._built.fields})

    def served_outputs(self, inputs: Fields) -> dict[str, dict[str, np.ndarray]]:
        """Return the outputs that the frozen graph has, for its inputs, by weights and output name."""
        fetches = {weights: dict(outputs) for weights, outputs in self._built.served_outputs.items()}
        run = self._session.make_callable(fetches, feed_list=list(self._built.served_inputs.values()))
        return self._computed(run, {name: inputs[name] for name in self._built.served_inputs})

    def _computed(self, run: Callable[..., Any], fields: Fields) -> dict[str, dict[str, np.ndarray]]:
        batches = [run(*batch) for batch in consecutive(fields, self._config.train.evaluation_batch_size)]
        return {
            weights: {name: np.concatenate([batch[weights][name] for batch in batches]) for name in outputs}
            for weights, outputs in batches[0].items()
        }
