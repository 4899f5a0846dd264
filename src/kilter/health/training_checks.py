"""Checks of a training: of readings at some of its steps, and of its curves."""

from __future__ import annotations

import numpy as np

from kilter.health.catalogue import finding
from kilter.health.context import Context
from kilter.health.probe_checks import Check, first_bad_layer, hidden_positions
from kilter.health.signal_thresholds import LIMITS
from kilter.health.thresholds import seen
from kilter.records import Finding, Measurements


def _readings(context: Context) -> Measurements | None:
    """The readings, if there are enough of them to judge by."""
    found = context.training
    return found if found is not None and len(found) >= 2 else None


def _finite(found: Measurements) -> bool:
    return bool(np.isfinite(found.loss).all() and np.isfinite(found.loss_after).all())


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
    if np.isfinite(found.loss_after).all():
        return []
    step = found.steps[int(np.flatnonzero(~np.isfinite(found.loss_after))[0])]
    return [finding("non-finite", "severe", ("loss",), detail=f"in the loss after step {step}")]


def check_vanishing(context: Context) -> list[Finding]:
    """Gradients that stay far smaller in the first hidden layer than in the last."""
    found = _readings(context)
    if found is None or not _finite(found):
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
    evidence = [seen(LIMITS, "gradient_ratio", "gradient of the first over that of the last layer", ratio)]
    if ratio < LIMITS.gradient_ratio:
        detail = f"In the first hidden layer the gradient is {ratio:.1e} of that in the last"
        return [finding("vanishing-gradients", "severe", (found.layers[places[0]],), evidence, detail=detail)]
    if ratio > 1 / LIMITS.gradient_ratio:
        detail = f"In the first hidden layer the gradient is {ratio:.1e} times that in the last"
        return [finding("exploding-gradients", "severe", (found.layers[places[0]],), evidence, detail=detail)]
    return []


def check_steps(context: Context) -> list[Finding]:
    """Steps as large as the weights, or so small that nothing changes."""
    found = _readings(context)
    if found is None or not _finite(found):
        return []
    ratios = found.values["update_ratio"]
    kernels = [found.layers.index(one.path) for one in context.weighted if one.path in found.layers]
    if not kernels or not np.isfinite(ratios[:, kernels]).any():
        return []
    typical = np.nanmedian(ratios[:, kernels], axis=0)
    largest, usual = float(np.nanmax(typical)), float(np.nanmedian(typical))
    worse = found.loss[-1] > found.loss[0]
    if largest > LIMITS.update_ratio_high and worse:
        layer = found.layers[kernels[int(np.nanargmax(typical))]]
        evidence = [seen(LIMITS, "update_ratio_high", "step over weights", largest)]
        detail = f"A step changes the weights of {layer} by {largest:.2g} of their size, and the loss grows"
        return [finding("rate-too-high", "severe", ("optimizer",), evidence, detail=detail)]
    if usual < LIMITS.update_ratio_low and _movement(found) < LIMITS.movement:
        evidence = [seen(LIMITS, "update_ratio_low", "step over weights", usual)]
        detail = f"A step changes the weights by {usual:.1e} of their size, and the loss stays where it was"
        return [finding("rate-too-low", "severe", ("optimizer",), evidence, detail=detail)]
    return []


def _movement(found: Measurements) -> float:
    """How far the loss fell below its first value, as a share of it."""
    return float((found.loss[0] - np.min(found.loss_after)) / max(abs(found.loss[0]), 1e-12))


def check_movement(context: Context) -> list[Finding]:
    """A loss that does not fall: it grows, or it stays."""
    found = _readings(context)
    if found is None or not _finite(found) or found.steps[-1] + 1 < LIMITS.least_steps:
        return []
    half = len(found) // 2
    late, first = float(np.median(found.loss[half:])), float(found.loss[0])
    worse = float(np.mean(found.loss_after > found.loss))
    if late > LIMITS.divergence * first and first > 0:
        evidence = [seen(LIMITS, "divergence", "late over first loss", late / first)]
        detail = f"The loss went from {first:.3g} to {late:.3g}"
        return [finding("rate-too-high", "severe", ("optimizer",), evidence, detail=detail)]
    if late >= first and worse > LIMITS.worse_steps:
        evidence = [seen(LIMITS, "worse_steps", "share of steps that made the loss larger", worse)]
        detail = f"{worse:.0%} of the measured steps made the loss larger"
        return [finding("rate-too-high", "severe", ("optimizer",), evidence, detail=detail)]
    moved = _movement(found)
    if moved < LIMITS.movement:
        evidence = [seen(LIMITS, "movement", f"fall of the loss in {found.steps[-1] + 1} steps", moved)]
        detail = f"In {found.steps[-1] + 1} steps the loss went from {first:.4g} to {late:.4g}"
        return [finding("loss-not-moving", "severe", ("training",), evidence, detail=detail)]
    return []


