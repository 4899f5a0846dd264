"""Remedies for the optimiser: learning rate, schedule, clipping, decay, accumulation, another optimiser."""

import contextlib
from dataclasses import replace
from typing import Any, Final

import keras

from kilter._diagnosis.checks.optimizer import usual_rates
from kilter._models.layers import given_losses, like_losses
from kilter._models.optimizers import CLIPS, averaging_of, compiled_like, fresh_optimizer
from kilter._models.variables import pull
from kilter._records import Finding
from kilter._treatment.remedies.base import changed, optimized, remedies
from kilter._treatment.subject import Subject, copy_of
from kilter._tuning.clip_threshold import clip_threshold
from kilter._tuning.find_lr import FoundRate, find_lr, find_lr_by_steps
from kilter.errors import KilterError
from kilter.recipe.optimizer import DEFAULT_RATES

_AS_GOOD: Final = ("nadam", "adam", "adamw")
# A new rate replaces any schedule.
_CONSTANT: Final[dict[str, Any]] = {"training": {"schedule": None}, "cycle": None}


def find_learning_rate(subject: Subject, finding: Finding) -> Subject | None:
    """The rate that :func:`kilter.find_lr` suggests; the optimiser's usual one if it finds none.

    None if the rate is within a factor of 2 of that already, or for a 1cycle. Any other schedule is replaced
    by the constant rate.
    """
    facts = subject.optimizer
    if subject.cycle is not None:
        return None
    rate, origin = _found_rate(subject), "found by a learning rate search"
    if rate is None:
        rate, origin = DEFAULT_RATES.get(facts.name), "the default rate, because the search found none"
    if rate is None:
        return None
    used = usual_rates(facts)[1]
    if used is not None:  # noise must not lead the finder astray
        rate = min(max(rate, used.least), used.high)
    rate = float(f"{rate:.2g}")
    now = facts.learning_rate
    fixed = not facts.scheduled and subject.training.schedule is None
    near = subject.policy.remedies.near_rate
    if fixed and now is not None and rate / near <= now <= rate * near:
        return None
    words = ("unknown" if now is None else f"learning rate {now:.3g}"), f"learning rate {rate:g}, {origin}"
    recipe = (f"optimizer.learning_rate={rate:g}",)
    optimizer = fresh_optimizer(subject.model, learning_rate=rate)
    return optimized(subject, words, optimizer, recipe=recipe, **_CONSTANT)


def _found_rate(subject: Subject) -> float | None:
    """The finder's suggestion; None if the loss falls at no rate."""
    searched = subject
    if subject.optimizer.scheduled:  # the finder needs a rate that is a number
        plain = fresh_optimizer(subject.model, learning_rate=subject.optimizer.learning_rate)
        model = compiled_like(subject.model, copy_of(subject.model), optimizer=plain)
        searched = replace(subject, model=model)
    for steps in subject.policy.remedies.rate_search_steps:
        with contextlib.suppress(KilterError):
            return _search(searched, steps).suggestion
    return None


def _search(subject: Subject, steps: int) -> FoundRate:
    options = {
        "steps": steps,
        **subject.training.arguments("batch_size", "seed", "class_weight", "sample_weight"),
    }
    if not subject.is_small:
        return find_lr(subject.model, subject.x, subject.y, **options, verbose=0)
    model = subject.built_copy()
    return find_lr_by_steps(model, pull(model), subject.x, subject.y, **options)


def clip_gradients(subject: Subject, finding: Finding) -> Subject | None:
    """Clip the global norm of the gradients, at a threshold measured over a short training.

    1.0 if no healthy stretch can be measured. None if gradients are clipped already.
    """
    optimizer: Any = subject.optimizer.optimizer
    if any(getattr(optimizer, name, None) is not None for name in CLIPS):
        return None
    try:
        found = clip_threshold(
            subject.model,
            subject.x,
            subject.y,
            steps=subject.policy.remedies.clip_steps,
            verbose=0,
            **subject.training.arguments("batch_size", "seed", "class_weight", "sample_weight"),
        )
        threshold, origin = found.threshold, f"the {found.percentile:g}th percentile over a trial"
    except KilterError:
        threshold, origin = subject.policy.remedies.clip_norm, "no steps with finite norms could be measured"
    threshold = float(f"{threshold:.2g}")
    words = "no gradient clipping", f"global gradient norm at most {threshold:g} ({origin})"
    optimizer = fresh_optimizer(subject.model, global_clipnorm=threshold)
    return optimized(subject, words, optimizer, recipe=(f"optimizer.global_clipnorm={threshold:g}",))


def change_optimizer(subject: Subject, finding: Finding) -> Subject | None:
    """Nadam at its usual rate, clipping and averaging as before; None for Nadam and the equally good Adam."""
    facts = subject.optimizer
    if facts.name in _AS_GOOD:
        return None
    rate = DEFAULT_RATES["nadam"]
    now = "" if facts.learning_rate is None else f", learning rate {facts.learning_rate:.3g}"
    words = facts.name + now, f"nadam, learning rate {rate:g}"
    recipe = ("optimizer.name=nadam", f"optimizer.learning_rate={rate:g}", "optimizer.momentum=none")
    kept: dict[str, Any] = {name: getattr(facts.optimizer, name, None) for name in CLIPS}
    optimizer = keras.optimizers.Nadam(learning_rate=rate, **kept, **averaging_of(subject.model))
    return optimized(subject, words, optimizer, recipe=recipe, **_CONSTANT)


def one_cycle(subject: Subject, finding: Finding) -> Subject | None:
    """1cycle over all epochs with the present rate as its peak; None if there is a schedule already."""
    peak = subject.optimizer.learning_rate
    scheduled = subject.optimizer.scheduled or subject.training.schedule is not None
    if scheduled or subject.cycle is not None or peak is None:
        return None
    before = f"learning rate {peak:.3g} throughout"
    after = f"rising to {peak:.3g} and down again over all epochs (1cycle)"
    recipe = ("schedule.name=one_cycle", f"optimizer.learning_rate={peak:g}")
    return changed(subject, ("optimizer",), (before, after), cycle=peak, recipe=recipe)


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


REMEDIES = remedies(
    find_learning_rate,
    clip_gradients,
    change_optimizer,
    one_cycle,
    ease_decay,
    ease_smoothing,
    drop_accumulation,
    ease_clipping,
    drop_loss_scale,
)
