"""Looks at paired runs, planned before training: the number of pairs, and the level of the test."""

import warnings
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kilter._compare.statistics import least_pairs, smallest_p
from kilter._validation import number, whole_number

LEVEL: Final = 0.05
USUAL_PAIRS: Final = 6
# The shares of the level for the tests of a treatment, in order, two looks each. They sum to 1, so that by
# Bonferroni the probability of any false claim in a treatment is at most LEVEL. The first look gets what six
# pairs need: 2/2^6 is 0.625 of 0.05.
_SHARES: Final = ((0.64, 0.12), (0.08, 0.04), (0.04, 0.03), (0.03, 0.02))
# The second look of a test has this many times the requested pairs.
_SECOND_PAIRS: Final = 3


class Look(NamedTuple):
    """A planned test of this many pairs at this level."""

    pairs: int
    level: float


Test = tuple[Look, ...]
"""The looks of one test, in order: a later one is used only if the one before was inconclusive."""


@dataclass
class Spending:
    """The level of a treatment, spent test by test.

    Each test has two looks: at ``pairs`` pairs, or more if its level needs them, and at three times
    ``pairs``. A test that proves a difference gives its level back to the next one; otherwise it is spent.

    F. Bretz, W. Maurer, W. Brannath, M. Posch, A graphical approach to sequentially rejective multiple test
    procedures (2009).

    Example:
        >>> spending = Spending(6)
        >>> [(look.pairs, round(look.level, 4)) for look in spending.take()]
        [(6, 0.032), (18, 0.006)]
        >>> [(look.pairs, round(look.level, 4)) for look in spending.take()]
        [(9, 0.004), (18, 0.002)]
    """

    pairs: int
    level: float = LEVEL
    _left: list[Test] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._left = [self._test(*(share * self.level for share in shares)) for shares in _SHARES]

    def take(self) -> Test:
        """The looks of the next test."""
        return self._left.pop(0)

    def give_back(self, test: Test) -> None:
        """Pass the level of a test that proved a difference on to the next one."""
        self._left.insert(0, test)

    def _test(self, first: float, second: float) -> Test:
        soon = max(self.pairs, least_pairs(1, first))
        later = max(_SECOND_PAIRS * self.pairs, least_pairs(1, second), soon + 1)
        return Look(soon, first), Look(later, second)


def can_decide(pairs: int, challengers: int, level: float) -> bool:
    """Whether this many pairs can prove a difference at the level, corrected for this many challengers."""
    return challengers * smallest_p(pairs) <= level


def planned_pairs(asked: int | None, challengers: int, level: float, *, usual: int = USUAL_PAIRS) -> int:
    """The number of pairs to train: ``asked``, or if None ``usual``, or more if a verdict needs them.

    Warns if ``asked`` pairs cannot reach a verdict: a few runs may still rank the candidates. Raises
    :class:`OptionError` for a level outside 0 to 1, for one that no number of pairs can reach, and for fewer
    than 2 pairs.
    """
    number("level", level, above=0, below=1)
    needed = least_pairs(challengers, level)
    if asked is None:
        return max(usual, needed)
    whole_number("pairs", asked, 2, remedy=f"leave it out for {usual}, or more if needed")
    if note := too_few_pairs(asked, challengers, level):
        warnings.warn(note, stacklevel=3)
    return asked


def too_few_pairs(pairs: int, challengers: int, level: float) -> str:
    """A warning if no difference, however large, can be proven; otherwise "".

    Example:
        >>> too_few_pairs(5, 1, 0.05)
        '5 pairs cannot prove any difference at level 0.05: at least 6 are needed.'
        >>> too_few_pairs(6, 4, 0.05)
        '6 pairs cannot prove any difference of 4 candidates at level 0.05: at least 8 are needed.'
    """
    if can_decide(pairs, challengers, level):
        return ""
    of = f" of {challengers} candidates" if challengers > 1 else ""
    needed = least_pairs(challengers, level)
    return f"{pairs} pairs cannot prove any difference{of} at level {level:g}: at least {needed} are needed."
