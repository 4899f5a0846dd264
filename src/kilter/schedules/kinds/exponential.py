"""Exponential schedule: the rate is multiplied by a factor in every period."""

from dataclasses import dataclass
from typing import Any

import jax
import keras

from kilter.schedules.base import Decaying
from kilter.schedules.registry import POSITIVE, SHARE, STAIRCASE, ScheduleKind, Setting, from_rate


@keras.saving.register_keras_serializable(package="kilter")
@dataclass(frozen=True, kw_only=True)
class Exponential(Decaying):
    """What :func:`exponential` gives, with ``period`` in steps."""

    factor: float

    def __call__(self, step: Any) -> jax.Array:
        """The learning rate of a step."""
        return self.learning_rate * self.factor ** (self.time(step) / self.period)


def exponential(
    learning_rate: float,
    *,
    period: float,
    factor: float = 0.1,
    steps_per_epoch: int | None = None,
    staircase: bool = False,
) -> Exponential:
    """``learning_rate * factor ** (t / period)``: a tenth after every period.

    ``t``, ``steps_per_epoch`` and ``staircase`` are as in :func:`power`. It starts at ``learning_rate`` and
    tends to 0.

    Raises :class:`~kilter.errors.OptionError` unless ``learning_rate`` and ``period`` are finite and above 0
    and ``factor`` is above 0 and below 1.

    Example:
        >>> rate = exponential(0.01, period=20, steps_per_epoch=100, staircase=True)
        >>> [f"{rate(step):.5f}" for step in (0, 99, 100, 2000)]
        ['0.01000', '0.01000', '0.00891', '0.00100']
    """
    return Exponential.of(learning_rate, period, steps_per_epoch, staircase, factor=(factor, SHARE))


KIND = ScheduleKind(
    summary="rate * factor ** (t / period): a tenth after every period (factor 0.1)",
    function=exponential,
    make=from_rate(exponential),
    settings=(
        Setting("period", float, "epochs in which the rate is multiplied by factor: above 0", 20.0, POSITIVE),
        Setting("factor", float, "a number above 0 and below 1", 0.1, SHARE),
        STAIRCASE,
    ),
)
