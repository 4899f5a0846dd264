"""The base of all schedules: a pure function of the step that Keras can save and that can be plotted."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Rate, Step
from kilter._records import Figure, drawn
from kilter.schedules.registry import POSITIVE, POSITIVE_WHOLE, Rule, check, holding

MOST_POINTS: Final = 2000  # of a curve in a plot: more than the width of a screen


@dataclass(frozen=True, kw_only=True)
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Step -> learning rate, and in :meth:`momentum` step -> momentum.

    A Keras ``LearningRateSchedule``: it may be an optimiser's ``learning_rate``, in ``model.fit`` too, and is
    saved with the model. Keras then uses only the rate; ``kilter.fit(schedule=...)`` also cycles the
    momentum. Lengths are stored in steps. A value is constant for ``hold`` steps: 1, or those of an epoch.

    Subclasses are frozen dataclasses, registered with Keras, that define ``__call__`` (and ``momentum``) in
    ``jax.numpy``; ``step`` is an integer of shape (), traced or not. Results are float32 (float64 where JAX
    has it enabled).
    """

    hold: int = 1

    def momentum(self, step: Step) -> Rate | None:
        """The momentum (beta_1 for Adam's family) of a step; None if the optimiser keeps its own."""
        return None

    def time(self, step: Step) -> Rate:
        """The number of the step as a float, rounded down to the step at which its value started."""
        counted = jnp.asarray(step)
        return jnp.asarray(counted // self.hold * self.hold, float)

    def get_config(self) -> dict[str, Any]:
        """The fields, for Keras to save."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The schedule for a ``config`` from ``get_config``; JSON has turned its tuples into lists."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in config.items()
        }
        return cls(**fields)

    def plot(self, steps: int, *, steps_per_epoch: int | None = None) -> Figure:
        """The learning rate of steps 0 to ``steps - 1``, and below it the momentum if it is cycled.

        With ``steps_per_epoch`` the axis counts epochs. At most 2,000 steps are drawn.
        """
        check(steps=(steps, POSITIVE_WHOLE), steps_per_epoch=(steps_per_epoch or 1, POSITIVE_WHOLE))
        shown = np.unique(np.linspace(0, steps - 1, min(steps, MOST_POINTS)).round().astype("int32"))
        curves = {"learning rate": np.asarray(jax.vmap(self)(shown))}
        if self.momentum(0) is not None:
            curves["momentum"] = np.asarray(jax.vmap(self.momentum)(shown))
        return drawn(
            "schedule", shown / (steps_per_epoch or 1), curves, "epoch" if steps_per_epoch else "step"
        )


@dataclass(frozen=True, kw_only=True)
class Decaying(Schedule):
    """A schedule that falls from ``learning_rate``; ``period`` is in steps."""

    learning_rate: float
    period: float

    @classmethod
    def of(
        cls,
        learning_rate: float,
        period: float,
        steps_per_epoch: int | None,
        staircase: bool,
        **shape: tuple[float, Rule],
    ) -> Self:
        """The schedule for numbers in the user's unit; ``shape`` has the other number and the rule for it."""
        unit, hold = holding(steps_per_epoch, staircase)
        check(learning_rate=(learning_rate, POSITIVE), period=(period, POSITIVE), **shape)
        own = {name: float(value) for name, (value, _) in shape.items()}
        return cls(learning_rate=float(learning_rate), period=float(period * unit), hold=hold, **own)
