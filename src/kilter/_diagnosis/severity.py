"""Severity from the outcome: a finding is severe only if it makes a training fall short.

A rule alone can be wrong: if the tried training gets as far as the sibling, severe findings become warnings,
and warnings become notes. If the training falls short, the finding that explains it best is severe, and its
consequences name it.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np

from kilter._diagnosis import roots
from kilter._diagnosis.batch_noise import with_noise
from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.data import unrelated
from kilter._diagnosis.checks.optimizer import usual_rates
from kilter._diagnosis.checks.splits import SHIFTS
from kilter._diagnosis.context import Context
from kilter._diagnosis.outcome import Outcome
from kilter._diagnosis.thresholds import Thresholds, seen
from kilter._records import Evidence, Finding

_ENOUGH: Final = 0.9
_RISING: Final = 0.02  # of skill in the second half of a training: it is not over yet
# Validation rows that differ, although what is learnt carries over to them: the split may be intended.
_SPLIT: Final = ("validation-scale", "validation-unlike-training")
_CARRIES: Final = 0.6


# What these explain: no cause of its own where they are found. (A saturated gate has a gradient of 0.)
_EXPLAINED = {
    **dict.fromkeys(SHIFTS, ("overfitting",)),
    **dict.fromkeys(("output-not-trained", "unscaled-inputs", "saturated-units"), ("disconnected-layer",)),
    "layer-mode": ("rows-mixed",),
    "row-weights": ("class-imbalance",),
    "infinite-derivative": ("non-finite", "rate-too-high"),
    "embedding-scale": ("attention-collapsed",),
    "rank-collapse": ("disconnected-layer",),  # of equal tokens, queries and keys get no gradient
    "inputs-alike": ("dead-units", "loss-not-moving", "collapsed-output", "constant-columns"),
}


def with_causes(findings: list[Finding]) -> list[Finding]:
    """The findings with a note in place of what another one explains, whatever the outcome."""
    cause = {
        code: one.code
        for one in reversed(findings)
        if one.severity != "note"
        for code in _EXPLAINED.get(one.code, ())
    }
    return [
        replace(one, severity="note", explained_by=cause[one.code]) if one.code in cause else one
        for one in findings
    ]


def is_noise(found: Iterable[Finding], context: Context, outcome: Outcome) -> bool:
    """Whether there is nothing to learn, and no fault that would hide what there is."""
    hidden = any(one.severity == "severe" and one.code in roots.HIDING for one in found)
    return not hidden and outcome.is_noise(context.thresholds.learnt_least)


def weighed(found: list[Finding], context: Context, outcome: Outcome | None) -> list[Finding]:
    """The findings with the severities that the outcome supports; unchanged without an outcome."""
    limits = context.thresholds
    if outcome is None:
        return found
    if is_noise(found, context, outcome):
        assert outcome.learnable is not None
        more = ", and neither the model nor its sibling learns anything that generalises"
        noise = unrelated(outcome.learnable, limits, "severe", more)
        return [noise, *(_at_most_warning(one) for one in found if one.code != "shuffled-labels")]
    if outcome.reference >= outcome.least(limits.learnt_least):  # others learn from these labels
        found = [one for one in found if one.code != "shuffled-labels"]
    found = [*found, *_weak(outcome, limits)]
    settled = outcome.without_lag(limits.short_margin)
    if settled is not None:
        found, outcome = [*found, _lag(outcome)], settled
    if not outcome.falls_short(limits.short_margin, limits.short_margin):
        if outcome.reached < outcome.least(limits.learnt_least):
            if outcome.learnable is not None and outcome.learnable.learnable:
                return _hidden(found, context)
            return found  # nothing else learns either, so rules are all there is
        # If only an extrapolation reaches the reference, faults of the construction stay severe.
        measured = replace(outcome, expected=outcome.reached)
        open_end = measured.falls_short(limits.short_margin, limits.short_margin)
        kept = roots.BY_CONSTRUCTION if open_end else ()
        if outcome.reached >= _CARRIES:  # splits by time, group or site differ on purpose
            found = [replace(one, severity="warning") if one.code in _SPLIT else one for one in found]
        kept = (*kept, *(roots.STRUCTURAL if outcome.reached < _ENOUGH else ()))
        return [one if one.code in kept else _one_less(one) for one in found]
    if outcome.harmed_by_augmentation(limits.short_margin):
        found = [_augmentation(outcome), *found]
    found = with_noise(found, context, outcome.noise)
    rate = _is_rate(outcome, limits.rate_share)
    if rate:
        found = _with_rate(found, context)
    else:
        found = [
            _at_most_warning(one) if one.code in roots.RATES and _knows(outcome) else one for one in found
        ]
    known = any(
        one.severity == "severe" or (one.severity == "warning" and one.code in roots.SHARED) for one in found
    )
    if not known and _is_too_short(outcome, limits):
        found = [_too_short(outcome), *found]
    root = _root(found, context, rate=rate)
    if root is None:
        return [_short(outcome, context, ""), *found]
    explained = [_explained(one, root) for one in found]
    return [replace(root, severity="severe"), _short(outcome, context, root.code), *explained]


def _hidden(found: list[Finding], context: Context) -> list[Finding]:
    """What both networks have keeps them from learning what there is: the first cause is severe."""
    root = None if any(one.severity == "severe" for one in found) else _root(found, context, rate=False)
    return [replace(one, severity="severe") if one is root else one for one in found]


def _knows(outcome: Outcome) -> bool:
    """Whether it was tried with another optimiser, and that did not help."""
    return not math.isnan(outcome.tuned)


def _is_rate(outcome: Outcome, share: float) -> bool:
    """Whether the sibling's optimiser alone closes most of the gap."""
    gap = outcome.reference - outcome.reached
    return _knows(outcome) and outcome.tuned - outcome.reached > share * gap


