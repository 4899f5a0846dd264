"""The schedules by name. A new one is a file in ``kinds/`` and a line here.

The names are known without Keras and JAX; a schedule's file loads when it is used.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Final

from kilter.errors import OptionError


@dataclass(frozen=True)
class Rule:
    """What a number must be, as text and as a test of a finite number."""

    words: str
    fits: Callable[[float], bool]
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether `value` is a finite number (not a bool) that fits."""
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        return math.isfinite(value) and self.fits(float(value))


POSITIVE = Rule("a finite number above 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("a finite number, 0 or more", lambda value: value >= 0)
SHARE = Rule("a number above 0 and below 1", lambda value: 0 < value < 1)
SHARE_OR_NONE = Rule("a number from 0 to below 1", lambda value: 0 <= value < 1)
POSITIVE_WHOLE = Rule("a whole number, at least 1", lambda value: value >= 1, whole=True)
WHOLE = Rule("a whole number, 0 or more", lambda value: value >= 0, whole=True)
ANY = Rule("a finite number", lambda value: True)


def check(**given: tuple[Any, Rule]) -> None:
    """Raise one :class:`~kilter.errors.OptionError` naming each ``name=(value, rule)`` that fails."""
    broken = {name: pair for name, pair in given.items() if not pair[1].holds(pair[0])}
    if broken:
        raise OptionError(
            expected="; ".join(f"{name}: {rule.words}" for name, (_, rule) in broken.items()),
            received=", ".join(f"{name}={value!r}" for name, (value, _) in broken.items()),
            remedy=f"correct {', '.join(broken)}",
        )


def holding(steps_per_epoch: int | None, staircase: bool) -> tuple[int, int]:
    """The steps in a unit of time (1 if time is counted in steps), and how many steps a value lasts."""
    if steps_per_epoch is None:
        if staircase:
            raise OptionError(
                expected="steps_per_epoch with staircase=True",
                received="steps_per_epoch=None",
                remedy="pass the number of batches per epoch, and give lengths in epochs",
            )
        return 1, 1
    check(steps_per_epoch=(steps_per_epoch, POSITIVE_WHOLE))
    return int(steps_per_epoch), int(steps_per_epoch) if staircase else 1


REQUIRED: Final = "required"


@dataclass(frozen=True)
class Setting:
    """A key of a recipe's ``[schedule]`` section.

    ``kind``: ``float``, ``int``, ``bool``, ``tuple[float, ...]`` for a list of numbers (at least one) or
    ``tuple[float, float]`` for a pair. ``rule``: for the number, or each number of a list. ``optional``:
    whether the key may be ``"none"``. Errors and the docs table show the ``description``.
    """

    name: str
    kind: Any
    description: str
    default: Any = REQUIRED
    rule: Rule = ANY
    optional: bool = False


STAIRCASE: Final = Setting(
    "staircase", bool, "true or false: the rate changes once per epoch, not at every step", False
)


@dataclass(frozen=True)
class ScheduleKind:
    """A registered schedule, as used by recipes, the command line and the docs.

    Attributes:
        make: builds it from ``(rate, epochs, steps_per_epoch, **settings)``; None if the rate stays constant.
            Lengths in settings are epochs, rates are shares of ``rate``.
        function: the public ``kilter.schedules.<name>``; None for "constant".
        per_stage: whether a fine-tuning stage can use it: it spans a given number of epochs by itself.
        cycles_momentum: whether it sets the optimiser's momentum if its ``momentum`` key is set.
    """

    summary: str
    make: Callable[..., Any]
    settings: tuple[Setting, ...] = ()
    function: Callable[..., Any] | None = None
    per_stage: bool = False
    cycles_momentum: bool = False
    needs_validation: bool = False


def from_rate(function: Callable[..., Any], *, spans: bool = False) -> Callable[..., Any]:
    """The ``make`` of a schedule that starts from the rate; ``spans``: its ``length`` is all epochs."""

    def make(rate: float, epochs: int, steps_per_epoch: int, **settings: Any) -> Any:
        length = {"length": epochs} if spans else {}
        return function(rate, **length, steps_per_epoch=steps_per_epoch, **settings)

    return make


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
