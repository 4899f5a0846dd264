"""Checks of how a training moves: size of its updates, growth of its weights, curvature, loss of signal."""

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.probe import hidden_positions
from kilter._diagnosis.checks.training import finite_readings
from kilter._diagnosis.context import Context
from kilter._records import Evidence, Finding, Measurements, Severity

_LARGE_MOMENTUM = 0.5


def _readings(context: Context) -> Measurements | None:
    found = finite_readings(context)
    enough = found is not None and len(found) > 2 and found.steps[-1] + 1 >= context.thresholds.least_steps
    return found if enough else None


def check_updates(context: Context) -> list[Finding]:
    """Updates that stay outside 1e-4 to 1e-2 of the weights, by far more than healthy training runs do."""
    found, limits = _readings(context), context.thresholds
    if found is None:
        return []
    kernels = {one.path for one in context.weighted}
    ratios = {
        path: float(np.nanmedian(found.values["update_ratio"][:, index]))
        for index, path in enumerate(found.layers)
        if path in kernels and np.isfinite(found.values["update_ratio"][:, index]).any()
    }
    outside = {
        path: ratio
        for path, ratio in ratios.items()
        if ratio > limits.update_ratio_sustained or 0 < ratio < limits.update_ratio_low_warning
    }
    if not outside:
        return []
    worst = max(outside, key=lambda path: abs(np.log(outside[path] / 1e-3)))
    low = outside[worst] < limits.update_ratio_low_warning
    limit = "update_ratio_low_warning" if low else "update_ratio_sustained"
    evidence = [context.seen(limit, "median update over the weights", outside[worst])]
    return [finding("update-ratio", "note", outside, evidence, ratio=outside[worst])]


def check_still(context: Context) -> list[Finding]:
    """Kernels that get a gradient and stay what they were: no update, or one that a constraint undoes."""
    found, limits = _readings(context), context.thresholds
    places = {} if found is None else {path: index for index, path in enumerate(found.layers)}
    kernels = [one for one in context.weighted if one.path in places and one.layer.trainable]
    if found is None or not kernels:
        return []
    moved = [np.nanmax(found.values["update_ratio"][:, places[one.path]], initial=0.0) for one in kernels]
    norms = [np.min(found.values["weight_gradient_norm"][:, places[one.path]]) for one in kernels]
    pairs = zip(kernels, moved, norms, strict=True)
    still = [one.path for one, most, norm in pairs if most == 0 and norm > limits.gradient_least]
    if not still:
        return []
    evidence = [Evidence("layers whose weights did not change", len(still), 0, f"of {len(kernels)}")]
    severity: Severity = "severe" if len(still) == len(kernels) else "warning"
    words = {"steps": int(found.steps[-1] + 1), "detail": f"every weight of {', '.join(still[:4])}"}
    return [finding("weights-not-moving", severity, still, evidence, **words)]


def check_growth(context: Context) -> list[Finding]:
    """Weights that become several times as large within the first steps."""
    found, limits = _readings(context), context.thresholds
    if found is None:
        return []
    norms = found.values["weight_norm"]
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = norms[-1] / norms[0]
    grown = {
        path: float(factor)
        for path, factor in zip(found.layers, factors, strict=True)
        if np.isfinite(factor) and factor > limits.weight_growth
    }
    if not grown:
        return []
    most, steps = max(grown.values()), int(found.steps[-1] + 1)
    evidence = [context.seen("weight_growth", "weights at the end over those at the start", most)]
    return [finding("weights-growing", "warning", grown, evidence, factor=most, steps=steps)]


def check_stability(context: Context) -> list[Finding]:
    """Curvature times rate above 2 along the gradient, from how the loss changes over whole-batch steps.

    To second order a step of rate η changes the loss by -η‖g‖² + η²gᵀHg/2, so ηgᵀHg/‖g‖² is
    2(change + η‖g‖²) / (η‖g‖²). Only for plain gradient descent on all rows, where that holds.
    """
    found, limits, facts = _readings(context), context.thresholds, context.optimizer
    rate = facts.learning_rate
    plain = facts.name == "sgd" and facts.momentum < _LARGE_MOMENTUM and not facts.scheduled
    if found is None or not plain or not rate or context.batch_size < context.rows:
        return []
    squares = np.nansum(np.square(found.values["weight_gradient_norm"]), axis=1)
    change = found.loss_after - found.loss
    known = np.isfinite(change) & (squares > 0)
    if known.sum() < 3:
        return []
    products = 2 * (change[known] + rate * squares[known]) / (rate * squares[known])
    product = float(np.median(products))
    if product <= limits.stability:
        return []
    evidence = [context.seen("stability", "curvature along the gradient times rate", product)]
    return [finding("edge-of-stability", "warning", ("optimizer",), evidence, product=product)]


def check_signal(context: Context) -> list[Finding]:
    """Hidden layers whose outputs hardly vary any more after the first steps."""
    found, limits = _readings(context), context.thresholds
    if found is None:
        return []
    places = hidden_positions(context, found)
    deviations = found.values["std"][:, places]
    lost = {}
    for place, (first, last) in zip(places, zip(deviations[0], deviations[-1], strict=True), strict=True):
        if np.isfinite(last) and first > limits.deviation_least and last / first < limits.signal_left:
            lost[found.layers[place]] = float(last / first)
    if not lost:
        return []
    least = min(lost.values())
    evidence = [context.seen("signal_left", "deviation of the outputs over that before training", least)]
    return [finding("signal-collapse", "warning", lost, evidence, share=least)]


def check_logits(context: Context) -> list[Finding]:
    """Attention whose logits grow within the first steps until each query reads one token.

    Queries times keys, over the root of their width, deviate by about the product of both deviations.
    """
    found, limits = _readings(context), context.thresholds
    places = {} if found is None else {path: index for index, path in enumerate(found.layers)}
    grown = {}
    for path, index in places.items():
        holder, slash, name = path.rpartition("/")
        if found is None or not slash or name != "query" or f"{holder}/key" not in places:
            continue
        spread = found.values["std"][:, index] * found.values["std"][:, places[f"{holder}/key"]]
        if np.isfinite(spread).all() and spread[-1] > limits.logits and spread[-1] > 5 * spread[0]:
            grown[holder] = float(spread[-1])
    if found is None or not grown:
        return []
    most, steps = max(grown.values()), int(found.steps[-1] + 1)
    evidence = [context.seen("logits", "deviation of the attention's logits", most)]
    return [finding("attention-logits-growing", "warning", grown, evidence, most=most, steps=steps)]
