"""Remedies for variational autoencoders and adversarial networks."""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.checks.generative import explained, kl_weight
from kilter._models.compiling import compiled_like
from kilter._models.layers import given_losses, loss_weights
from kilter._records import Change, Finding
from kilter._treatment.remedies.base import remedies
from kilter._treatment.subject import Subject

# The noise that a KL term stands for afterwards, over the variance that a code can explain.
_NOISE: Final = 0.01


def weigh_reconstruction(subject: Subject, finding: Finding) -> Subject | None:
    """Raise the loss weight until the KL term corresponds to noise of 1 % of the explainable variance."""
    outputs = subject.facts[1]
    variance = explained(outputs[0]) if len(outputs) == 1 else None
    found = [kl_weight(one.layer, subject.training.batch_size) for one in subject.layers if not one.repeated]
    weights = [one for one in found if one]
    if variance is None or variance <= 0 or not weights:
        return None
    now, wanted = loss_weights(subject.model, 1)[0], max(weights) / (_NOISE * variance)
    if now >= wanted / 2:
        return None
    change = Change(
        remedy="weigh-reconstruction",
        where=("loss",),
        before=f"weight {now:.3g} for the reconstruction loss",
        after=f"weight {wanted:.3g}, with the same KL term",
        snippet=f"model.compile(..., loss_weights=[{wanted:.3g}])",
    )
    treated = compiled_like(subject.model, subject.copy(), loss_weights=[wanted])
    return subject.changed(change, model=treated)


def non_saturating_loss(subject: Subject, finding: Finding) -> Subject | None:
    """Cross-entropy with the label 1, whose gradient does not vanish where the discriminator is certain."""
    outputs = subject.facts[1]
    if len(outputs) != 1 or outputs[0].loss is None or outputs[0].loss.name is not None:
        return None
    if outputs[0].activation != "sigmoid" or not np.all(np.asarray(outputs[0].targets) == 1):
        return None
    own: Any = given_losses(subject.model, 1)[0]
    change = Change(
        remedy="non-saturating-loss",
        where=("loss",),
        before=getattr(own, "__name__", type(own).__name__),
        after="binary cross-entropy",
        snippet="model.compile(..., loss='binary_crossentropy')",
    )
    treated = compiled_like(subject.model, subject.copy(), loss=keras.losses.BinaryCrossentropy())
    return subject.changed(change, model=treated)


REMEDIES = remedies(weigh_reconstruction, non_saturating_loss)
