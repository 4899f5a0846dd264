"""Performance scheduling: a smaller rate when the validation loss has stopped falling."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from kilter._validation import one_of
from kilter.schedules.registry import NOT_NEGATIVE, POSITIVE_WHOLE, SHARE, WHOLE, ScheduleKind, Setting, check


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What :func:`performance` gives: the rule and what it has seen; pure, so that it can be replayed.

    ``waited`` counts the epochs since the monitored value improved on ``best``; ``resting`` is the number of
    epochs left in the cool-down.
    """

    factor: float
    patience: int
    monitor: str
    direction: Literal["min", "max"]
    min_delta: float
    cooldown: int
    min_rate: float
    best: float | None = None
    waited: int = 0
    resting: int = 0

    def saw(self, logs: Mapping[str, Any], rate: float) -> tuple[Self, float]:
        """The rule after an epoch with ``rate`` that gave ``logs``, and the next epoch's rate.

        An epoch without the monitored value (validation every k epochs) changes nothing; a value that is not
        finite is no improvement.
        """
        if self.monitor not in logs:
            return self, rate
        value = float(logs[self.monitor])
        resting = max(self.resting - 1, 0)
        if self._improves(value):
            return replace(self, best=value, waited=0, resting=resting), rate
        if resting:
            return replace(self, waited=0, resting=resting), rate
        waited = (0 if self.resting else self.waited) + 1
        # The optimiser stores float32: a floor of 1e-5 must not be above itself after rounding.
        if waited < self.patience or rate <= float(np.float32(self.min_rate)):
            return replace(self, waited=waited, resting=0), rate
        return replace(self, waited=0, resting=self.cooldown), max(rate * self.factor, self.min_rate)

    def replayed(self, epochs: Iterable[Mapping[str, Any]]) -> Self:
        """The rule after ``epochs``: the logs of each, with the ``learning_rate`` it was trained with."""
        rule = self
        for logs in epochs:
            rule, _ = rule.saw(logs, float(logs["learning_rate"]))
        return rule

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self.direction == "min" else value - self.best
        return gain > self.min_delta


def performance(
    *,
    factor: float = 0.5,
    patience: int = 5,
    monitor: str = "val_loss",
    direction: Literal["min", "max"] = "min",
    min_delta: float = 1e-4,
    cooldown: int = 0,
    min_rate: float = 0.0,
) -> Performance:
    """Multiply the rate by ``factor`` when ``monitor`` has not improved for ``patience`` epochs.

    The semantics of ``keras.callbacks.ReduceLROnPlateau``: better is lower, or higher with
    ``direction="max"``; less than ``min_delta`` is no improvement; after a reduction, it waits
    for ``cooldown`` epochs before it counts again; and the rate never falls below ``min_rate``. One
    difference: a NaN in the first epoch is not kept as the best value forever. It starts from the optimiser's
    rate, and ``kilter.fit`` sets the rate after each epoch. A resumed run restores the state from its
    history.

    Raises :class:`~kilter.errors.OptionError` unless ``factor`` is above 0 and below 1, ``patience`` a whole
    number from 1, the others 0 or more.

    Example:
        >>> rule, rate = performance(patience=2), 0.1
        >>> for loss in (1.0, 0.9, 0.95, 0.92, 0.91):
        ...     rule, rate = rule.saw({"val_loss": loss}, rate)
        >>> rate, rule.best, rule.waited
        (0.05, 0.9, 1)
    """
    check(
        factor=(factor, SHARE),
        patience=(patience, POSITIVE_WHOLE),
        min_delta=(min_delta, NOT_NEGATIVE),
        cooldown=(cooldown, WHOLE),
        min_rate=(min_rate, NOT_NEGATIVE),
    )
    one_of("direction", direction, ("min", "max"))
    return Performance(
        factor=float(factor),
        patience=int(patience),
        monitor=monitor,
        direction=direction,
        min_delta=float(min_delta),
        cooldown=int(cooldown),
        min_rate=float(min_rate),
    )


KIND = ScheduleKind(
    summary="* factor when the validation loss has not fallen for patience epochs",
    function=performance,
    make=lambda rate, epochs, steps_per_epoch, **settings: performance(**settings),
    needs_validation=True,
    settings=(
        Setting("factor", float, "what the rate is multiplied by: above 0 and below 1", 0.5, SHARE),
        Setting("patience", int, "epochs without a lower validation loss: from 1", 5, POSITIVE_WHOLE),
        Setting(
            "min_delta",
            float,
            "the smallest fall of the validation loss that counts: 0 or more",
            1e-4,
            NOT_NEGATIVE,
        ),
        Setting("cooldown", int, "epochs to wait after a change: from 0", 0, WHOLE),
        Setting("min_rate", float, "the lowest learning rate: 0 or more", 0.0, NOT_NEGATIVE),
    ),
)
