"""Checks of one forward and backward pass: signal and gradient through depth, dead and saturated units."""

import math
from typing import Final

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context, is_passed, within
from kilter._diagnosis.thresholds import band
from kilter._models.layers import ATTENTION, activation_layers
from kilter._records import Evidence, Finding, Measurements, Severity

_STEEP: Final = ("tanh", "softsign", "linear", "elu", "selu", "leaky_relu", "prelu", "gelu", "silu", "mish")
_LOST: Final = 1e-12  # of the largest gradient


def hidden_positions(context: Context, found: Measurements) -> list[int]:
    """Indices of the hidden layers, after their activations, among the measured layers; in order.

    The projections of an attention are not among them: its softmax scales their signals and gradients.
    """
    places = {path: index for index, path in enumerate(found.layers)}
    inner = within(context, ATTENTION)
    paths = [one.activation_layer for one in context.hidden if one.path not in inner]
    return [places[path] for path in paths if path in places]


def can_die(context: Context, path: str) -> bool:
    """Whether units whose output is 0 get no gradient: tanh and its like are steepest there."""
    return all(one.activation not in _STEEP for one in context.hidden if one.activation_layer == path)


def first_bad_layer(found: Measurements, reading: int) -> str | None:
    """The first layer with a non-finite output at a reading; None if there is none."""
    bad = np.flatnonzero(~np.isfinite(found.values["std"][reading]))
    return found.layers[int(bad[0])] if len(bad) else None


def check_finite(context: Context) -> list[Finding]:
    """NaN or infinity in the first forward pass."""
    found = context.probe
    if found is None or not len(found):
        return []
    layer = first_bad_layer(found, 0)
    if layer is None and np.isfinite(found.loss[0]):
        return []
    detail = f"before the first step, in {layer or 'the loss'}"
    return [finding("non-finite", "severe", (layer or "loss",), detail=detail)]


def check_forward(context: Context) -> list[Finding]:
    """Activations with a standard deviation that shrinks or grows with depth."""
    return _through_depth(context, "std", "variance-forward", backward=False)


def check_backward(context: Context) -> list[Finding]:
    """Gradients with a standard deviation that shrinks or grows on the way back."""
    return _through_depth(context, "gradient_std", "variance-backward", backward=True)


def _through_depth(context: Context, name: str, code: str, *, backward: bool) -> list[Finding]:
    found, limits = context.probe, context.thresholds
    if found is None or not len(found):
        return []
    deviations = found.values[name][0][hidden_positions(context, found)]
    if backward and (alive := deviations[deviations != 0]).size and alive.min() > _LOST * alive.max():
        deviations = alive  # what has none is beside the path; a gradient that fades does so step by step
    if len(deviations) < 2 or not np.isfinite(deviations).all() or not np.isfinite(found.loss[0]):
        return []
    first, last = float(deviations[0]), float(deviations[-1])
    begin, end = (last, first) if backward else (first, last)
    if begin == 0:
        return []
    ratio = end / begin
    spread = max(ratio, 1 / ratio) if ratio > 0 else math.inf
    reached = band(limits, "deviation_ratio", spread)
    if not backward and last < limits.deviation_least <= first:
        reached = "severe", "deviation_ratio"
    if reached is None:
        return []
    severity, limit = reached
    rate = ratio ** (1 / (len(deviations) - 1))
    fallen = spread <= getattr(limits, limit)
    name = "standard deviation of the last hidden layer" if fallen else "ratio of the standard deviations"
    evidence = [
        context.seen("deviation_least", name, last) if fallen else context.seen(limit, name, spread),
        Evidence("factor per layer", rate),
    ]
    inner = within(context, ATTENTION)
    ends = [one.path for one in context.hidden if one.path not in inner]
    where = [ends[0 if backward else -1]]
    return [finding(code, severity, where, evidence, first=first, last=last, rate=rate)]


def check_saturated(context: Context) -> list[Finding]:
    """Hidden outputs in the flat part of their activation."""
    return _share(context, "saturated", "saturated-units")


def check_dead(context: Context) -> list[Finding]:
    """Hidden units that output 0 for every row."""
    return _share(context, "dead", "dead-units")


def _share(context: Context, name: str, code: str) -> list[Finding]:
    found, limits = context.probe, context.thresholds
    if found is None or not len(found):
        return []
    bands: dict[tuple[Severity, str], dict[str, float]] = {}
    for place in hidden_positions(context, found):
        share = float(found.values[name][0][place])
        if name == "dead" and not can_die(context, found.layers[place]):
            continue
        if reached := band(limits, "unit_share", share):
            bands.setdefault(reached, {})[found.layers[place]] = share
    results = []
    for (severity, limit), layers in sorted(bands.items()):  # severe ones first
        share = max(layers.values())
        evidence = [context.seen(limit, "largest share in a hidden layer", share)]
        results.append(finding(code, severity, layers, evidence, share=share))
    return results


def check_lost(context: Context) -> list[Finding]:
    """Layers that return one number whatever they get, as a normalisation over a single number does.

    Only where nothing leads around them. Kernels of zeros and dead units are other findings, and a scale that
    starts at 0 learns.
    """
    found = context.probe
    if found is None or not len(found) or not np.isfinite(found.loss[0]):
        return []
    deviations = dict(zip(found.layers, found.values["std"][0], strict=True))
    scales = {one.path: getattr(one.layer, "gamma", None) for one in context.layers}
    plain = [
        one
        for one in context.layers
        if not (one.is_weighted or isinstance(one.layer, activation_layers()))
        and (scales[one.path] is None or np.any(np.asarray(scales[one.path])))
    ]
    lost = [
        one.path
        for one in plain
        if deviations.get(one.path) == 0
        and all(deviations.get(context.layers[place].path, 1.0) > 0 for place in one.sources)
        and is_passed(context, one)
    ]
    if not lost:
        return []
    evidence = [Evidence("layers whose output does not vary", len(lost), 0)]
    return [finding("rows-alike", "severe", lost, evidence)]


def check_disconnected(context: Context) -> list[Finding]:
    """Weights without gradient in a layer that is alive, while other layers have one."""
    found = context.probe
    if found is None or not len(found) or not np.isfinite(found.loss[0]):
        return []
    gradients, dead = found.values["weight_gradient_norm"][0], found.values["dead"][0]
    trained = np.isfinite(gradients)
    silent = trained & (gradients == 0) & (dead < 1)
    # If the gradient vanishes on its way back, check_backward reports it.
    vanished = {one.code for one in check_backward(context) if one.severity == "severe"}
    if vanished or not silent.any() or not (trained & (gradients > 0)).any():
        return []
    after_dead = [index for index in np.flatnonzero(silent) if not (dead[index:] == 1).any()]
    layers = [found.layers[index] for index in after_dead]
    return [finding("disconnected-layer", "severe", layers)] if layers else []
