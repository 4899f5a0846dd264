"""The batch size against the measured noise of the gradient (McCandlish et al. 2018).

Of a batch of B rows, B / (B + noise scale) of the gradient's expected square is signal.
"""

import math
from dataclasses import replace
from typing import Any, Final

import keras

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.tracing import fixed_batch_size
from kilter._records import Evidence, Finding
from kilter._tuning.noise_scale import NoiseScale, gradient_noise_scale
from kilter.errors import KilterError

SMALL_BATCH: Final = 8
USUAL_BATCH: Final = 32
LARGE_BATCH: Final = 128
_SIGNAL: Final = "share of a batch's gradient that is signal"


def measured_noise(context: Context, model: keras.Model) -> NoiseScale | None:
    """The noise scale at the model's current weights; None if it cannot be measured."""
    if fixed_batch_size(model) is not None:
        return None
    try:
        return gradient_noise_scale(
            model,
            context.x,
            context.y,
            batch_size=16,
            batches=32,
            sample_weight=context.row_weights,
            verbose=0,
        )
    except (KilterError, *FOREIGN_ERRORS):
        return None


def with_noise(found: list[Finding], context: Context, noise: NoiseScale | None) -> list[Finding]:
    """The findings of a training that falls short, with what the noise says about its batches."""
    batch, limits = min(context.batch_size, context.rows), context.thresholds
    bound = math.inf if noise is None else noise.low if batch <= SMALL_BATCH else noise.high
    if not math.isfinite(bound):
        return found
    signal = batch / (batch + bound)
    scale = Evidence("gradient noise scale in rows, end of its 95 % interval", bound)
    if batch <= SMALL_BATCH:
        if signal >= limits.signal_least:
            return found
        evidence = [context.seen("signal_least", _SIGNAL, signal), scale]
        words: dict[str, Any] = {"noise": bound, "batch": batch, "signal": signal}
        return [*found, finding("batch-too-small", "warning", ["training"], evidence, **words)]
    evidence = [context.seen("signal_most", _SIGNAL, signal), scale]
    known = [one for one in found if one.code == "batch-too-large"]
    if known:
        added = {id(one): replace(one, evidence=(*one.evidence, *evidence)) for one in known}
        return [added.get(id(one), one) for one in found]
    return [*found, too_large(context, evidence)] if signal > limits.signal_most else found


def too_large(context: Context, evidence: list[Evidence]) -> Finding:
    """The finding about batches of which few make an epoch."""
    epochs = context.epochs or 1
    words: dict[str, Any] = {
        "batch": min(context.batch_size, context.rows),
        "steps": epochs * context.steps_per_epoch,
        "usual": USUAL_BATCH,
        "more": epochs * math.ceil(context.rows / USUAL_BATCH),
    }
    return finding("batch-too-large", "warning", ["training"], evidence, **words)
