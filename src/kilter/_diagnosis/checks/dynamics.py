"""Checks of how a training moves: what was measured beside it, and its learning curves.

Measured are the size of updates, the growth of weights, curvature, and loss of signal; the curves are the
numbers of each epoch, as a History has them.
"""

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


# With a higher accuracy a constant accuracy means success, not one class for every row.
_GOOD_ACCURACY = 0.9


def _curve(context: Context, name: str) -> np.ndarray | None:
    """The curve of that name if it is finite and long enough to judge; otherwise None."""
    values = np.asarray((context.history or {}).get(name, ()), dtype=np.float64)
    enough = len(values) >= context.thresholds.least_epochs
    return values if enough and np.isfinite(values).all() else None


def check_finite(context: Context) -> list[Finding]:
    """A loss that became NaN or infinite in some epoch."""
    values = np.asarray((context.history or {}).get("loss", ()), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return []
    return [finding("non-finite", "severe", ("loss",), detail=f"in the loss of epoch {bad[0] + 1}")]


def check_fall(context: Context) -> list[Finding]:
    """A training loss that grew or did not fall, or one class predicted for every row."""
    loss, limits = _curve(context, "loss"), context.thresholds
    if loss is None or loss[0] <= 0:
        return []
    change = f"In {len(loss)} epochs the loss went from {loss[0]:.4g} to {loss[-1]:.4g}"
    growth = float(np.median(loss[-3:]) / loss[0])
    if growth > limits.divergence:
        evidence = [context.seen("divergence", "last over first loss", growth)]
        return [finding("rate-too-high", "severe", ("optimizer",), evidence, detail=change)]
    fallen = float((loss[0] - loss.min()) / loss[0])
    if fallen >= limits.fall:
        return []
    evidence = [context.seen("fall", f"fall of the loss in {len(loss)} epochs", fallen)]
    accuracy = _curve(context, "accuracy")
    if accuracy is None:
        return [finding("loss-not-moving", "severe", ("training",), evidence, detail=change)]
    if accuracy[-1] >= _GOOD_ACCURACY:  # a trained model that has little left to learn
        return []
    if np.ptp(accuracy[1:]) < limits.accuracy_band:
        detail = f"{change}, and the accuracy stays at {accuracy[-1]:.3f}"
        return [finding("collapsed-output", "severe", ("training",), evidence, detail=detail)]
    return [finding("loss-not-moving", "severe", ("training",), evidence, detail=change)]


def check_generalisation(context: Context) -> list[Finding]:
    """Overfitting: the validation loss rose after its best epoch while the training loss kept falling."""
    loss, validation, limits = _curve(context, "loss"), _curve(context, "val_loss"), context.thresholds
    if loss is None or validation is None or len(loss) != len(validation):
        return []
    best = int(np.argmin(validation))
    if best >= len(validation) - 2 or validation[best] <= 0 or loss[-1] >= loss[best]:
        return []
    ratio = float(np.median(validation[-3:]) / validation[best])
    if ratio <= limits.overfit_ratio:
        return []
    evidence = [context.seen("overfit_ratio", "final over best validation loss", ratio)]
    detail = f"The validation loss was lowest in epoch {best + 1} and is {ratio:.2f} times as high at the end"
    return [finding("overfitting", "warning", ("training",), evidence, detail=detail)]


def check_oscillation(context: Context) -> list[Finding]:
    """A training loss that goes up and down between epochs."""
    loss, limits = _curve(context, "loss"), context.thresholds
    if loss is None or loss[0] <= 0:
        return []
    changes = np.diff(loss)
    turns = float(np.mean(np.sign(changes[1:]) != np.sign(changes[:-1])))
    # Relative to the first loss: near its minimum a loss fluctuates too, by much of its own value.
    size = float(np.median(np.abs(changes)) / loss[0])
    if turns <= limits.oscillation_share or size <= limits.oscillation_size:
        return []
    evidence = [
        context.seen("oscillation_share", "share of epochs in which the loss changes direction", turns),
        context.seen("oscillation_size", "typical change relative to the first loss", size),
    ]
    detail = (
        f"The loss changes direction in {turns:.0%} of the epochs, typically by {size:.0%} of its first value"
    )
    return [finding("oscillating-loss", "warning", ("training",), evidence, detail=detail)]


def check_end(context: Context) -> list[Finding]:
    """A loss that was still falling at the end: it fell slowly throughout, or training stopped early."""
    loss, limits = _curve(context, "loss"), context.thresholds
    if loss is None or len(loss) < 2 * limits.least_epochs or check_fall(context):
        return []
    validation = _curve(context, "val_loss")
    if validation is not None and np.argmin(validation) < len(validation) - 2:
        return []  # what still falls is of no use
    fall = float(loss[0] - loss[-1])
    if fall <= 0:
        return []
    late, end = (
        float((np.median(loss[at - 1 : at + 2]) - loss[-1]) / fall)
        for at in (len(loss) // 2, -len(loss) // 4)
    )
    if late > limits.slow_share:
        evidence = [context.seen("slow_share", "share of the fall in the second half", late)]
        detail = (
            f"{late:.0%} of the decrease of the loss came in the second half: it fell slowly from the start"
        )
        return [finding("slow-convergence", "warning", ("training",), evidence, detail=detail)]
    if end > limits.falling_share:
        evidence = [context.seen("falling_share", "share of the fall in the last quarter", end)]
        detail = (
            f"The loss was still falling: {end:.0%} of its decrease came in the last quarter of the epochs"
        )
        return [finding("underfitting", "note", ("training",), evidence, detail=detail)]
    return []


def check_statistics(context: Context) -> list[Finding]:
    """Batch normalisation with moving statistics that disagree with the batch statistics on the same rows."""
    loss, evaluated = _curve(context, "loss"), _curve(context, "train_loss")
    normalised = any(one.kind == "BatchNormalization" for one in context.layers)
    if loss is None or evaluated is None or not normalised or loss[-1] <= 0:
        return []
    ratio = float(np.median(evaluated[-3:]) / np.median(loss[-3:]))
    if ratio <= context.thresholds.stale_ratio:
        return []
    name = "loss in inference mode over loss in training"
    evidence = [context.seen("stale_ratio", name, ratio)]
    detail = f"On the training rows the loss is {ratio:.1f} times as high in inference mode"
    return [finding("stale-batch-norm", "warning", ("training",), evidence, detail=detail)]
