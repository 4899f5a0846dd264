"""The arguments of schedules, checked where they are given; all that is wrong is told at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kilter.errors import OptionError


@dataclass(frozen=True)
class Rule:
    """What a number must be, in words and as a test of a finite number."""

    words: str
    fits: Callable[[float], bool]
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is a finite number, no truth value, and fits."""
        kinds = (int, np.integer) if self.whole else (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        return math.isfinite(value) and self.fits(float(value))


POSITIVE = Rule("a finite number above 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("a finite number, 0 or more", lambda value: value >= 0)
SHARE = Rule("a number above 0 and below 1", lambda value: 0 < value < 1)
SHARE_OR_NONE = Rule("a number from 0 to below 1", lambda value: 0 <= value < 1)
POSITIVE_WHOLE = Rule("a whole number, at least 1", lambda value: value >= 1, whole=True)
WHOLE = Rule("a whole number, 0 or more", lambda value: value >= 0, whole=True)


def check(**given: tuple[Any, Rule]) -> None:
    """Raise one :class:`~kilter.errors.OptionError` that names each ``name=(value, rule)`` that breaks it."""
    broken = {name: pair for name, pair in given.items() if not pair[1].holds(pair[0])}
    if broken:
        raise OptionError(
            expected="; ".join(f"{name}: {rule.words}" for name, (_, rule) in broken.items()),
            received=", ".join(f"{name}={value!r}" for name, (value, _) in broken.items()),
            remedy=f"correct {', '.join(broken)}",
        )


def holding(steps_per_epoch: int | None, staircase: bool) -> tuple[int, int]:
    """The steps in a unit of time (1 where time is counted in steps), and the steps that a value is held.

    Raises :class:`~kilter.errors.OptionError` for ``staircase`` without ``steps_per_epoch``.
    """
    if steps_per_epoch is None:
        if staircase:
            raise OptionError(
                expected="steps_per_epoch beside staircase=True",
                received="steps_per_epoch=None",
                remedy="give the number of batches of an epoch, and the lengths in epochs",
            )
        return 1, 1
    check(steps_per_epoch=(steps_per_epoch, POSITIVE_WHOLE))
    return int(steps_per_epoch), int(steps_per_epoch) if staircase else 1
