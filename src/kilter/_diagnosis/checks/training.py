"""Checks of measurements taken during training.

Causes are reported before symptoms. If signal or gradient is lost on its way, a loss that does not fall is
reported with the remedies of that cause, and the learning rate is not blamed.
"""

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks import probe
from kilter._diagnosis.checks.probe import can_die, first_bad_layer, hidden_positions
from kilter._diagnosis.context import Context, checks_in
from kilter._records import Finding, Measurements, Severity

_TOO_LOW: dict[str, Severity] = {"update_ratio_low": "severe", "update_ratio_low_warning": "warning"}


def finite_readings(context: Context) -> Measurements | None:
    """The measured steps if they are finite and enough to judge; otherwise None."""
    found = context.training
    if found is None or len(found) < 2:
        return None
    return found if np.isfinite([*found.loss, *_after(found)]).all() else None


def _after(found: Measurements) -> np.ndarray:
    """The loss after each measured step; if it was not measured, the loss at the next measurement."""
    if np.isnan(found.loss_after).all():
        return np.append(found.loss[1:], found.loss[-1:])
    return found.loss_after


def check_finite(context: Context) -> list[Finding]:
    """NaN or infinity during training: the step, and the first layer."""
    found = context.training
    if found is None or not len(found) or not np.isfinite(found.loss[0]):
        return []  # the check of the probe reports it
    for reading, step in enumerate(found.steps):
        layer = first_bad_layer(found, reading)
        if layer is not None or not np.isfinite(found.loss[reading]):
            detail = f"by step {step}, first in {layer or 'the loss'}"
            return [finding("non-finite", "severe", (layer or "loss",), detail=detail)]
        if not np.isfinite(_after(found)[reading]):
            return [finding("non-finite", "severe", ("loss",), detail=f"in the loss after step {step}")]
    return []


def check_gradients(context: Context) -> list[Finding]:
    """Gradients that stay far smaller or larger in the first hidden layer than in the last."""
    found, limits = finite_readings(context), context.thresholds
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
    evidence = [context.seen("gradient_ratio", "gradient of the first layer over that of the last", ratio)]
    detail = f"The gradient in the first hidden layer is {ratio:.1e} times that in the last one"
    where = (found.layers[places[0]],)
    if ratio < limits.gradient_ratio:
        return [finding("vanishing-gradients", "severe", where, evidence, detail=detail)]
    if ratio > 1 / limits.gradient_ratio:
        return [finding("exploding-gradients", "severe", where, evidence, detail=detail)]
    return []


