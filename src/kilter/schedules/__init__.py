"""Learning-rate schedules: pure functions from the step to the rate, and for 1cycle to the momentum.

``power``, ``exponential``, ``piecewise``, ``one_cycle`` and ``cosine`` return a :class:`Schedule`, for
``kilter.fit(schedule=...)`` or as the ``learning_rate`` of a Keras optimiser. ``performance`` returns a
:class:`Performance`, which reads the validation loss after each epoch; only ``kilter.fit`` can use it.

Names load on first use: recipes list the schedules without loading Keras.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kilter import _backend as _backend  # chooses JAX before Keras loads
from kilter.schedules.registry import SCHEDULES, schedule_kind

if TYPE_CHECKING:
    from kilter.schedules.base import Schedule as Schedule
    from kilter.schedules.kinds.cosine import cosine as cosine
    from kilter.schedules.kinds.exponential import exponential as exponential
    from kilter.schedules.kinds.one_cycle import one_cycle as one_cycle
    from kilter.schedules.kinds.performance import Performance as Performance
    from kilter.schedules.kinds.performance import performance as performance
    from kilter.schedules.kinds.piecewise import piecewise as piecewise
    from kilter.schedules.kinds.power import power as power

_CLASSES = {"Schedule": "kilter.schedules.base", "Performance": "kilter.schedules.kinds.performance"}

_FUNCTIONS = [name for name in SCHEDULES if name != "constant"]

__all__ = [*_CLASSES, *_FUNCTIONS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(importlib.import_module(_CLASSES[name]), name)
    if name in SCHEDULES and (function := schedule_kind(name).function) is not None:
        return function
    raise AttributeError(f"module 'kilter.schedules' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
