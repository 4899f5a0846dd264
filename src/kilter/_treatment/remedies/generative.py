"""Remedies for variational autoencoders and pairs."""

from typing import Final

import jax
import keras
import numpy as np

from kilter._diagnosis.checks.generative import explained, kl_weight
from kilter._diagnosis.checks.pairs import idle_label
from kilter._models.copying import fresh_name
from kilter._models.layers import loss_weights
from kilter._records import Finding
from kilter._treatment.remedies.base import changed, operated, remedies
from kilter._treatment.subject import Subject
from kilter.nn.losses import Contrastive

# The noise that a KL term stands for afterwards, over the variance that a code can explain.
_NOISE: Final = 0.01
_MOVED: Final = 1e-3  # of the deviation of a row's numbers


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
    words = f"weight {now:.3g} for the reconstruction loss", f"weight {wanted:.3g}, with the same KL term"
    return changed(subject, ("loss",), words, compiled={"loss_weights": [wanted]})


def separate_pairs(subject: Subject, finding: Finding) -> Subject | None:
    """Move the second of two inputs of one shape a little, so that no pair has the distance 0."""
    arrays = [np.asarray(one) for one in jax.tree.leaves(subject.x)]
    if "separate-pairs" in subject.remedies or len(arrays) != 2:
        return None
    if arrays[0].shape[1:] != arrays[1].shape[1:]:
        return None
    if any(one.dtype.kind != "f" for one in arrays):
        return None
    offset = float(f"{_MOVED * max(float(arrays[1].std()), 1e-6):.2g}")
    layer = keras.layers.Rescaling(1.0, offset=offset, name=fresh_name(subject.model, "apart"))
    before = "pairs of equal rows, whose distance of 0 has no gradient"
    after = f"{offset:g} added to the second row, by a layer in the model"
    return operated(subject, ("data",), (before, after), {}, front=[None, layer])


def contrastive_loss(subject: Subject, finding: Finding) -> Subject | None:
    """The contrastive loss with a margin of 1 for a loss that pulls pairs together and pushes none apart."""
    outputs = subject.facts[1]
    idle = idle_label(subject.model, outputs[0]) if len(outputs) == 1 else None
    if idle is None:
        return None
    loss = Contrastive(near=1 - idle)
    words = f"no pair with the label {idle} is pushed apart", "pushed apart up to a distance of 1"
    return changed(subject, ("loss",), words, compiled={"loss": loss})


REMEDIES = remedies(weigh_reconstruction, contrastive_loss) | remedies(separate_pairs, needs_surgery=True)
