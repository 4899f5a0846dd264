"""Checks of learning curves: the numbers of each epoch, as a History has them."""

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._records import Finding

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
