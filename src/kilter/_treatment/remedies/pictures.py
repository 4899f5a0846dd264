"""Remedies for pictures, pairs and variational autoencoders: losses, masks, labels and codes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.checks.alignment import AS_THEY_ARE, Misplaced, misplaced
from kilter._diagnosis.checks.generative import explained, kl_weight
from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, SPARSE
from kilter._diagnosis.checks.pairs import idle_label
from kilter._diagnosis.targets import target_facts
from kilter._diagnosis.thresholds import Thresholds
from kilter._models.copying import fresh_name
from kilter._models.editing import Cut
from kilter._models.layers import CONVOLUTIONS, OutputFacts, loss_weights
from kilter._models.reading import paired_targets
from kilter._models.variables import assign
from kilter._records import Finding
from kilter._treatment.remedies.base import (
    changed,
    chosen,
    hidden_layers,
    operated,
    paths,
    remedies,
    replaceable,
    with_targets,
)
from kilter._treatment.subject import Subject, copied_with_layers
from kilter.nn.losses import Contrastive, SparseCategoricalFocalCrossentropy, SparseDice

_MOST_GROUPS: Final = 32
_LEAST_SHARE: Final = 1e-4
_CODE: Final = {
    "mirrored left to right": "y_train[:, :, ::-1]",
    "mirrored top to bottom": "y_train[:, ::-1]",
    "turned by 180 degrees": "y_train[:, ::-1, ::-1]",
    "transposed": "np.swapaxes(y_train, 1, 2)",
    "turned by 90 degrees": "np.swapaxes(y_train, 1, 2)[:, ::-1]",
    "turned by 270 degrees": "np.swapaxes(y_train, 1, 2)[:, :, ::-1]",
    "transposed along the other diagonal": "np.swapaxes(y_train, 1, 2)[:, ::-1, ::-1]",
}


def focal_loss(subject: Subject, finding: Finding) -> Subject | None:
    """Focal cross-entropy, in which sure and right answers count little; rare answers weigh more."""
    loss = _loss_of(subject)
    if loss == BINARY[0]:
        made: Any = keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=round(1 - _shares(subject)[0], 2)
        )
    elif loss == CATEGORICAL[0]:
        made = keras.losses.CategoricalFocalCrossentropy()
    elif loss == SPARSE[0]:
        made = SparseCategoricalFocalCrossentropy([round(1 - one, 2) for one in _shares(subject)])
    else:
        return None
    return changed(subject, ("loss",), (loss, "focal cross-entropy"), compiled={"loss": made})


def dice_loss(subject: Subject, finding: Finding) -> Subject | None:
    """1 - Dice: how far answers and masks overlap, however small these are; of each class, if several."""
    loss = _loss_of(subject)
    if loss in SPARSE:
        made: Any = SparseDice()
    elif loss in ("categorical_crossentropy", "categorical_focal_crossentropy"):
        made = keras.losses.Dice(axis=tuple(range(len(subject.facts[1][0].shape) - 1)))
    elif loss in BINARY:
        made = keras.losses.Dice()
    else:
        return None
    return changed(subject, ("loss",), (loss, "1 - Dice"), compiled={"loss": made})


def _loss_of(subject: Subject) -> str | None:
    """The loss of a single output of probabilities; None for others."""
    outputs = subject.facts[1]
    if len(outputs) != 1 or outputs[0].loss is None or outputs[0].loss.from_logits:
        return None
    return outputs[0].loss.name if outputs[0].activation in ("sigmoid", "softmax") else None


def _shares(subject: Subject) -> list[float]:
    """The share of ones, or of each class, within the limits of the weights that they give."""
    output = subject.facts[1][0]
    targets = np.zeros(0) if output.targets is None else np.asarray(output.targets)
    if output.loss is not None and output.loss.name in SPARSE:
        counts = np.bincount(targets.ravel().astype(int), minlength=output.units)
        return [float(np.clip(one / max(targets.size, 1), 0.05, 0.95)) for one in counts]
    return [float(np.clip(targets.mean() if targets.size else 0.5, 0.05, 0.75))]


def group_normalization(subject: Subject, finding: Finding) -> Subject | None:
    """Group normalisation in place of batch normalisation: it looks at each row by itself."""
    norms = [one for one in subject.layers if isinstance(one.layer, keras.layers.BatchNormalization)]
    if not norms:
        return None
    layers = replaceable(subject, chosen(finding, norms))
    cuts: dict[Any, Cut] = {one.layer: _grouped(one.shape[-1]) for one in layers}
    return operated(subject, paths(layers), ("batch normalisation", "group normalisation"), cuts)


def _grouped(channels: int) -> Cut:
    most = min(_MOST_GROUPS, max(channels // 2, 1))
    groups = max(count for count in range(1, most + 1) if channels % count == 0)
    return lambda config: [keras.layers.GroupNormalization(groups, name=config["name"])]


def widen_kernels(subject: Subject, finding: Finding) -> Subject | None:
    """Convolutions of one pixel read its neighbours too: kernels of 3 × 3, and maps of the same size.

    A convolution to the output keeps its kernel, as it reads what the others found.
    """
    narrow = [
        one
        for one in hidden_layers(subject)
        if isinstance(one.layer, CONVOLUTIONS) and len(one.shape) == 4 and max(one.layer.kernel_size) == 1
    ]
    if not narrow:
        return None
    layers = replaceable(subject, chosen(finding, narrow))
    wider = {"kernel_size": (3, 3), "padding": "same"}
    cuts: dict[Any, Cut] = {one.layer: lambda config: {**config, **wider} for one in layers}
    return operated(subject, paths(layers), ("kernels of 1 pixel", "kernels of 3 × 3 pixels"), cuts)


def output_bias_prior(subject: Subject, finding: Finding) -> Subject | None:
    """The last bias such that the untrained output is the share of each class, or the mean of amounts."""
    biases: dict[Any, np.ndarray] = {}
    for output in subject.facts[1]:
        head = next((one for one in subject.layers if one.path == output.where), None)
        bias = getattr(getattr(head, "layer", None), "bias", None)
        wanted = None if head is None or bias is None else prior_of(output, int(bias.shape[-1]))
        if head is not None and bias is not None and wanted is not None:
            if np.any(np.asarray(bias) != 0) or not np.any(np.abs(wanted) > 0.1):
                continue
            biases[head.layer] = wanted
    if not biases or subject.trained:
        return None
    copied = copied_with_layers(subject.model)
    for layer, wanted in biases.items():
        assign([(copied.twin(layer).bias, wanted)])
    shown = ", ".join(f"{one:.3g}" for one in next(iter(biases.values()))[:4])
    return changed(
        subject,
        tuple(layer.name for layer in biases),
        ("an output bias of 0", f"an output bias of {shown}: the answer that fits the shares of the classes"),
        model=copied.model,
    )


def prior_of(output: OutputFacts, units: int) -> np.ndarray | None:
    """The logits of the classes' shares, or of the ones in each column; None for other outputs."""
    facts, name = target_facts(output.targets), None if output.loss is None else output.loss.name
    if facts is None or output.targets is None or output.loss is None:
        return None
    targets = np.asarray(output.targets)
    if name in SPARSE and facts.whole and facts.low >= 0 and facts.high < units:
        shares = np.bincount(targets.ravel().astype(int), minlength=units) / targets.size
    elif name in CATEGORICAL and targets.shape[-1] == units:
        shares = targets.reshape(-1, units).mean(axis=0)
    elif name in BINARY and facts.low >= 0 and facts.high <= 1:
        columns = targets.reshape(-1, units) if targets.size % units == 0 else targets.reshape(-1, 1)
        shares = np.clip(columns.mean(axis=0), _LEAST_SHARE, 1 - _LEAST_SHARE)
        return np.log(shares / (1 - shares)).astype("float32")
    else:
        return None
    logits = np.log(np.maximum(shares, _LEAST_SHARE))
    return (logits - logits.mean()).astype("float32")


