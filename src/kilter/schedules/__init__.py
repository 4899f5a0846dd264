"""Learning-rate schedules: pure functions from the step to the rate, and for 1cycle to the momentum.

``power``, ``exponential``, ``piecewise``, ``one_cycle`` and ``cosine`` give a :class:`Schedule`, for
``kilter.fit(schedule=...)`` or for the ``learning_rate`` of a Keras optimiser. ``performance`` gives a
:class:`Performance`, which looks at the validation loss after each epoch; it is for ``kilter.fit`` alone.
"""

from __future__ import annotations

from kilter.schedules.base import Schedule
from kilter.schedules.cycles import cosine, one_cycle
from kilter.schedules.decays import exponential, piecewise, power
from kilter.schedules.performance import Performance, performance

__all__ = [
    "Performance",
    "Schedule",
    "cosine",
    "exponential",
    "one_cycle",
    "performance",
    "piecewise",
    "power",
]
