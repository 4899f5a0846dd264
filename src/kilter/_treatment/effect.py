"""The size of an effect over paired training runs, and whether it matters."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

_RESAMPLES: Final = 9_999


@dataclass(frozen=True)
class Effect:
    """A mean gain with its interval, in shares of the way from a constant prediction to perfection.

    ``least``: the smallest gain that matters. ``gains``: of each pair.
    """

    mean: float
    low: float
    high: float
    least: float
    gains: tuple[float, ...]

    @property
    def matters(self) -> bool:
        """Whether all of the interval is above the smallest gain that matters."""
        return self.low > self.least

    def __str__(self) -> str:
        """In words, such as "gains 12 % (5 to 16 %) of the way from a constant prediction to perfect"."""
        way = "the way from a constant prediction to perfect"
        if self.low > 1:
            why = "without the changes it does worse than a constant, or does not train"
            return f"gains more than all of {way}: {why}"
        found = f"gains {percent(self.mean)} ({percent(self.low)[:-2]} to {percent(self.high)}) of {way}"
        return found if self.matters else f"{found}, more than {100 * self.least:g} % needed"


def percent(share: float) -> str:
    """A share of the way to perfection in percent, at most the whole way.

    Example:
        >>> percent(0.1234), percent(0.9996), percent(1.95)
        ('12.3 %', '100 %', '100 %')
    """
    return f"{100 * float(np.clip(share, -1, 1)):.3g} %"


def effect(gains: Sequence[float], least: float, level: float = 0.05) -> Effect:
    """The mean of the gains, with its BCa bootstrap interval of confidence ``1 - level``.

    Equal gains give an interval of width 0; BCa is undefined for them, and so it is where its acceleration
    is: then the interval is the percentile one. Fewer than two gains have no interval, so they never matter.

    B. Efron, Better bootstrap confidence intervals (1987).

    Example:
        >>> effect([0.1, 0.1, 0.1], 0.01).low
        0.1
        >>> found = effect([0.001, -0.02, 0.03, 0.004], 0.01)
        >>> found.matters
        False
    """
    values = np.asarray(gains, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Effect(mean, math.nan, math.nan, least, tuple(values.tolist()))
    low, high = float(values.min()), float(values.max())
    if high - low > 1e-12:
        found = _interval(values, "BCa", level)
        low, high = found if np.isfinite(found).all() else _interval(values, "percentile", level)
    return Effect(mean, low, high, least, tuple(values.tolist()))


def _interval(values: np.ndarray, method: str, level: float) -> tuple[float, float]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (values,),
            np.mean,
            confidence_level=1 - level,
            method=method,
            n_resamples=_RESAMPLES,
            rng=np.random.default_rng(0),
        ).confidence_interval
    return float(found.low), float(found.high)
