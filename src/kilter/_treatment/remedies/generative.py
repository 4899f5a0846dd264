"""Remedies for variational autoencoders."""

from __future__ import annotations

from typing import Final

from kilter._diagnosis.checks.generative import explained, kl_weight
from kilter._models.compiling import compiled_like
from kilter._models.layers import loss_weights
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
    )
    treated = compiled_like(subject.model, subject.copy(), loss_weights=[wanted])
    return subject.changed(change, model=treated)


REMEDIES = remedies(weigh_reconstruction)
