"""The schedules by name. A new one is a file in ``kinds/`` and a line here.

The names are known without Keras and JAX; a schedule's file loads when it is used.
"""

from __future__ import annotations

import importlib
from typing import Final

from kilter.schedules.settings import ScheduleKind

SCHEDULES: Final = (
    "constant",
    "power",
    "exponential",
    "piecewise",
    "one_cycle",
    "cosine",
    "performance",
)


def schedule_kind(name: str) -> ScheduleKind:
    """The schedule called `name`, one of :data:`SCHEDULES`; KeyError for any other name."""
    if name not in SCHEDULES:
        raise KeyError(name)
    return importlib.import_module(f"kilter.schedules.kinds.{name}").KIND


def schedules_for_stages() -> tuple[str, ...]:
    """The schedules that a fine-tuning stage can use."""
    return tuple(name for name in SCHEDULES if schedule_kind(name).per_stage)
