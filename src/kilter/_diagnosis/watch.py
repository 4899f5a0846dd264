"""Watching a training step by step: the loss of each batch, the time it takes, and readings of the layers."""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.training import check_finite, check_gradients, check_units
from kilter._diagnosis.context import Context, Timing
from kilter._diagnosis.thresholds import Thresholds, seen
from kilter._engine.measuring import Reader, measurements
from kilter._models.variables import pull
from kilter._records import Evidence, Finding
from kilter._system import resident_memory

# A reading costs about one and a half steps on its rows; all of them at most this share of the training.
SHARE: Final = 0.01
_COST: Final = 1.5
_FIRST: Final = 10
_MEMORY: Final = 50
_ROWS: Final = 128
_COMPILING: Final = tuple(
    f"/jax/core/compile/{name}_duration" for name in ("jaxpr_to_mlir_module", "backend_compile")
)


@dataclass(frozen=True)
class Place:
    """Where in a training run: epoch from 0, batch of the epoch from 0, and steps taken."""

    epoch: int
    batch: int
    step: int

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, batch {self.batch + 1}"


class BatchLosses:
    """The loss of each batch out of the running means that Keras reports, and what is wrong with it."""

    def __init__(self, limits: Thresholds) -> None:
        self._limits = limits
        self._recent: deque[float] = deque(maxlen=_MEMORY)
        self._sum, self._count = 0.0, 0
        self._batch = -1

    def begin_epoch(self) -> None:
        """Running means start again."""
        self._sum, self._count, self._batch = 0.0, 0, -1

    def see(self, place: Place, mean: float) -> Finding | None:
        """The finding about the batches since the last call, given the running mean; None if all is well."""
        count = place.batch + 1
        first, self._batch = self._batch + 1, place.batch
        loss = (mean * count - self._sum) / max(count - self._count, 1)
        self._sum, self._count = mean * count, count
        if not math.isfinite(mean):
            detail = f"in the loss of {self._between(place, first)}, after {place.step} steps"
            return finding("non-finite", "severe", ("loss",), detail=detail)
        usual = float(np.median(self._recent)) if len(self._recent) >= _MEMORY // 5 else math.inf
        self._recent.append(loss)
        limit = self._limits.spike
        if usual <= 0 or not loss > limit * usual:
            return None
        evidence = [
            seen(self._limits, "spike", "loss of the batch over that of the batches before", loss / usual),
            Evidence("batch", f"{self._between(place, first)}"),
        ]
        where = self._between(place, first)
        detail = f"The loss rose from {usual:.4g} to {loss:.4g} at {where}, after {place.step} steps"
        return finding("loss-spike", "warning", ("training",), evidence, detail=detail)

    @staticmethod
    def _between(place: Place, first: int) -> str:
        if first >= place.batch:
            return str(place)
        return f"epoch {place.epoch + 1}, batches {first + 1} to {place.batch + 1}"


class Stopwatch:
    """Where the time of a training loop goes, by epoch.

    Time that JAX reports as compiling does not count as computing. What happens at the end of an epoch, such
    as validation, does not count at all.
    """

    def __init__(self, model: keras.Model) -> None:
        self._computing, self._compiling, self._waiting = list[float](), list[float](), list[float]()
        self._memory: list[int] = []
        self._compiled = self._waited = 0.0
        self._model: Any = model
        self._function = getattr(model, "train_function", None)
        if self._function is not None:  # in Keras's own loop
            self._model.train_function = self._run
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        self.resume()

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self._compiled += duration_secs if event in _COMPILING else 0.0

    def begin_epoch(self) -> None:
        """Count for the next epoch."""
        for column in (self._computing, self._compiling, self._waiting):
            column.append(0.0)
        self.resume()

    def end_epoch(self) -> None:
        """Note the memory in use."""
        self._memory.append(resident_memory())

    def resume(self) -> None:
        """Count from now on; what was done since the last lap is left out."""
        self._began = time.perf_counter(), self._compiled, self._waited

    def lap(self) -> None:
        """Count the time of a step."""
        before = self._began
        self.resume()
        seconds, compiling, waiting = (now - then for now, then in zip(self._began, before, strict=True))
        self._compiling[-1] += compiling
        self._computing[-1] += max(seconds - compiling, 0.0)
        self._waiting[-1] += waiting

    def _run(self, state: Any, batches: Iterator[Any]) -> Any:
        """The train function of Keras, which also counts how long it waits for its batches."""
        assert self._function is not None
        return self._function(state, self._arriving(batches))

    def _arriving(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waited += time.perf_counter() - began
            yield batch

    def stop(self) -> None:
        """Stop listening to JAX, and give the model its train function back, unless it was compiled again.

        Of several, whichever stops last takes all of them off the train function.
        """
        if self._model is None:
            return
        jax.monitoring.unregister_event_duration_listener(self._listen)
        model, self._model = self._model, None
        function = getattr(model, "train_function", None)
        while isinstance(one := getattr(function, "__self__", None), Stopwatch) and one._model is None:
            function = one._function
        model.train_function = function

    def timing(self, steps: int, work: float) -> Timing:
        """What was counted; ``steps`` of an epoch, ``work`` of a step in multiply-adds, 0 if unknown."""
        columns = (tuple(one) for one in (self._computing, self._compiling, self._waiting))
        return Timing(*columns, steps=steps, work=work, memory=tuple(self._memory))


def cadence(rows: int, batch_size: int) -> int:
    """The number of steps between two readings of ``rows`` rows that keeps them at 1 % of the work."""
    return max(_FIRST, math.ceil(_COST * rows / batch_size / SHARE))


class Layers:
    """Readings of the layers on a fixed sample of rows, each judged with those before it."""

    def __init__(self, model: keras.Model, x: Any, y: Any, context: Context) -> None:
        """To be made before the first step: the weights of the start are kept."""
        self._reader = Reader(model, x, y, rows=min(_ROWS, 2 * context.batch_size))
        self._context = context
        self._steps: list[int] = []
        self._read: list[Mapping[str, np.ndarray]] = []
        self._start = [np.array(one) for one in model.trainable_variables]

    @property
    def work(self) -> float:
        """About the work of a training step, in multiply-adds; 0 before the first reading."""
        return self._reader.work * self._context.batch_size / self._reader.rows

    def read(self, model: keras.Model, step: int) -> list[Finding]:
        """The findings in the readings so far, the newest included."""
        self._steps.append(step)
        self._read.append(self._reader.read(pull(model)))
        count = len(self._read)
        unknown = [math.nan] * count
        taken = measurements(self._reader, self._steps, self._read, unknown, [None] * count)
        context = replace(self._context, training=taken)
        found = [one for check in (check_finite, check_gradients, check_units) for one in check(context)]
        return [*found, *(self._unmoved(model, step) if count == 1 else ())]

    def _unmoved(self, model: keras.Model, step: int) -> list[Finding]:
        """Trainable weights that are still what they were at the start."""
        pairs = zip(model.trainable_variables, self._start, strict=True)
        still = [one.path for one, begun in pairs if np.array_equal(np.asarray(one), begun)]
        if not still or len(still) < len(self._start):
            return []  # some may have no gradient yet; that all stand still has another cause
        evidence = [Evidence("trainable weights that did not change", len(still), 0, f"{step} steps")]
        words = {"steps": step, "detail": "every weight"}
        return [finding("weights-not-moving", "severe", ("optimizer",), evidence, **words)]
