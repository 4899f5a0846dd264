"""Cosine schedule with an optional linear warm-up (Loshchilov & Hutter 2017, one period)."""

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
class Cosine(Schedule):
    """What :func:`cosine` gives, with ``length`` and ``warmup`` in steps and ``last`` as a rate."""

    learning_rate: float
    last: float
    length: float
    warmup: float

    def __call__(self, step: Any) -> jax.Array:
        """The learning rate of a step."""
        time = self.time(step)
        rising = self.learning_rate * (time + self.hold) / (self.warmup + self.hold)
        done = jnp.clip((time - self.warmup) / (self.length - self.warmup), 0.0, 1.0)
        falling = self.last + (self.learning_rate - self.last) * (1.0 + jnp.cos(jnp.pi * done)) / 2.0
        return jnp.where(time < self.warmup, rising, falling)


def cosine(
    learning_rate: float,
    *,
    length: float,
    warmup: float = 0.0,
    end: float = 0.0,
    steps_per_epoch: int | None = None,
    staircase: bool = False,
) -> Cosine:
    """Half a cosine from ``learning_rate`` down to ``end * learning_rate``, after a linear warm-up.

    For ``t >= warmup`` the rate is ``learning_rate * (end + (1 - end) * (1 + cos(pi * p)) / 2)`` with ``p =
    min((t - warmup) / (length - warmup), 1)``: exactly ``end * learning_rate`` from ``t = length`` on, which
    is the step after the last one. Before, it is ``learning_rate * (t + 1) / (warmup + 1)`` with ``t`` in
    steps (in epochs with ``staircase``), so that no step has a rate of 0. ``t``, ``steps_per_epoch`` and
    ``staircase`` are as in :func:`power`; ``length`` and ``warmup`` are counted as ``t`` is. Without a
    warm-up it is Keras's ``CosineDecay``.

    Raises :class:`~kilter.errors.OptionError` unless ``learning_rate`` and ``length`` are finite and above 0,
    ``warmup`` is from 0 to below ``length`` and ``end`` from 0 to below 1.

    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017,
    arXiv:1608.03983 (one period of it).

    Example:
        >>> rate = cosine(0.1, length=104, warmup=4)
        >>> [f"{rate(step):.3f}" for step in (0, 3, 4, 54, 104)]
        ['0.020', '0.080', '0.100', '0.050', '0.000']
    """
    unit, hold = holding(steps_per_epoch, staircase)
    check(
        learning_rate=(learning_rate, rules.POSITIVE),
        length=(length, rules.POSITIVE),
        warmup=(warmup, rules.NOT_NEGATIVE),
        end=(end, rules.SHARE_OR_NONE),
    )
    if warmup >= length:
        raise OptionError(
            expected="a warm-up shorter than the whole",
            received=f"warmup={warmup!r}, length={length!r}",
            remedy="shorten the warm-up or train longer",
        )
    rate = float(learning_rate)
    return Cosine(
        learning_rate=rate,
        last=float(end) * rate,
        length=float(length * unit),
        warmup=float(warmup * unit),
        hold=hold,
    )


KIND = ScheduleKind(
    summary="linear up to rate over the warm-up, then half a cosine down to end * rate at the last step",
    function=cosine,
    make=from_rate(cosine, spans=True),
    per_stage=True,
    settings=(
        Setting(
            "warmup", float, "epochs of warm-up, fewer than train.epochs: 0 or more", 0.0, rules.NOT_NEGATIVE
        ),
        Setting("end", float, "the share of the rate at the end: 0 to below 1", 0.0, rules.SHARE_OR_NONE),
        rules.STAIRCASE,
    ),
)
