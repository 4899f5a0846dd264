"""Trials that are stopped early: worse than the median of the earlier ones (Golovin et al. 2017)."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import keras
import numpy as np

from kilter.runs.best_epoch import direction_of
from kilter.runs.reading import RunRecords

# Earlier trials than these say too little.
_FEWEST: Final = 4


@dataclass(frozen=True)
class Limits:
    """The best value so far of each earlier trial after each epoch, by the measure that the runs monitor."""

    monitor: str = ""
    curves: tuple[tuple[float, ...], ...] = field(default=(), repr=False)

    def seen(self, runs: Sequence[RunRecords]) -> "Limits":
        """With the curves of further trials."""
        monitor = next((run.result.monitor for run in runs if run.result is not None), None) or self.monitor
        values = ([line.logs.get(monitor, math.nan) for line in run.history] for run in runs)
        curves = (running_best(one, better_of(monitor)) for one in values)
        return replace(self, monitor=monitor, curves=(*self.curves, *curves))

    def callback(self, earlier: Sequence[Mapping[str, float]] = ()) -> keras.callbacks.Callback:
        """A callback that ends the training where its best value is worse than the median.

        ``earlier``: the logs of the epochs that a resumed training has behind it.
        """
        values = [float(logs.get(self.monitor, math.nan)) for logs in earlier]
        return _Stopping(self.monitor, [self._median(epoch) for epoch in range(self._epochs)], values)

    @property
    def _epochs(self) -> int:
        return max(map(len, self.curves), default=0)

    def _median(self, epoch: int) -> float:
        """The median of the trials that came to this epoch; NaN, which stops nothing, of too few."""
        there = [curve[epoch] for curve in self.curves if len(curve) > epoch]
        finite = [value for value in there if math.isfinite(value)]
        return float(np.median(finite)) if len(finite) >= _FEWEST else math.nan


class _Stopping(keras.callbacks.Callback):
    kilter_chunked = True

    def __init__(self, monitor: str, limits: Sequence[float], values: Sequence[float]) -> None:
        super().__init__()
        self._monitor, self._limits, self._values = monitor, limits, values
        self._better = better_of(monitor)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        # A resumed training may begin before the last of the earlier epochs.
        self._values = [*self._values[:epoch], float((logs or {}).get(self._monitor, math.nan))]
        best = running_best(self._values, self._better)[-1]
        limit = self._limits[epoch] if epoch < len(self._limits) else math.nan
        if epoch > 0 and math.isfinite(limit) and self._better(best, limit) != best:
            model: Any = self.model  # Keras sets it before training
            model.stop_training = True


def better_of(monitor: str) -> Callable[..., float]:
    """``max`` or ``min``: which of two values of a measure is better."""
    return max if direction_of(monitor) == "max" else min


def running_best(values: Sequence[float], better: Callable[..., float]) -> tuple[float, ...]:
    """The best of the finite values up to each epoch.

    Example:
        >>> running_best([2.0, 3.0, 1.0], min)
        (2.0, 2.0, 1.0)
    """
    worst = -math.inf if better is max else math.inf
    finite = (value if math.isfinite(value) else worst for value in values)
    return tuple(itertools.accumulate(finite, better))
