"""Remedies against overfitting: dropout, penalties and limits on kernels, augmented images."""

from __future__ import annotations

from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.checks.regularization import penalty_factor
from kilter._models.editing import Cut, can_be_cut
from kilter._models.layers import CONVOLUTIONS, DROPOUTS, LayerFacts
from kilter._records import Change, Finding
from kilter._treatment.remedies.base import chosen, hidden_layers, operated, paths, replaceable
from kilter._treatment.subject import Subject
from kilter.data.augmentation import Augmentation, Flip, Shift

# Srivastava et al. 2014 use 0.5 in wide layers; 0.2 costs narrow ones little. SELU bears less.
_RATE: Final = 0.2
_ALPHA_RATE: Final = 0.1
_L2: Final = 1e-4
# Above these regularisation is eased: the usual rate of wide layers, and Keras's default factor.
_MOST_DROPPED: Final = 0.5
_MOST_PENALTY: Final = 0.01
_MAX_NORM: Final = 3.0  # Srivastava et al. 2014: 3 to 4
_SHIFT: Final = 0.1


def add_dropout(subject: Subject, finding: Finding) -> Subject | None:
    """Dropout after the activation of each hidden dense layer, AlphaDropout after SELU.

    None where there is dropout already, and for a network without hidden dense layers.
    """
    if any(isinstance(one.layer, DROPOUTS) for one in subject.layers) or not can_be_cut(subject.model):
        return None
    layers = [one for one in hidden_layers(subject) if isinstance(one.layer, keras.layers.Dense)]
    if not layers:
        return None
    layers = replaceable(subject, layers)
    holders = {one.activation_layer: one for one in layers}
    cuts: dict[Any, Cut] = {
        one.layer: _dropped(selu=holders[one.path].activation == "selu")
        for one in replaceable(subject, (one for one in subject.layers if one.path in holders), every=True)
    }
    change = Change(
        remedy="add-dropout",
        where=paths(layers),
        before="no dropout",
        after=f"dropout of {_RATE:g} after each hidden dense layer (after selu {_ALPHA_RATE:g}, alpha)",
        snippet=f"keras.layers.Dropout({_RATE:g}),  # after each hidden Dense",
        recipe=(f"model.dropout={_RATE:g}",),
    )
    return operated(subject, change, cuts)


def _dropped(*, selu: bool) -> Cut:
    def make(config: dict[str, Any]) -> list[Any]:
        name = f"{config['name']}_dropout"
        drop = (
            keras.layers.AlphaDropout(_ALPHA_RATE, name=name)
            if selu
            else keras.layers.Dropout(_RATE, name=name)
        )
        return [config, drop]

    return make


def add_l2(subject: Subject, finding: Finding) -> Subject | None:
    """A penalty of 1e-4 · Σ weight² on the kernels of hidden layers that have none."""
    change = Change(
        remedy="add-l2",
        where=(),
        before="no penalty on weights",
        after=f"{_L2:g} times the sum of squared weights is added to the loss",
        snippet=f"keras.layers.Dense(..., kernel_regularizer=keras.regularizers.L2({_L2:g}))",
        recipe=(f"regularize.l2={_L2:g}",),
    )
    return _on_kernels(subject, finding, change, "kernel_regularizer", lambda one: keras.regularizers.L2(_L2))


def add_max_norm(subject: Subject, finding: Finding) -> Subject | None:
    """Incoming weights of a norm of at most 3 for each unit of the hidden layers that have no limit."""
    change = Change(
        remedy="add-max-norm",
        where=(),
        before="weights of any norm",
        after=f"each unit's incoming weights have a norm of at most {_MAX_NORM:g}",
        snippet=f"keras.layers.Dense(..., kernel_constraint=keras.constraints.MaxNorm({_MAX_NORM:g}))",
        recipe=(f"regularize.max_norm={_MAX_NORM:g}",),
    )
    return _on_kernels(subject, finding, change, "kernel_constraint", _limit)


