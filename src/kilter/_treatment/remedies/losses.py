"""Remedies for compiled losses: useless ones, missing ones, several out of balance."""

import math
from typing import Any

import keras

from kilter._diagnosis.checks.losses import is_own
from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, SPARSE, SQUARES
from kilter._diagnosis.checks.scales import untrained_loss
from kilter._diagnosis.loss_probe import probed
from kilter._diagnosis.targets import target_facts
from kilter._models.layers import OutputFacts, given_losses, like_losses, loss_weights, output_names
from kilter._records import Finding
from kilter._treatment.remedies.base import changed, remedies
from kilter._treatment.subject import Subject


def replace_loss(subject: Subject, finding: Finding) -> Subject | None:
    """The usual loss for an output and its targets in place of a custom one; compiled metrics stay.

    Of several outputs those whose loss has no gradient, or is not finite. None if no loss is custom.
    """
    outputs = subject.facts[1]
    losses = given_losses(subject.model, len(outputs))
    made = [
        usual_loss(output) if _is_useless(output, given, alone=len(outputs) == 1) else given
        for output, given in zip(outputs, losses, strict=True)
    ]
    replaced = [(old, new) for old, new in zip(losses, made, strict=True) if new is not old]
    if not replaced or any(new is None for _, new in replaced):
        return None
    wanted = like_losses(subject.model, made)
    words = (
        ", ".join(getattr(old, "__name__", None) or type(old).__name__ for old, _ in replaced),
        (", ".join(new if isinstance(new, str) else new.name for _, new in replaced)),
    )
    return changed(subject, ("loss",), words, compiled={"loss": wanted})


def _is_useless(output: OutputFacts, given: Any, *, alone: bool) -> bool:
    """Whether a loss is custom and, of several, has no gradient or is not finite."""
    if given is None or output.loss is None or not is_own(output.loss):
        return False
    seen = None if alone else probed(given, output, None)
    return alone or (seen is not None and (not seen.slopes or not seen.varies or bool(seen.bad)))


def balance_losses(subject: Subject, finding: Finding) -> Subject | None:
    """Loss weights with which every output's loss is 1 before training.

    Where one has the weight 0, the others keep theirs; it gets 1, or less if it outweighed them.
    """
    outputs = subject.facts[1]
    sizes = [untrained_loss(one) for one in outputs]
    if len(outputs) < 2 or any(size is None or size <= 0 for size in sizes):
        return None
    now = loss_weights(subject.model, len(outputs))
    wanted = [1 / size for size in sizes if size is not None]
    shares = [weight * size for weight, size in zip(now, sizes, strict=True) if size is not None]
    if min(shares) > 0 and max(shares) / min(shares) < 2:
        return None
    after = "every loss begins at about 1"
    if min(shares) == 0 < max(shares):
        least = min(one for one in shares if one > 0)
        wanted = [weight or min(1.0, least * one) for weight, one in zip(now, wanted, strict=True)]
        after = "every output trains"
    words = (
        f"loss weights {', '.join(f'{one:.3g}' for one in now)}",
        f"loss weights {', '.join(f'{one:.3g}' for one in wanted)}: {after}",
    )
    kept = like_losses(subject.model, wanted)
    return changed(subject, ("loss",), words, compiled={"loss_weights": kept})


def add_loss(subject: Subject, finding: Finding) -> Subject | None:
    """A loss for each output with targets that has none, as its activation and targets call for."""
    outputs, names = subject.facts[1], output_names(subject.model)
    lacking = [one for one in outputs if one.loss is None and one.targets is not None]
    if not lacking or len(names) != len(outputs) or len(lacking) == len(outputs):
        return None
    made = [
        given if one.loss is not None else usual_loss(one)
        for one, given in zip(outputs, given_losses(subject.model, len(outputs)), strict=True)
    ]
    added = [
        f"{name}: {loss}" for name, one, loss in zip(names, outputs, made, strict=True) if one.loss is None
    ]
    losses = like_losses(subject.model, made)
    return changed(
        subject, tuple(one.where for one in lacking), ("no loss", ", ".join(added)), compiled={"loss": losses}
    )


def usual_loss(output: OutputFacts) -> Any:
    """The loss for an output's activation and targets: a cross-entropy for classes, squares for numbers.

    None if the targets are unknown, or have another shape than the output.
    """
    facts, size = target_facts(output.targets), math.prod(output.shape[1:])
    if facts is None:
        return None
    numbered = facts.whole and facts.low >= 0 and facts.width * output.units == size and output.units > 1
    logits = output.activation != "softmax"
    if numbered and facts.high < output.units:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True) if logits else SPARSE[0]
    if facts.width != size:
        return None
    if facts.shares and output.activation in ("softmax", "linear"):
        return keras.losses.CategoricalCrossentropy(from_logits=True) if logits else CATEGORICAL[0]
    return BINARY[0] if output.activation == "sigmoid" and 0 <= facts.low <= facts.high <= 1 else SQUARES[0]


REMEDIES = remedies(replace_loss, balance_losses, add_loss)
