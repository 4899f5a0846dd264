"""1cycle: the learning rate goes up and down again while the momentum goes down and up (Smith 2018)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras

from kilter.errors import OptionError
from kilter.schedules import registry as rules
from kilter.schedules.base import Schedule
from kilter.schedules.registry import ScheduleKind, Setting, check, from_rate, holding


@keras.saving.register_keras_serializable(package="kilter")
@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """What :func:`one_cycle` gives: three rates, the number of steps, and (high, low) momentum or None."""

    first: float
    peak: float
    last: float
    steps: int
    tail: float
    momenta: tuple[float, float] | None

    def __call__(self, step: Any) -> jax.Array:
        """The learning rate of a step."""
        time, half, end = self.time(step), self._half, float(self.steps - 1)
        times = jnp.asarray([0.0, half, 2 * half, end])
        rates = jnp.asarray([self.first, self.peak, self.first, self.last])
        return jnp.where(time >= end, self.last, jnp.interp(time, times, rates))

    def momentum(self, step: Any) -> jax.Array | None:
        """The momentum of a step; None if it is not cycled."""
        if self.momenta is None:
            return None
        high, low = self.momenta
        times = jnp.asarray([0.0, self._half, 2 * self._half])
        return jnp.interp(self.time(step), times, jnp.asarray([high, low, high]))

    @property
    def _half(self) -> float:
        """The number of steps up, and of steps down."""
        return (self.steps - 1) * (1.0 - self.tail) / 2.0


def one_cycle(
    learning_rate: float,
    *,
    length: float,
    start: float = 0.1,
    end: float = 1e-4,
    tail: float = 0.1,
    momentum: tuple[float, float] | None = (0.95, 0.85),
    steps_per_epoch: int | None = None,
) -> OneCycle:
    """1cycle: the rate goes up, back down and then almost to 0, while momentum goes down and back up.

    Of the steps 0 to ``last = length - 1``, the first ``h = (1 - tail) * last / 2`` take the rate from
    ``start * learning_rate`` up to ``learning_rate``, the next ``h`` back, the rest down to ``end *
    learning_rate``: exactly that at step ``last`` and after it. Momentum goes from the first of ``momentum``
    to the second and back in the same two halves, then stays constant. All changes are linear.

    With ``steps_per_epoch``, ``length`` counts epochs. The peak is found with a learning-rate range test.
    ``kilter.fit(schedule=...)`` sets momentum on SGD and RMSprop, ``beta_1`` on Adam's family; as the
    ``learning_rate`` of an optimiser, only the rate cycles. ``momentum=None`` leaves it to the optimiser.

    Raises :class:`~kilter.errors.OptionError` for fewer than 3 steps, ``tail`` or ``start`` not above 0 and
    below 1, ``end`` not above 0 and at most ``start``, a momentum not from 0 to below 1.

    L. N. Smith, "A disciplined approach to neural network hyper-parameters: Part 1", 2018, arXiv:1803.09820.

    Example:
        >>> cycle = one_cycle(0.1, length=101)
        >>> [f"{cycle(step):.5f}" for step in (0, 45, 90, 100, 1000)]
        ['0.01000', '0.10000', '0.01000', '0.00001', '0.00001']
        >>> [f"{cycle.momentum(step):.2f}" for step in (0, 45, 90, 100)]
        ['0.95', '0.85', '0.95', '0.95']
    """
    unit, _ = holding(steps_per_epoch, staircase=False)
    check(
        learning_rate=(learning_rate, rules.POSITIVE),
        length=(length, rules.POSITIVE),
        start=(start, rules.SHARE),
        end=(end, rules.SHARE),
        tail=(tail, rules.SHARE),
    )
    steps = round(length * unit)
    if steps < 3 or end > start:
        raise OptionError(
            expected="at least 3 steps (up, back, down), and an end not above the start",
            received=f"{steps} steps, start={start!r}, end={end!r}",
            remedy="train longer, or lower end",
        )
    rate = float(learning_rate)
    return OneCycle(
        first=start * rate,
        peak=rate,
        last=end * rate,
        steps=steps,
        tail=float(tail),
        momenta=_momenta(momentum),
    )


def _momenta(momentum: tuple[float, float] | None) -> tuple[float, float] | None:
    if momentum is None:
        return None
    if not isinstance(momentum, tuple | list) or len(momentum) != 2:
        raise OptionError(
            expected="momentum as (high, low), or None",
            received=f"momentum={momentum!r}",
            remedy="for example momentum=(0.95, 0.85)",
        )
    high, low = momentum
    check(**{"momentum[0]": (high, rules.SHARE_OR_NONE), "momentum[1]": (low, rules.SHARE_OR_NONE)})
    return float(high), float(low)


KIND = ScheduleKind(
    summary="linear up from start to rate, linear back, then down to end; "
    "momentum goes the other way, 0.95, 0.85, 0.95",
    function=one_cycle,
    make=from_rate(one_cycle, spans=True),
    per_stage=True,
    cycles_momentum=True,
    settings=(
        Setting(
            "start", float, "the first rate, as a share of the peak: above 0 and below 1", 0.1, rules.SHARE
        ),
        Setting(
            "end", float, "the last rate, as a share of the peak: above 0, up to start", 1e-4, rules.SHARE
        ),
        Setting(
            "tail", float, "the share of the steps from start to end: above 0 and below 1", 0.1, rules.SHARE
        ),
        Setting(
            "momentum",
            tuple[float, float],
            "[high, low], each from 0 to below 1: momentum or beta_1",
            (0.95, 0.85),
            rules.SHARE_OR_NONE,
            optional=True,
        ),
    ),
)