def _limit(one: LayerFacts) -> Any:
    kernel = one.kernel
    assert kernel is not None
    axes: Any = list(range(kernel.ndim - 1))  # all but the units; Keras says int and takes lists
    return keras.constraints.MaxNorm(max_value=_MAX_NORM, axis=axes)  # pyright: ignore[reportArgumentType]


def _on_kernels(subject: Subject, finding: Finding, change: Change, key: str, make: Any) -> Subject | None:
    """``make(layer)`` as ``key`` of each hidden layer with a kernel and no such thing; SELU bears none."""
    layers = [
        one
        for one in chosen(finding, hidden_layers(subject))
        if one.kernel is not None and getattr(one.layer, key, 0) is None and one.activation != "selu"
    ]
    if not layers or not can_be_cut(subject.model):
        return None
    layers = replaceable(subject, layers)
    cuts = {one.layer: _with(key, keras.saving.serialize_keras_object(make(one))) for one in layers}
    placed = Change(change.remedy, paths(layers), change.before, change.after, change.snippet, change.recipe)
    return operated(subject, placed, cuts)


def _with(key: str, value: Any) -> Cut:
    return lambda config: {**config, key: value}


def ease_regularization(subject: Subject, finding: Finding) -> Subject | None:
    """Dropout rates above 0.5 become 0.2, and penalties above 0.01 on kernels become 1e-4 · Σ weight².

    None where there are none.
    """
    drops = [
        one
        for one in subject.layers
        if isinstance(one.layer, DROPOUTS) and one.layer.rate > _MOST_DROPPED and not one.repeated
    ]
    penalised = [
        one for one in subject.layers if one.is_weighted and penalty_factor(one.layer) > _MOST_PENALTY
    ]
    if not (drops or penalised) or not can_be_cut(subject.model):
        return None
    free = replaceable(subject, [*drops, *penalised])
    drops, penalised = ([one for one in some if one in free] for some in (drops, penalised))
    plain = keras.saving.serialize_keras_object(keras.regularizers.L2(_L2))
    cuts = {one.layer: _with("rate", _RATE) for one in drops}
    cuts |= {one.layer: _with("kernel_regularizer", plain) for one in penalised}
    rates = [f"dropout of {one.layer.rate:g}" for one in drops]  # type: ignore[attr-defined]
    change = Change(
        remedy="ease-regularization",
        where=paths([*drops, *penalised]),
        before=", ".join([*dict.fromkeys(rates), *(["penalties above 0.01"] if penalised else [])]),
        after=" and ".join(
            [*([f"dropout of {_RATE:g}"] if drops else []), *([f"L2 of {_L2:g}"] if penalised else [])]
        ),
        snippet=f"keras.layers.Dropout({_RATE:g})\n"
        f"keras.layers.Dense(..., kernel_regularizer=keras.regularizers.L2({_L2:g}))",
    )
    return operated(subject, change, cuts)


def augment(subject: Subject, finding: Finding) -> Subject | None:
    """Shifted images (colour ones mirrored too), for a model that takes images with an axis of channels."""
    x = subject.x
    convolves = any(isinstance(one.layer, CONVOLUTIONS) for one in subject.layers)
    if (
        subject.options.augment is not None
        or len(jax.tree.leaves(x)) != 1
        or np.ndim(x) != 4
        or not convolves
    ):
        return None
    colour = np.shape(x)[-1] == 3
    if np.shape(x)[-1] not in (1, 3):
        return None
    transforms = (Flip("horizontal"), Shift(_SHIFT)) if colour else (Shift(_SHIFT),)
    change = Change(
        remedy="augment",
        where=("data",),
        before="images as they are",
        after=("mirrored and " if colour else "") + f"shifted by up to {_SHIFT:.0%} in training",
        snippet=f"keras.layers.RandomTranslation({_SHIFT:g}, {_SHIFT:g}),  # first in the model",
        recipe=(*(("augment.flip=horizontal",) if colour else ()), f"augment.shift={_SHIFT:g}"),
    )
    return subject.changed(change, options={"augment": Augmentation(transforms)})
