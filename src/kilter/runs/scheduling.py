"""The schedule that a recipe names, for its data: epochs become steps, shares become rates."""

from __future__ import annotations

from kilter import schedules
from kilter.recipe import (
    CosineSection,
    ExponentialSection,
    OneCycleSection,
    PerformanceSection,
    PiecewiseSection,
    PowerSection,
    Recipe,
)


def make_schedule(recipe: Recipe, batches: int) -> schedules.Schedule | schedules.Performance | None:
    """The schedule of ``[schedule]`` for epochs of ``batches`` batches; None where the rate stays as it is.

    Raises :class:`~kilter.errors.OptionError` where its numbers do not fit together or the training is too
    short for it.
    """
    section, rate, epochs = recipe.schedule, recipe.optimizer.rate, recipe.train.epochs
    keys = section.model_dump(exclude={"name"})
    if isinstance(section, PowerSection):
        return schedules.power(rate, steps_per_epoch=batches, **keys)
    if isinstance(section, ExponentialSection):
        return schedules.exponential(rate, steps_per_epoch=batches, **keys)
    if isinstance(section, PiecewiseSection):
        rates = [rate, *(rate * factor for factor in section.factors)]
        return schedules.piecewise(rates, boundaries=section.boundaries, steps_per_epoch=batches)
    if isinstance(section, OneCycleSection):
        return schedules.one_cycle(rate, length=epochs, steps_per_epoch=batches, **keys)
    if isinstance(section, CosineSection):
        return schedules.cosine(rate, length=epochs, steps_per_epoch=batches, **keys)
    if isinstance(section, PerformanceSection):
        return schedules.performance(**keys)
    return None