def _is_too_short(outcome: Outcome, limits: Thresholds) -> bool:
    """Whether there are too few steps: the sibling falls short of simple learners too, and still improves."""
    behind = outcome.baseline - outcome.sibling > 2 * limits.short_margin
    rises = outcome.rising > _RISING and outcome.sibling > outcome.least(limits.learnt_least)
    return behind and (rises or outcome.planned < limits.few_steps)


def _too_short(outcome: Outcome) -> Finding:
    evidence = [Evidence("skill of the sibling", outcome.sibling, outcome.baseline, "simple learners")]
    detail = (
        f"{outcome.planned:,} steps are too few: even the sibling reaches only a skill of "
        f"{outcome.sibling:.2f}, nearest neighbours or ridge regression {outcome.baseline:.2f}"
    )
    return finding("underfitting", "severe", ("training",), evidence, detail=detail)


def _augmentation(outcome: Outcome) -> Finding:
    reached = max(outcome.expected, -math.inf if math.isnan(outcome.sibling) else outcome.sibling)
    evidence = [Evidence("skill without augmentation", outcome.plain, reached, "with it")]
    where = outcome.harmful or ("data",)
    return finding("augmentation-harms", "severe", where, evidence, plain=outcome.plain, reached=reached)


def _root(found: list[Finding], context: Context, *, rate: bool) -> Finding | None:
    """The finding that explains the shortfall best: a severe one, then the first in the order of causes.

    Where another optimiser helps, that is the rate, unless it is a usual one on data of an unusual scale, or
    in a network whose signal grows from step to step.
    """
    usual, given = usual_rates(context.optimizer)[1], context.optimizer.learning_rate
    fits = usual is not None and given is not None and usual.low <= given <= usual.high
    scale = ("unscaled-targets", "unscaled-inputs", *roots.SPREADING) if fits else ()
    order = (*roots.ROOTS, *roots.RATES, "underfitting")
    if rate:
        order = (
            *roots.CERTAIN,
            *roots.BY_CONSTRUCTION,
            *scale,
            "loss-scale",
            "excessive-decay",
            *roots.RATES,
            *roots.ROOTS,
        )
    known = [one for one in found if one.code in order and one.severity != "note"]
    return min(
        known, key=lambda one: (not rate and one.severity != "severe", order.index(one.code)), default=None
    )


def _explained(one: Finding, root: Finding) -> Finding:
    """A consequence names the root; a rate is one too, where the root is something else than a rate."""
    rate = one.code in ("rate-too-high", "rate-too-low") and root.code not in (
        *roots.OWN_RATES,
        "falls-short",
    )
    if (one.code in roots.CONSEQUENCES or rate) and one.code != root.code:
        return replace(_at_most_warning(one), explained_by=root.code)
    return one


def _at_most_warning(one: Finding) -> Finding:
    return (
        replace(one, severity="warning")
        if one.severity == "severe" and one.code not in roots.CERTAIN
        else one
    )


