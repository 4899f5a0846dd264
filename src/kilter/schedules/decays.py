"""Rates that fall for ever: power, exponential, piecewise constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter.errors import OptionError
from kilter.schedules.base import Schedule
from kilter.schedules.settings import POSITIVE, SHARE, check, holding


@keras.saving.register_keras_serializable(package="kilter")
@dataclass(frozen=True, kw_only=True)
class Power(Schedule):
    """What :func:`power` gives, with ``period`` in steps."""

    learning_rate: float
    period: float
    exponent: float

    def __call__(self, step: Any) -> jax.Array:
        """The learning rate of a step."""
        return self.learning_rate / (1.0 + self.time(step) / self.period) ** self.exponent


@keras.saving.register_keras_serializable(package="kilter")
@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """What :func:`exponential` gives, with ``period`` in steps."""

    learning_rate: float
    period: float
    factor: float

    def __call__(self, step: Any) -> jax.Array:
        """The learning rate of a step."""
        return self.learning_rate * self.factor ** (self.time(step) / self.period)


@keras.saving.register_keras_serializable(package="kilter")
@dataclass(frozen=True, kw_only=True)
class Piecewise(Schedule):
    """What :func:`piecewise` gives, with ``boundaries`` in steps."""

    learning_rates: tuple[float, ...]
    boundaries: tuple[float, ...]

    def __call__(self, step: Any) -> jax.Array:
        """The learning rate of a step."""
        passed = jnp.searchsorted(jnp.asarray(self.boundaries, float), self.time(step), side="right")
        return jnp.asarray(self.learning_rates, float)[passed]


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
    ``staircase`` too it is their whole number, so that the rate changes once an epoch. It begins at
    ``learning_rate``, is half of it after one period, a third after two (exponent 1), and tends to 0.

    Raises :class:`~kilter.errors.OptionError` unless all numbers are finite and above 0.

    Example:
        >>> rate = power(0.01, period=20, steps_per_epoch=100)
        >>> [f"{rate(100 * epoch):.4f}" for epoch in (0, 20, 40)]
        ['0.0100', '0.0050', '0.0033']
    """
    unit, hold = holding(steps_per_epoch, staircase)
    check(learning_rate=(learning_rate, POSITIVE), period=(period, POSITIVE), exponent=(exponent, POSITIVE))
    return Power(
        learning_rate=float(learning_rate), period=float(period * unit), exponent=float(exponent), hold=hold
    )


def exponential(
    learning_rate: float,
    *,
    period: float,
    factor: float = 0.1,
    steps_per_epoch: int | None = None,
    staircase: bool = False,
) -> Exponential:
    """``learning_rate * factor ** (t / period)``: a tenth after every period.

    ``t``, ``steps_per_epoch`` and ``staircase`` are as in :func:`power`. It begins at ``learning_rate`` and
    tends to 0, which float32 reaches some 40 decades down.

    Raises :class:`~kilter.errors.OptionError` unless ``learning_rate`` and ``period`` are finite and above 0
    and ``factor`` is above 0 and below 1.

    Example:
        >>> rate = exponential(0.01, period=20, steps_per_epoch=100, staircase=True)
        >>> [f"{rate(step):.5f}" for step in (0, 99, 100, 2000)]
        ['0.01000', '0.01000', '0.00891', '0.00100']
    """
    unit, hold = holding(steps_per_epoch, staircase)
    check(learning_rate=(learning_rate, POSITIVE), period=(period, POSITIVE), factor=(factor, SHARE))
    return Exponential(
        learning_rate=float(learning_rate), period=float(period * unit), factor=float(factor), hold=hold
    )


def piecewise(
    learning_rates: Sequence[float], *, boundaries: Sequence[float], steps_per_epoch: int | None = None
) -> Piecewise:
    """``learning_rates[i]`` from time ``boundaries[i - 1]`` on, until ``boundaries[i]`` is reached.

    Times are steps, or epochs with ``steps_per_epoch``. The new rate is that of the step *at* the boundary:
    ``boundaries=[5, 15]`` in epochs means 5 epochs, 10 epochs and the rest. (Keras's
    ``PiecewiseConstantDecay`` changes one step later.) It ends at the last rate.

    Raises :class:`~kilter.errors.OptionError` unless there is one rate more than boundaries, all are finite
    and above 0, and the boundaries rise.

    Example:
        >>> rate = piecewise([0.01, 0.005, 0.001], boundaries=[5, 15], steps_per_epoch=100)
        >>> [f"{rate(step):.3f}" for step in (499, 500, 1500)]
        ['0.010', '0.005', '0.001']
    """
    unit, _ = holding(steps_per_epoch, staircase=False)
    rates, times = tuple(learning_rates), tuple(boundaries)
    check(
        **{f"learning_rates[{index}]": (rate, POSITIVE) for index, rate in enumerate(rates)},
        **{f"boundaries[{index}]": (time, POSITIVE) for index, time in enumerate(times)},
    )
    if len(rates) != len(times) + 1 or list(times) != sorted(set(times)):
        raise OptionError(
            expected="boundaries that rise, and one learning rate more than there are boundaries",
            received=f"learning_rates={list(rates)!r}, boundaries={list(times)!r}",
            remedy="for example piecewise([0.01, 0.001], boundaries=[10])",
        )
    return Piecewise(
        learning_rates=tuple(map(float, rates)), boundaries=tuple(time * float(unit) for time in times)
    )