def realign_masks(subject: Subject, finding: Finding) -> Subject | None:
    """Masks turned and moved to where their images are; those of the validation rows too, if they need it."""
    (x, *others), outputs = jax.tree.leaves(subject.x), subject.facts[1]
    if others or len(outputs) != 1:
        return None
    least = Thresholds().mask_fit
    found = misplaced(outputs[0], np.asarray(x), least)
    if found is None:
        return None
    held, alike = subject.training.validation_data, False
    if held is not None:
        targets = paired_targets(subject.model, held[1])
        images = np.asarray(jax.tree.leaves(held[0])[0])
        again = misplaced(replace(outputs[0], targets=targets[0]), images, least)
        alike = again is not None and again.turn == found.turn
    words = "masks as they are", f"masks {found.words}"
    return with_targets(subject, words, found.corrected, "\n".join(_said(found)), validated=alike)


def _said(found: Misplaced) -> Iterator[str]:
    if found.turn != AS_THEY_ARE:
        yield f"y_train = {_CODE[found.turn]}  # {found.turn}"
    if found.is_moved:
        yield f"y_train = np.roll(y_train, {found.shift}, axis=(1, 2))  # then set what wrapped around to 0"


def swap_pair_labels(subject: Subject, finding: Finding) -> Subject | None:
    """1 for 0 and 0 for 1 in the labels of pairs, so that the loss pushes apart what does not match."""
    outputs = subject.facts[1]
    if "swap-pair-labels" in subject.remedies:
        return None
    if len(outputs) != 1 or outputs[0].targets is None or set(np.unique(outputs[0].targets)) != {0, 1}:
        return None
    words = "labels that mean the opposite of what the loss expects", "labels swapped"
    snippet = "y_train = 1 - y_train  # or swap the terms of the loss"
    return with_targets(subject, words, lambda one: 1 - one, snippet)


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


REMEDIES = remedies(
    focal_loss,
    dice_loss,
    output_bias_prior,
    realign_masks,
    swap_pair_labels,
    weigh_reconstruction,
    contrastive_loss,
) | remedies(group_normalization, widen_kernels, separate_pairs, needs_surgery=True)