def check_units(context: Context) -> list[Finding]:
    """Units that die, or saturate, while training goes on."""
    found = _readings(context)
    if found is None:
        return []
    results = []
    for name, code in (("dead", "dying-units"), ("saturated", "saturating-units")):
        places = hidden_positions(context, found)
        shares = found.values[name][:, places]
        layers = [
            found.layers[place]
            for place, share in zip(places, shares.T, strict=True)
            if share[-1] > LIMITS.unit_share and share[-1] > share[0] + 0.1
        ]
        if layers:
            share = float(np.nanmax(shares[-1]))
            evidence = [seen(LIMITS, "unit_share", "share at the last reading", share)]
            detail = f"{share:.0%} of the units of {layers[0]}, and it was less before"
            results.append(finding(code, "severe", layers, evidence, detail=detail))
    return results


def _curve(context: Context, name: str) -> np.ndarray | None:
    """A curve of the history, if it is long enough to judge by."""
    values = (context.history or {}).get(name)
    if values is None or len(values) < LIMITS.least_epochs:
        return None
    return np.asarray(values, dtype=np.float64)


def check_curves_finite(context: Context) -> list[Finding]:
    """A loss that stopped being a number in some epoch."""
    values = np.asarray((context.history or {}).get("loss", ()), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return []
    return [finding("non-finite", "severe", ("loss",), detail=f"in the loss of epoch {bad[0] + 1}")]


def check_curve_falls(context: Context) -> list[Finding]:
    """A training loss that grew over the epochs, or stayed where it was; one class predicted throughout."""
    loss = _curve(context, "loss")
    if loss is None or not np.isfinite(loss).all() or loss[0] <= 0:
        return []
    fallen = float((loss[0] - loss.min()) / loss[0])
    if loss[-1] > LIMITS.divergence * loss[0]:
        evidence = [seen(LIMITS, "divergence", "last over first loss", float(loss[-1] / loss[0]))]
        detail = f"The loss went from {loss[0]:.3g} to {loss[-1]:.3g} in {len(loss)} epochs"
        return [finding("rate-too-high", "severe", ("optimizer",), evidence, detail=detail)]
    if fallen >= LIMITS.fall:
        return []
    evidence = [seen(LIMITS, "fall", f"fall of the loss in {len(loss)} epochs", fallen)]
    accuracy = _curve(context, "accuracy")
    if accuracy is not None and np.ptp(accuracy[1:]) < LIMITS.accuracy_band and accuracy[-1] < 0.9:
        detail = f"The accuracy stays at {accuracy[-1]:.3f} from epoch to epoch"
        return [finding("collapsed-output", "severe", ("training",), evidence, detail=detail)]
    detail = f"In {len(loss)} epochs the loss went from {loss[0]:.4g} to {loss[-1]:.4g}"
    return [finding("loss-not-moving", "severe", ("training",), evidence, detail=detail)]


def check_generalisation(context: Context) -> list[Finding]:
    """Overfitting: the validation loss rose from its best while the training loss went on falling."""
    loss, validation = _curve(context, "loss"), _curve(context, "val_loss")
    if loss is None or validation is None or not np.isfinite([*loss, *validation]).all():
        return []
    best = int(np.argmin(validation))
    if best >= len(validation) - 2 or validation[best] <= 0:
        return []
    ratio = float(np.median(validation[-3:]) / validation[best])
    if ratio <= LIMITS.overfit_ratio or loss[-1] >= loss[best]:
        return []
    evidence = [seen(LIMITS, "overfit_ratio", "validation loss at the end over its best", ratio)]
    detail = f"The validation loss was best in epoch {best + 1} and is {ratio:.2f} times that at the end"
    return [finding("overfitting", "warning", ("training",), evidence, detail=detail)]


def check_oscillation(context: Context) -> list[Finding]:
    """A training loss that goes up and down from epoch to epoch."""
    loss = _curve(context, "loss")
    if loss is None or not np.isfinite(loss).all():
        return []
    changes = np.diff(loss)
    turns = float(np.mean(np.sign(changes[1:]) != np.sign(changes[:-1])))
    size = float(np.median(np.abs(changes)) / max(np.median(np.abs(loss)), 1e-12))
    if turns <= LIMITS.oscillation_share or size <= LIMITS.oscillation_size:
        return []
    evidence = [seen(LIMITS, "oscillation_size", "typical change from epoch to epoch", size)]
    detail = f"It turns in {turns:.0%} of the epochs, by {size:.0%} of its value"
    return [finding("oscillating-loss", "warning", ("training",), evidence, detail=detail)]


def check_statistics(context: Context) -> list[Finding]:
    """Batch normalisation whose moving statistics disagree with the batches' own on the same rows."""
    loss, evaluated = _curve(context, "loss"), _curve(context, "train_loss")
    normalised = any(one.kind == "BatchNormalization" for one in context.layers)
    if loss is None or evaluated is None or not normalised or not loss[-1] > 0:
        return []
    ratio = float(evaluated[-1] / loss[-1])
    if not ratio > LIMITS.stale_ratio:
        return []
    evidence = [seen(LIMITS, "stale_ratio", "loss in inference mode over loss in training", ratio)]
    detail = f"On the training rows the loss is {ratio:.1f} times as high in inference mode"
    return [finding("stale-batch-norm", "warning", ("training",), evidence, detail=detail)]


CHECKS: tuple[Check, ...] = (
    check_finite,
    check_vanishing,
    check_steps,
    check_movement,
    check_units,
    check_curves_finite,
    check_curve_falls,
    check_generalisation,
    check_oscillation,
    check_statistics,
)
"""What is asked of a training; each gives nothing where there is too little to judge by."""
