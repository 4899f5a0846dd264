"""Checks of custom compiled losses, by their values for made-up predictions."""

import math
from collections.abc import Iterator
from typing import Final

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.output import LOGARITHMIC
from kilter._diagnosis.context import Context
from kilter._diagnosis.loss_probe import ROWS, Probed, probed
from kilter._models.copying import trains_itself
from kilter._models.layers import LossFacts, given_losses, name_of
from kilter._records import Evidence, Finding, Severity

_AXES: Final = (None, -1)


def check_losses(context: Context) -> Iterator[Finding]:
    """Custom losses, and Keras's own over a custom axis, each probed with right and wrong predictions.

    Keras's own with a logarithm only with usual ones: a linear output may be negative.
    """
    if context.probe is None or trains_itself(context.model):
        return
    losses = given_losses(context.model, len(context.outputs))
    for place, (given, output) in enumerate(zip(losses, context.outputs, strict=True)):
        if given is None or output.loss is None:
            continue
        own = is_own(output.loss)
        if not own and output.loss.name not in LOGARITHMIC:
            continue
        answers = context.answers if output.activation is None else None
        seen = probed(given, output, None if answers is None else answers[place])
        if seen is not None and (own or seen.bad.startswith("usual")):
            yield from _findings(context, name_of(given), seen, alone=len(losses) == 1)


def is_own(loss: LossFacts) -> bool:
    """Whether a loss is custom, or one of Keras over a custom axis."""
    return loss.name is None or loss.options.get("axis") not in _AXES


def _findings(context: Context, name: str, seen: Probed, *, alone: bool) -> Iterator[Finding]:
    severity: Severity = "severe" if alone and not context.model.losses else "warning"
    if seen.bad:
        usual = seen.bad.startswith("usual")
        value = "NaN" if math.isnan(seen.value) else "not finite"
        evidence = [Evidence("loss", seen.value)]
        level = severity if usual else "warning"
        yield finding("loss-not-finite", level, ["loss"], evidence, name=name, value=value, detail=seen.bad)
        if usual:
            return
    evidence = [Evidence("loss for one prediction", seen.value)]
    if not seen.varies:
        yield finding("loss-ignores-prediction", severity, ["loss"], evidence, name=name, value=seen.value)
    elif not seen.slopes:
        yield finding("loss-not-differentiable", severity, ["loss"], evidence, name=name)
    else:
        yield from _meaning(context, name, seen, severity)
        yield from _per_row(context, name, seen)


def _meaning(context: Context, name: str, seen: Probed, severity: Severity) -> Iterator[Finding]:
    if seen.by_columns:
        detail = "it does not change when a constant is added to one class for all rows, as if the rows of a "
        detail += "batch were the classes. Take softmax and sums over the last axis"
        evidence = [Evidence("axis that is normalised", 0, "-1", "the classes are the last axis")]
        yield finding("loss-axis", "severe", ["loss"], evidence, name=name, detail=detail)
    elif seen.mixes:
        detail = "it compares each prediction with the targets of all rows (shapes (n, 1) and (n,) broadcast "
        detail += "to (n, n)), so that predicting the mean is optimal. Give both the same shape"
        evidence = [Evidence("rows that decide one row's loss", ROWS, 1)]
        yield finding("loss-axis", "severe", ["loss"], evidence, name=name, detail=detail)
    elif seen.exchanged:
        evidence = [Evidence("loss for one prediction", seen.value)]
        yield finding("loss-arguments", "severe", ["loss"], evidence, name=name)
    elif _is_reversed(seen) and not _compares(context):
        assert seen.right is not None
        assert seen.wrong is not None
        evidence = [Evidence("loss of right predictions", seen.right, seen.wrong, "that of wrong ones")]
        words = {"name": name, "right": seen.right, "wrong": seen.wrong}
        yield finding("loss-sign", "severe", ["loss"], evidence, **words)
    elif seen.open_end is not None and not _compares(context):
        assert seen.at_targets is not None
        where, there = seen.open_end
        evidence = [Evidence("loss away from the targets", there, seen.at_targets, "that at the targets")]
        words = {"name": name, "right": seen.at_targets, "there": there, "detail": where}
        yield finding("loss-minimum", severity, ["loss"], evidence, **words)


def _is_reversed(seen: Probed) -> bool:
    if seen.right is None or seen.middle is None or seen.wrong is None:
        return False
    least = 1e-3 * max(abs(seen.right), abs(seen.wrong), 1e-6)
    return seen.right > seen.middle + least and seen.middle > seen.wrong + least


def _compares(context: Context) -> bool:
    """Whether the model compares inputs of one shape: what is right for a distance is unknown."""
    shapes = [one.shape[1:] for one in context.inputs]
    return any(one.repeated for one in context.layers) or len(set(shapes)) < len(shapes)


def _per_row(context: Context, name: str, seen: Probed) -> Iterator[Finding]:
    if seen.shape is None or (seen.shape and seen.shape[0] == ROWS):
        return
    weighted = context.row_weights is not None
    severity: Severity = "warning" if weighted else "note"
    detail = ", so sample and class weights have no effect on single rows" if weighted else ""
    evidence = [Evidence("shape of the loss", str(seen.shape), f"({ROWS}, ...)")]
    words = {"name": name, "rows": ROWS, "shape": str(seen.shape), "detail": detail}
    yield finding("loss-not-per-row", severity, ["loss"], evidence, **words)
