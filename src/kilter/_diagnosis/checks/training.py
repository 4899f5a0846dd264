"""Checks of a training: of readings at some of its steps, and of its curves.

Causes come before what they bring about. Where the signal or the gradient is lost on its way, a loss that
stays is told of with that cause's remedies, and no learning rate is blamed.
"""

from __future__ import annotations

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks import curves
from kilter._diagnosis.checks.probe import CHECKS as PROBE_CHECKS
from kilter._diagnosis.checks.probe import Check, first_bad_layer, hidden_positions
from kilter._diagnosis.context import Context
from kilter._diagnosis.thresholds import seen
from kilter._records import Finding, Measurements, Severity

_TOO_LOW: tuple[tuple[str, Severity], ...] = (
    ("update_ratio_low", "severe"),
    ("update_ratio_low_warning", "warning"),
)


def _readings(context: Context) -> Measurements | None:
    """The readings of a training that stayed finite, if there are enough of them to judge by."""
    found = context.training
    if found is None or len(found) < 2:
        return None
    return found if np.isfinite([*found.loss, *_after(found)]).all() else None


def _after(found: Measurements) -> np.ndarray:
    """The loss after each reading's step; where none was read, at the next reading, and at last unchanged."""
    if np.isnan(found.loss_after).all():
        return np.append(found.loss[1:], found.loss[-1:])
    return found.loss_after


def check_finite(context: Context) -> list[Finding]:
    """NaN or infinity in a training: the first layer and the step."""
    found = context.training
    if found is None or not len(found) or not np.isfinite(found.loss[0]):
        return []  # a model that begins so is told of by the probe's check
    for reading, step in enumerate(found.steps):
        layer = first_bad_layer(found, reading)
        if layer is not None or not np.isfinite(found.loss[reading]):
            detail = f"at step {step} at the latest, first in {layer or 'the loss'}"
            return [finding("non-finite", "severe", (layer or "loss",), detail=detail)]
        if not np.isfinite(_after(found)[reading]):
            return [finding("non-finite", "severe", ("loss",), detail=f"in the loss after step {step}")]
    return []


def check_gradients(context: Context) -> list[Finding]:
    """Gradients that stay far smaller, or larger, in the first hidden layer than in the last."""
    found, limits = _readings(context), context.thresholds
    if found is None:
        return []
    places = hidden_positions(context, found)
    if len(places) < 3:
        return []
    gradients = found.values["gradient_std"][:, places]
    last = gradients[:, -1]
    known = np.isfinite(gradients).all(axis=1) & (last > 0)
    if not known.any():
        return []
    ratio = float(np.median(gradients[known, 0] / last[known]))
    evidence = [seen(limits, "gradient_ratio", "gradient of the first over that of the last layer", ratio)]
    detail = f"In the first hidden layer the gradient is {ratio:.1e} times that in the last"
    where = (found.layers[places[0]],)
    if ratio < limits.gradient_ratio:
        return [finding("vanishing-gradients", "severe", where, evidence, detail=detail)]
    if ratio > 1 / limits.gradient_ratio:
        return [finding("exploding-gradients", "severe", where, evidence, detail=detail)]
    return []


