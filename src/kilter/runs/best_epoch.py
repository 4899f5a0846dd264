"""The best epoch so far and early stopping, as a pure function of the history, so that it can be replayed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from kilter import _measures
from kilter._measures import Direction

# Endings of Keras's metric names for which more is better; every other measure is minimised.
_MORE_IS_BETTER = ("accuracy", "acc", "auc", "precision", "recall", "score", "iou", "similarity")


def direction_of(monitor: str) -> Direction:
    """Whether less or more of a measure is better, by its Keras name.

    Example:
        >>> direction_of("val_loss"), direction_of("val_binary_accuracy"), direction_of("val_r2")
        ('min', 'max', 'max')
    """
    known = _measures.direction_of(monitor.removeprefix("val_").removeprefix("test_"))
    return known or ("max" if monitor.lower().endswith(_MORE_IS_BETTER) else "min")


@dataclass(frozen=True)
class Watch:
    """The state of the monitored measure after some epochs.

    The best epoch is the first with the best finite value. Patience follows Keras's EarlyStopping: `waited`
    counts the epochs since the value improved on `reference` by more than `min_delta`, and training stops
    when `waited` reaches `patience`, but never after the first epoch; None never stops. A non-finite value is
    no improvement (Keras keeps a NaN of the first epoch as the best forever).
    """

    monitor: str
    direction: Direction
    patience: int | None = None
    min_delta: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    reference: float | None = None
    waited: int = 0
    last_epoch: int | None = None
    last: float | None = None

    def saw(self, epoch: int, logs: Mapping[str, float]) -> "Watch":
        """The state after `epoch`; one without the measure (validation every k epochs) does not count."""
        if self.monitor not in logs:
            return replace(self, last_epoch=epoch, last=None)
        value = float(logs[self.monitor])
        better = self._improves(value, self.best, 0.0)
        much_better = self._improves(value, self.reference, self.min_delta)
        return replace(
            self,
            best=value if better else self.best,
            best_epoch=epoch if better else self.best_epoch,
            reference=value if much_better else self.reference,
            waited=0 if much_better else self.waited + 1,
            last_epoch=epoch,
            last=value,
        )

    @property
    def is_best(self) -> bool:
        """Whether the last epoch is the best."""
        return self.best_epoch is not None and self.best_epoch == self.last_epoch

    @property
    def has_waited_enough(self) -> bool:
        """Whether training should stop now."""
        return self.patience is not None and bool(self.last_epoch) and self.waited >= max(self.patience, 1)

    @property
    def score(self) -> float:
        """The last value, signed so that less is better; NaN if there is none."""
        if self.last is None:
            return math.nan
        return self.last if self.direction == "min" else -self.last

    def _improves(self, value: float, on: float | None, by: float) -> bool:
        if not math.isfinite(value):
            return False
        if on is None:
            return True
        return value < on - by if self.direction == "min" else value > on + by
