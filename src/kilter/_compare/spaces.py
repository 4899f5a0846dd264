"""What a search tries: the values or the range of each key of a recipe."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kilter.errors import OptionError

Values = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def draw(self, generator: np.random.Generator) -> Any:
        """One of them, each as likely."""
        return self.values[int(generator.integers(len(self.values)))]


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``log``: even by factor; ``whole``: whole numbers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, generator: np.random.Generator) -> float:
        """A number of the range."""
        if self.whole and not self.log:
            return int(generator.integers(int(self.low), int(self.high) + 1))
        share = float(generator.random())
        if not self.log:
            return self.low + share * (self.high - self.low)
        value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return round(value) if self.whole else min(max(value, self.low), self.high)


Space = dict[str, Choice | Range]


def space_of(over: Mapping[str, Any]) -> Space:
    """The space from lists of values and ``{"low": ..., "high": ..., "log": ...}``, by key.

    Example:
        >>> space_of({"train.batch_size": {"low": 16, "high": 256, "log": True}})
        {'train.batch_size': Range(low=16, high=256, log=True, whole=True)}
    """
    if not over:
        raise _refused("no key")
    return {key: _dimension(key, given) for key, given in over.items()}


def _dimension(key: str, given: Any) -> Choice | Range:
    if "." in key and isinstance(given, Sequence) and not isinstance(given, str) and given:
        return Choice(tuple(given))
    if "." in key and isinstance(given, Mapping) and {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        low, high, log = given["low"], given["high"], given.get("log", False)
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (low, high))
        if numbers and isinstance(log, bool) and low < high and math.isfinite(high) and (low > 0 or not log):
            return Range(low, high, log, isinstance(low, int) and isinstance(high, int))
    raise _refused(f"{key}={given!r}")


def _refused(received: str) -> OptionError:
    return OptionError(
        expected="for each section.key a list of values, or a range { low = ..., high = ... } with "
        "low < high, and above 0 with log = true",
        received=received,
        remedy='for example "optimizer.learning_rate={ low = 1e-4, high = 0.1, log = true }" or '
        '"model.dropout=[0.0, 0.2]"',
    )


def grid(space: Space) -> list[Values]:
    """Every combination. Raises :class:`OptionError` for a range, which has no end."""
    ranges = [key for key, one in space.items() if isinstance(one, Range)]
    if ranges:
        raise OptionError(
            expected="lists of values for a grid",
            received=f"a range of {', '.join(ranges)}",
            remedy="list the values; a search (--over) takes ranges with --sampler random or tpe",
        )
    choices = (one.values for one in space.values() if isinstance(one, Choice))
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def settings(values: Values) -> list[str]:
    """``section.key=value`` of each, in TOML; None is "none"."""
    written = {
        key: json.dumps("none" if one is None else one, ensure_ascii=False, default=str)
        for key, one in values.items()
    }
    return [f"{key}={one}" for key, one in written.items()]
