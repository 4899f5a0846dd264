"""What a comparison says, in sentences."""

from __future__ import annotations

import math

from kilter._compare.comparison import Comparison, Difference
from kilter._compare.looks import too_few_pairs


def verdicts(comparison: Comparison) -> list[str]:
    """A sentence for each candidate but the baseline, and one where the pairs were too few for proof."""
    said = [_verdict(comparison, one) for one in comparison.differences]
    note = too_few_pairs(len(comparison.baseline.runs), len(comparison.differences), comparison.level)
    return [*said, *([note] if note else [])]


def in_how_many(one: Difference) -> str:
    """In how many of its pairs a candidate is better or worse, whichever is more.

    Example:
        >>> in_how_many(Difference("b", (0.1, -0.2, -0.1), -0.07, -0.2, 0.1, 1.0, 1.0, "no evidence"))
        'worse in 2 of 3 pairs'
    """
    better, worse = one.counts
    word, count = ("worse", worse) if worse > better else ("better", better)
    return f"{word} in {count} of {len(one.differences)} pairs"


def proof_in_words(comparison: Comparison) -> str:
    """The verdict on the treated candidate: in how many pairs, by how much, p, and the level it missed."""
    one = comparison.differences[0]
    word = "worse" if one.mean < 0 else "better"
    by = f", {word} by {abs(one.mean):.3g} on average" if math.isfinite(one.mean) else ""
    seen = f"{in_how_many(one)}{by} (p = {one.p:.2g})"
    if one.verdict in ("better", "worse"):
        return seen
    return f"no evidence that the changes help: {seen[:-1]}, {comparison.level:.2g} needed)"


def _verdict(comparison: Comparison, one: Difference) -> str:
    baseline = comparison.baseline.name
    if one.verdict == "too few pairs":
        said = f"Too few pairs to tell whether {one.candidate} and {baseline} differ: "
    elif one.verdict == "no evidence":
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