def check_rate(context: Context) -> list[Finding]:
    """Steps too large: a loss that grows or is thrown about, or units that die of them."""
    found, limits = _readings(context), context.thresholds
    if found is None or found.steps[-1] + 1 < limits.least_steps or _lost_at_first(context):
        return []
    first, late = float(found.loss[0]), float(np.median(_after(found)[len(found) // 2 :]))
    size = max(abs(first), 1e-12)
    change = (_after(found) - found.loss) / size
    worse, thrown = float(np.mean(change > 0)), float(np.max(change))
    # The largest at any reading: units that died of one step take no further ones.
    largest = float(np.nanmax(_sizes(context, found), initial=0.0))
    harmed = (first - late) / size < limits.movement_high or bool(check_units(context))
    evidence = []
    # A loss that grew while next to nothing was stepped grew with dropout or another draw of chance.
    if first > 0 and late > limits.divergence * first and largest > limits.update_ratio_low_warning:
        evidence.append(seen(limits, "divergence", "late over first loss", late / first))
    if worse > limits.worse_steps and thrown > limits.worse_size and late >= first:
        evidence.append(seen(limits, "worse_steps", "share of steps that made the loss larger", worse))
    if largest > limits.update_ratio_high and harmed:
        evidence.append(seen(limits, "update_ratio_high", "largest step over weights", largest))
    if not evidence:
        return []
    told = f"The loss went from {first:.3g} to {late:.3g}"
    detail = f"{told}; a step changes the weights by up to {largest:.2g} of their size"
    return [finding("rate-too-high", "severe", ("optimizer",), evidence, detail=detail)]


def check_units(context: Context) -> list[Finding]:
    """Units that die, or saturate, while training goes on."""
    found, limits = _readings(context), context.thresholds
    if found is None:
        return []
    results = []
    places = hidden_positions(context, found)
    for name, code in (("dead", "dying-units"), ("saturated", "saturating-units")):
        shares = found.values[name][:, places]
        worse = {
            found.layers[place]: float(share[-1])
            for place, share in zip(places, shares.T, strict=True)
            if share[-1] > limits.unit_share_trained and share[0] <= limits.unit_share_trained
        }
        if worse:
            layer = max(worse, key=worse.__getitem__)
            evidence = [seen(limits, "unit_share_trained", "share at the last reading", worse[layer])]
            detail = f"{worse[layer]:.0%} of the units of {layer}, and it was less before the training"
            results.append(finding(code, "severe", worse, evidence, detail=detail))
    return results


def check_movement(context: Context) -> list[Finding]:
    """A loss that does not fall, and why: steps too small, or gradients that say nothing."""
    found, limits = _readings(context), context.thresholds
    if found is None or found.steps[-1] + 1 < limits.least_steps or check_rate(context):
        return []
    steps = np.nanmedian(_sizes(context, found), axis=0)
    moved = _movement(found)
    if moved >= limits.movement:
        return []
    count = found.steps[-1] + 1
    evidence = [seen(limits, "movement", f"fall of the loss in {count} steps", moved)]
    upstream = _upstream(context)
    told = f"In {count} steps the loss went from {found.loss[0]:.4g} to {_after(found)[-1]:.4g}"
    if upstream is not None:
        remedies = upstream.remedies
        return [finding("loss-not-moving", "severe", ("training",), evidence, remedies, detail=told)]
    if _without_gradient(context, found):
        detail = f"{told}: no weight gets a gradient"
        return [finding("loss-not-moving", "severe", ("training",), evidence, detail=detail)]
    usual = float(np.nanmedian(steps)) if len(steps) else np.nan
    for limit, severity in _TOO_LOW:
        if usual < getattr(limits, limit):
            evidence.insert(0, seen(limits, limit, "step over weights", usual))
            detail = f"A step changes the weights by {usual:.1e} of their size. {told}"
            return [finding("rate-too-low", severity, ("optimizer",), evidence, detail=detail)]
    # The steps are sound and the gradient arrives: many a sound network waits so long on a plateau.
    return [finding("loss-not-moving", "warning", ("training",), evidence, detail=told)]


def _sizes(context: Context, found: Measurements) -> np.ndarray:
    """Steps over weights [readings, layers] of layers with a kernel, without those that are all NaN."""
    kernels = [found.layers.index(one.path) for one in context.weighted if one.path in found.layers]
    ratios = found.values["update_ratio"][:, kernels]
    return ratios[:, ~np.isnan(ratios).all(axis=0)]


def _movement(found: Measurements) -> float:
    """How far the loss fell below its first value, as a share of it; negative where it grew."""
    return float((found.loss[0] - np.min(_after(found))) / max(abs(found.loss[0]), 1e-12))


def _lost_at_first(context: Context) -> Finding | None:
    """What was found before any step that keeps signal or gradient from passing, whatever the rate."""
    earlier = (one for check in PROBE_CHECKS for one in check(context))
    return next((one for one in earlier if one.severity == "severe"), None)


def _upstream(context: Context) -> Finding | None:
    """What keeps signal or gradient from passing, found before any step or since."""
    return _lost_at_first(context) or next(iter((*check_gradients(context), *check_units(context))), None)


def _without_gradient(context: Context, found: Measurements) -> bool:
    """Whether next to no gradient comes to any weight, at the median reading."""
    norms = found.values["weight_gradient_norm"]
    return bool(np.nanmax(np.nan_to_num(np.median(norms, axis=0))) < context.thresholds.gradient_least)


CHECKS: tuple[Check, ...] = (
    check_finite,
    check_gradients,
    check_rate,
    check_units,
    check_movement,
    *curves.CHECKS,
)
"""What is asked of a training; each gives nothing where there is too little to judge by."""
