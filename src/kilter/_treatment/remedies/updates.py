"""Remedies for updates that decay, clipping, accumulation, a loss scale or smoothed labels make useless."""

from typing import Any, Final

import keras

from kilter._models.layers import given_losses, like_losses
from kilter._models.optimizers import CLIPS, fresh_optimizer
from kilter._records import Finding
from kilter._treatment.remedies.base import changed, optimized, remedies
from kilter._treatment.subject import Subject

_DECAY: Final = 4e-3  # AdamW's default in Keras
_MOST_SMOOTHING: Final = 0.5
_SMOOTHING: Final = 0.1


def ease_decay(subject: Subject, finding: Finding) -> Subject | None:
    """A weight decay above 0.1 becomes 0.004."""
    decay = getattr(subject.optimizer.optimizer, "weight_decay", None)
    if not isinstance(decay, int | float) or decay <= 0.1:
        return None
    words = f"weight decay {decay:g}", f"weight decay {_DECAY:g}"
    return optimized(subject, words, fresh_optimizer(subject.model, weight_decay=_DECAY))


def ease_smoothing(subject: Subject, finding: Finding) -> Subject | None:
    """Label smoothing above 0.5 becomes 0.1."""
    losses = given_losses(subject.model, len(subject.facts[1]))
    shares = [getattr(one, "get_config", dict)().get("label_smoothing", 0) for one in losses]
    if max(shares, default=0) <= _MOST_SMOOTHING:
        return None
    eased = [
        type(one).from_config({**one.get_config(), "label_smoothing": _SMOOTHING})
        if share > _MOST_SMOOTHING
        else one
        for one, share in zip(losses, shares, strict=True)
    ]
    words = f"label smoothing {max(shares):g}", f"label smoothing {_SMOOTHING:g}"
    return changed(subject, ("loss",), words, compiled={"loss": like_losses(subject.model, eased)})


def drop_accumulation(subject: Subject, finding: Finding) -> Subject | None:
    """An update for each batch."""
    steps = getattr(subject.optimizer.optimizer, "gradient_accumulation_steps", None) or 1
    if steps == 1:
        return None
    words = f"an update each {steps} batches", "an update each batch"
    return optimized(subject, words, fresh_optimizer(subject.model, gradient_accumulation_steps=None))


def ease_clipping(subject: Subject, finding: Finding) -> Subject | None:
    """Clipping of the whole gradient at a norm of 1."""
    optimizer = subject.optimizer.optimizer
    given = {name: value for name in CLIPS if (value := getattr(optimizer, name, None))}
    if not given or given.get("global_clipnorm", 0) >= 1:
        return None
    words = ", ".join(f"{name}={value:g}" for name, value in given.items()), "global_clipnorm=1"
    wanted = {**dict.fromkeys(CLIPS), "global_clipnorm": 1.0}
    return optimized(subject, words, fresh_optimizer(subject.model, **wanted))


def drop_loss_scale(subject: Subject, finding: Finding) -> Subject | None:
    """The optimiser without its loss scale; Keras adds a usual one where half precision needs it."""
    wrapped: Any = subject.model.optimizer
    if not isinstance(wrapped, keras.optimizers.LossScaleOptimizer) or wrapped.initial_scale <= 2**20:
        return None
    words = f"a loss scale of {wrapped.initial_scale:g}", "Keras's own loss scale, if one is needed"
    return optimized(subject, words, fresh_optimizer(subject.model))


REMEDIES = remedies(ease_decay, ease_smoothing, drop_accumulation, ease_clipping, drop_loss_scale)