def _one_less(one: Finding) -> Finding:
    """A finding that predicts a shortfall where there is none: a warning if it was severe, else a note."""
    if one.severity == "warning" and one.code in (*roots.ROOTS, *roots.RATES, *roots.CONSEQUENCES):
        return replace(one, severity="note")
    return _at_most_warning(one)


def _with_rate(found: list[Finding], context: Context) -> list[Finding]:
    """The findings with one that says in which direction the rate is wrong; those about it are severe."""
    high = _is_too_high(context, found)
    code = "rate-too-high" if high else "rate-too-low"
    raised = [
        replace(one, severity="severe") if one.code in (code, "learning-rate-range") else one for one in found
    ]
    others = [one for one in raised if one.code not in ("rate-too-high", "rate-too-low") or one.code == code]
    if any(one.code == code for one in others):
        return others
    rate = context.optimizer.learning_rate
    name = type(context.optimizer.optimizer).__name__
    given = name if rate is None else f"{name} at {rate:g}"
    detail = f"With another optimiser and learning rate than {given}, the same network learns much more in "
    detail += "the same number of steps"
    return [*others, finding(code, "severe", ("optimizer",), (), detail=detail)]


def _is_too_high(context: Context, found: Iterable[Finding]) -> bool:
    codes, known = {one.code for one in found}, usual_rates(context.optimizer)[1]
    rate = context.optimizer.learning_rate
    if known is not None and rate is not None and not known.low <= rate <= known.high:
        return rate > known.high
    if codes & {"rate-too-high", "non-finite"}:
        return True
    measured = context.training
    if measured is None or "rate-too-low" in codes:
        return False
    ratios = measured.values["update_ratio"]
    usual = float(np.nanmedian(ratios)) if np.isfinite(ratios).any() else 0.0
    return bool(measured.loss[-1] > measured.loss[0]) or usual > context.thresholds.update_ratio_usual


def _lag(outcome: Outcome) -> Finding:
    """The training falls short only because moving averages lag behind the weights: few steps, no fault."""
    name = "skill with averages of the weights at the end"
    evidence = [Evidence(name, outcome.settled, outcome.reached, "with the moving averages")]
    detail = (
        f"After {outcome.planned:,} steps the moving averages of batch normalisation lag behind the weights: "
        f"with means and variances of the training rows the skill is {outcome.settled:.2f} instead of "
        f"{outcome.reached:.2f}. A lower momentum, or more steps, lets them follow"
    )
    return finding("stale-batch-norm", "warning", ("training",), evidence, detail=detail)


def _short(outcome: Outcome, context: Context, root: str) -> Finding:
    limits = context.thresholds
    evidence = [seen(limits, "short_margin", "expected skill below the best of the others",
                     outcome.reference - outcome.expected)]  # fmt: skip
    named = {"its sibling": outcome.sibling, "nearest neighbours or ridge regression": outcome.baseline}
    evidence += [
        Evidence(f"skill of {name}", value) for name, value in named.items() if not math.isnan(value)
    ]
    others = " and ".join(f"{name} {value:.2f}" for name, value in named.items() if not math.isnan(value))
    part = "" if outcome.given in (0, outcome.planned) else f" (from {outcome.given} steps)"
    fewer = f", after {outcome.steps} steps" if outcome.steps < outcome.given else ""
    sibling = "" if math.isnan(outcome.sibling) else "The sibling is the same network, well configured. "
    detail = (
        f"After {outcome.planned:,} steps the model will reach a skill of {outcome.expected:z.2f}{part}. "
        f"For comparison{fewer}: {others}. {sibling}Skill is 0 for a constant prediction, 1 if perfect"
    )
    made = finding("falls-short", "severe", ("training",), evidence, detail=detail)
    return replace(made, explained_by=root)


def _weak(outcome: Outcome, limits: Thresholds) -> list[Finding]:
    """A note where neither the sibling, which has stopped to improve, nor simple learners predict much."""
    tried = (outcome.reached, outcome.sibling, outcome.baseline)
    settled = outcome.is_whole and outcome.rising <= _RISING and not any(map(math.isnan, tried))
    if not settled or not outcome.least(limits.learnt_least) < max(tried) < limits.little_predicted:
        return []
    evidence = [seen(limits, "little_predicted", "best skill that was reached", max(tried))]
    return [finding("weak-relation", "note", ["targets"], evidence, skill=max(tried))]