def check_rate(context: Context) -> list[Finding]:
    """Steps that are too large: a loss that grows or jumps, or units that die."""
    found, limits = finite_readings(context), context.thresholds
    if found is None or found.steps[-1] + 1 < limits.least_steps or _lost_at_first(context):
        return []
    first, late = float(found.loss[0]), float(np.median(_after(found)[len(found) // 2 :]))
    size = max(abs(first), 1e-12)
    change = (_after(found) - found.loss) / size
    worse, largest_jump = float(np.mean(change > 0)), float(np.max(change))
    # The largest at any time: units that one step killed get no further updates.
    largest = float(np.nanmax(_sizes(context, found), initial=0.0))
    harmed = (first - late) / size < limits.movement_high or bool(check_units(context))
    evidence = []
    # With tiny steps a loss grows through chance, such as dropout.
    if first > 0 and late > limits.divergence * first and largest > limits.update_ratio_low_warning:
        evidence.append(context.seen("divergence", "late over first loss", late / first))
    if worse > limits.worse_steps and largest_jump > limits.worse_size and late >= first:
        evidence.append(context.seen("worse_steps", "share of steps that increased the loss", worse))
    if largest > limits.update_ratio_high and harmed:
        evidence.append(context.seen("update_ratio_high", "largest update relative to the weights", largest))
    if not evidence:
        return []
    change = f"The loss went from {first:.3g} to {late:.3g}"
    detail = f"{change}, and a step changes the weights by up to {largest:.2g} of their size"
    return [finding("rate-too-high", "severe", ("optimizer",), evidence, detail=detail)]


def check_units(context: Context) -> list[Finding]:
    """Units that die or saturate during training."""
    found, limits = finite_readings(context), context.thresholds
    if found is None:
        return []
    results = []
    places = hidden_positions(context, found)
    for name, code in (("dead", "dying-units"), ("saturated", "saturating-units")):
        shares = found.values[name][:, places]
        worse = {
            found.layers[place]: float(share[-1])
            for place, share in zip(places, shares.T, strict=True)
            if share[-1] > limits.unit_share_trained
            and share[0] <= limits.unit_share_trained
            and (name != "dead" or can_die(context, found.layers[place]))
        }
        if worse:
            layer = max(worse, key=worse.__getitem__)
            evidence = [context.seen("unit_share_trained", "share at the last measurement", worse[layer])]
            detail = f"{worse[layer]:.0%} of the units of {layer} are {name}, more than before training"
            results.append(finding(code, "severe", worse, evidence, detail=detail))
    return results


def check_movement(context: Context) -> list[Finding]:
    """A loss that does not fall, with the cause: steps too small, or no gradient."""
    found, limits = finite_readings(context), context.thresholds
    if found is None or found.steps[-1] + 1 < limits.least_steps or check_rate(context):
        return []
    steps = np.nanmedian(_sizes(context, found), axis=0)
    moved = float((found.loss[0] - np.min(_after(found))) / max(abs(found.loss[0]), 1e-12))
    if moved >= limits.movement:
        return []
    count = found.steps[-1] + 1
    evidence = [context.seen("movement", f"fall of the loss in {count} steps", moved)]
    upstream = _upstream(context)
    change = f"In {count} steps the loss went from {found.loss[0]:.4g} to {_after(found)[-1]:.4g}"
    if upstream is not None:
        remedies = upstream.remedies
        return [finding("loss-not-moving", "severe", ("training",), evidence, remedies, detail=change)]
    if _without_gradient(context, found):
        detail = f"{change}: no weight gets a gradient"
        return [finding("loss-not-moving", "severe", ("training",), evidence, detail=detail)]
    usual = float(np.nanmedian(steps)) if len(steps) else np.nan
    for limit, severity in _TOO_LOW.items():
        if usual < getattr(limits, limit):
            evidence.insert(0, context.seen(limit, "update relative to the weights", usual))
            detail = f"A step changes the weights by {usual:.1e} of their size. {change}"
            return [finding("rate-too-low", severity, ("optimizer",), evidence, detail=detail)]
    # Steps and gradients are fine: many healthy networks stay on a plateau for this long.
    return [finding("loss-not-moving", "warning", ("training",), evidence, detail=change)]


def _sizes(context: Context, found: Measurements) -> np.ndarray:
    """Updates relative to weights, [readings, layers], of layers with a kernel; all-NaN layers left out."""
    kernels = [found.layers.index(one.path) for one in context.weighted if one.path in found.layers]
    ratios = found.values["update_ratio"][:, kernels]
    return ratios[:, ~np.isnan(ratios).all(axis=0)]


def _lost_at_first(context: Context) -> Finding | None:
    """The severe finding before the first step, which no learning rate can fix; None without one."""
    earlier = (one for check in checks_in(probe) for one in check(context))
    return next((one for one in earlier if one.severity == "severe"), None)


def _upstream(context: Context) -> Finding | None:
    """The finding that explains a lost signal or gradient, before or during training; None without one."""
    return _lost_at_first(context) or next(iter((*check_gradients(context), *check_units(context))), None)


def _without_gradient(context: Context, found: Measurements) -> bool:
    """Whether the median gradient of every weight is close to 0."""
    norms = found.values["weight_gradient_norm"]
    return bool(np.nanmax(np.nan_to_num(np.median(norms, axis=0))) < context.thresholds.gradient_least)
