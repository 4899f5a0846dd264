"""Power schedule: the rate falls quickly at first, then ever more slowly."""

from dataclasses import dataclass
from typing import Any

import jax
import keras

from kilter.schedules.base import Decaying
from kilter.schedules.registry import POSITIVE, STAIRCASE, ScheduleKind, Setting, from_rate


@keras.saving.register_keras_serializable(package="kilter")
@dataclass(frozen=True, kw_only=True)
class Power(Decaying):
    """What :func:`power` gives, with ``period`` in steps."""

    exponent: float

    def __call__(self, step: Any) -> jax.Array:
        """The learning rate of a step."""
        return self.learning_rate / (1.0 + self.time(step) / self.period) ** self.exponent


def power(
    learning_rate: float,
    *,
    period: float,
    exponent: float = 1.0,
    steps_per_epoch: int | None = None,
    staircase: bool = False,
) -> Power:
    """``learning_rate / (1 + t / period) ** exponent``: falls fast, then ever more slowly.

    ``t`` is the number of the step. With ``steps_per_epoch`` it counts epochs, and so does ``period``; with
    ``staircase`` too, it is rounded down, so that the rate changes once per epoch. It starts at
    ``learning_rate``, is half of it after one period, a third after two (exponent 1), and tends to 0.

    Raises :class:`~kilter.errors.OptionError` unless all numbers are finite and above 0.

    Example:
        >>> rate = power(0.01, period=20, steps_per_epoch=100)
        >>> [f"{rate(100 * epoch):.4f}" for epoch in (0, 20, 40)]
        ['0.0100', '0.0050', '0.0033']
    """
    return Power.of(learning_rate, period, steps_per_epoch, staircase, exponent=(exponent, POSITIVE))


KIND = ScheduleKind(
    summary="rate / (1 + t / period) ** exponent: half after one period, a third after two (exponent 1)",
    function=power,
    make=from_rate(power),
    settings=(
        Setting(
            "period", float, "epochs until the rate is divided by 2 ** exponent: above 0", 20.0, POSITIVE
        ),
        Setting("exponent", float, "the power: a number above 0", 1.0, POSITIVE),
        STAIRCASE,
    ),
)
