"""Piecewise constant schedule: the rate changes at given times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras

from kilter.errors import OptionError
from kilter.schedules.base import Schedule
from kilter.schedules.registry import POSITIVE, ScheduleKind, Setting, check, holding


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


def piecewise(
    learning_rates: Sequence[float], *, boundaries: Sequence[float], steps_per_epoch: int | None = None
) -> Piecewise:
    """``learning_rates[i]`` from time ``boundaries[i - 1]`` on, until ``boundaries[i]`` is reached.

    Times are steps, or epochs with ``steps_per_epoch``. The new rate is that of the step *at* the boundary:
    ``boundaries=[5, 15]`` in epochs means 5 epochs, 10 epochs and the rest. (Keras's
    ``PiecewiseConstantDecay`` changes one step later.) The last rate stays.

    Raises :class:`~kilter.errors.OptionError` unless there is one more rate than boundaries, all are finite
    and above 0, and the boundaries increase.

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


def _from_recipe(
    rate: float, epochs: int, steps_per_epoch: int, *, boundaries: Sequence[float], factors: Sequence[float]
) -> Piecewise:
    rates = [rate, *(rate * factor for factor in factors)]
    return piecewise(rates, boundaries=boundaries, steps_per_epoch=steps_per_epoch)


KIND = ScheduleKind(
    summary="the rate until the first boundary, then one new rate from each boundary on",
    function=piecewise,
    make=_from_recipe,
    settings=(
        Setting(
            "boundaries",
            tuple[float, ...],
            "a list of epochs, each above 0, in rising order: where the rate changes",
            rule=POSITIVE,
        ),
        Setting(
            "factors",
            tuple[float, ...],
            "a list of numbers above 0, one per boundary: the rate from there on, as a share of "
            "optimizer.learning_rate",
            rule=POSITIVE,
        ),
    ),
)
