"""What a comparison says, in sentences."""

from __future__ import annotations

import math

from kilter.treatment.comparison import Comparison, Difference
from kilter.treatment.statistics import least_pairs


def verdicts(comparison: Comparison) -> list[str]:
    """A sentence for each candidate but the baseline, and one where the pairs were too few for proof."""
    said = [_verdict(comparison, one) for one in comparison.differences]
    note = too_few_pairs(len(comparison.baseline.runs), len(comparison.differences), comparison.level)
    return [*said, *([note] if note else [])]


def too_few_pairs(pairs: int, challengers: int, level: float) -> str:
    """A sentence where no difference, however large, could be proven; "" where one can.

    Example:
        >>> too_few_pairs(5, 1, 0.05)
        '5 pairs can prove no difference at level 0.05: at least 6 are needed.'
    """
    needed = least_pairs(challengers, level)
    if pairs >= needed:
        return ""
    return f"{pairs} pairs can prove no difference at level {level:g}: at least {needed} are needed."


def _verdict(comparison: Comparison, one: Difference) -> str:
    baseline = comparison.baseline.name
    if one.verdict == "no evidence":
        said = f"No evidence that {one.candidate} and {baseline} differ: "
    else:
        said = f"{one.candidate} is {one.verdict} than {baseline}: "
    if math.isfinite(one.mean):
        word = "worse" if one.mean < 0 else "better"
        said += f"{comparison.metric} {word} by {abs(one.mean):.4g} on average"
    else:
        said += "no pair in which both trained"
    if math.isfinite(one.low):
        said += f" ({1 - comparison.level:.0%} interval {one.low:+.4g} to {one.high:+.4g})"
    diverged = sum(not math.isfinite(value) for value in one.differences)
    if diverged:
        said += f", {diverged} of {len(one.differences)} pairs apart, in which one diverged"
    corrected = " corrected" if len(comparison.differences) > 1 else ""
    return f"{said}; p = {one.p_corrected:.2g}{corrected}."
