"""A constant learning rate: the optimiser's own."""

from typing import Any

from kilter.schedules.registry import ScheduleKind


def _none(rate: float, epochs: int, steps_per_epoch: int, **settings: Any) -> None:
    return None


KIND = ScheduleKind(summary="the rate stays as it is", make=_none, per_stage=True)
