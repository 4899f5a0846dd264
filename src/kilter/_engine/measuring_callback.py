"""Measures a training between epochs, rarely enough to cost almost nothing."""

from typing import Any

import keras
import numpy as np

from kilter._engine.feed import ResidentFeed
from kilter._engine.history import History
from kilter._engine.measuring import Reader, measurements
from kilter._engine.program_cache import shelf
from kilter._models.variables import view
from kilter._validation import is_whole
from kilter.errors import OptionError

# "auto" spends at most this share of the training's work on readings.
SHARE = 0.03
# "auto" reads nothing in shorter runs (multiply-adds, about 20 s on two cores): compiling the reader would
# take most of the time.
LEAST_WORK = 2e11


class Measuring(keras.callbacks.Callback):
    """Reads a copy of the state after epochs, and leaves the readings in ``history.measurements``."""

    def __init__(self, history: History, feed: ResidentFeed, measure: int | str) -> None:
        super().__init__()
        self._history = history
        self._feed = feed
        self._measure = measure
        self._reader: Reader | None = None
        self._trained = 0
        self._steps: list[int] = []
        self._read: list[dict[str, np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Read, if it is due."""
        model: Any = self.model
        self._trained += self._feed.steps
        if not self._is_time(epoch):
            return
        if self._reader is None:
            x, y, sample_weight = self._feed.rows.data
            self._reader = Reader(model, x, y, sample_weight)
        self._read.append(self._reader.read(view(model)))
        self._steps.append(int(model.optimizer.iterations))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Store the readings in the history."""
        if self._reader is not None:
            unknown = [float("nan")] * len(self._read)
            ratios = [None] * len(self._read)
            self._history.measurements = measurements(self._reader, self._steps, self._read, unknown, ratios)

    def _is_time(self, epoch: int) -> bool:
        if isinstance(self._measure, int):
            return (epoch + 1) % self._measure == 0
        cost = None if self.model is None else shelf(self.model).cost("train")
        if cost is None:  # each step runs as Python
            return False
        if self._reader is None:
            epochs = (self.params or {}).get("epochs", 1)
            return cost.work * self._feed.steps * epochs >= LEAST_WORK
        return len(self._read) * self._reader.work <= SHARE * cost.work * self._trained


def measuring(history: History, feed: Any, measure: int | str | None) -> list[keras.callbacks.Callback]:
    """The callback for ``measure=``, if any; :class:`OptionError` if it cannot be done."""
    if measure is not None and measure != "auto" and not is_whole(measure, 1):
        raise OptionError(
            expected='measure as "auto", None, or a number of epochs from 1',
            received=f"measure={measure!r}",
            remedy='leave it at "auto"',
        )
    if measure is None or (measure == "auto" and not isinstance(feed, ResidentFeed)):
        return []
    if not isinstance(feed, ResidentFeed):
        raise OptionError(
            expected="arrays that fit on the device, for measure",
            received=f"measure={measure!r} and data that are streamed",
            remedy="leave measure out, or call kilter.diagnose on a part of the data given as arrays",
        )
    return [Measuring(history, feed, measure)]
