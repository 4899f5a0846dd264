"""Remedies against overfitting: dropout, penalties and limits on kernels, augmented images."""

import itertools
from collections.abc import Callable
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.easing import Easing
from kilter._models.editing import Cut, can_be_cut, configuration, open_layers
from kilter._models.layers import AUGMENTATIONS, CONVOLUTIONS, DROPOUTS, LayerFacts
from kilter._records import Finding
from kilter._treatment.remedies.base import (
    changed,
    chosen,
    counted,
    differences,
    hidden_layers,
    operated,
    paths,
    remedies,
    replaceable,
)
from kilter._treatment.subject import Subject
from kilter.data.augmentation import Augmentation, Flip, Shift

_AUGMENTATION: Final = "kilter.data.augmentation"


def add_dropout(subject: Subject, finding: Finding) -> Subject | None:
    """Dropout after the activation of each hidden dense layer, AlphaDropout after SELU.

    None if there is dropout already, and for a network without hidden dense layers.
    """
    policy = subject.policy.remedies
    if any(isinstance(one.layer, DROPOUTS) for one in subject.layers):
        return None
    layers = [one for one in hidden_layers(subject) if isinstance(one.layer, keras.layers.Dense)]
    if not layers:
        return None
    layers = replaceable(subject, layers)
    holders = {one.activation_layer: one for one in layers}
    activations = replaceable(subject, (one for one in subject.layers if one.path in holders), every=True)
    cuts: dict[Any, Cut] = {}
    for number, one in enumerate(activations):
        seed = subject.seed * 10_007 + number
        if holders[one.path].activation == "selu":
            cuts[one.layer] = _followed_by(keras.layers.AlphaDropout, policy.alpha_dropout, seed)
        else:
            cuts[one.layer] = _followed_by(keras.layers.Dropout, policy.dropout, seed)
    before = "no dropout"
    after = (
        f"dropout of {policy.dropout:g} after each hidden dense layer "
        f"(after selu {policy.alpha_dropout:g}, alpha)"
    )
    recipe = (f"model.dropout={policy.dropout:g}",)
    return operated(subject, paths(layers), (before, after), cuts, recipe=recipe)


def _followed_by(kind: Any, rate: float, seed: int) -> Cut:
    return lambda config: [config, kind(rate, seed=seed, name=f"{config['name']}_dropout")]


def add_l2(subject: Subject, finding: Finding) -> Subject | None:
    """A penalty of 1e-4 · Σ weight² on the kernels of hidden layers that have none."""
    factor = subject.policy.remedies.l2
    words = "no penalty on weights", f"{factor:g} times the sum of squared weights is added to the loss"
    recipe = f"regularize.l2={factor:g}"
    penalty = keras.regularizers.L2(factor)
    return _on_kernels(subject, finding, "kernel_regularizer", lambda _: penalty, words, recipe)


def add_max_norm(subject: Subject, finding: Finding) -> Subject | None:
    """A max-norm constraint of 3 on the kernels of hidden layers without a constraint."""
    norm = subject.policy.remedies.max_norm

    def limit(one: LayerFacts) -> Any:
        assert one.kernel is not None
        axes: Any = list(range(one.kernel.ndim - 1))  # all but the units; Keras says int and takes lists
        return keras.constraints.MaxNorm(max_value=norm, axis=axes)  # pyright: ignore[reportArgumentType]

    words = "no constraint on weights", f"each unit's incoming weights have a norm of at most {norm:g}"
    recipe = f"regularize.max_norm={norm:g}"
    return _on_kernels(subject, finding, "kernel_constraint", limit, words, recipe)


def _on_kernels(
    subject: Subject,
    finding: Finding,
    key: str,
    make: Callable[[LayerFacts], Any],
    words: tuple[str, str],
    recipe: str,
) -> Subject | None:
    """``make(layer)`` as ``key`` of each hidden layer with a kernel and without ``key``; SELU allows none."""
    layers = [
        one
        for one in chosen(finding, hidden_layers(subject))
        if one.kernel is not None and getattr(one.layer, key, 0) is None and one.activation != "selu"
    ]
    if not layers:
        return None
    layers = replaceable(subject, layers)
    cuts = {one.layer: _with(key, keras.saving.serialize_keras_object(make(one))) for one in layers}
    return operated(subject, paths(layers), words, cuts, recipe=(recipe,))


def _with(key: str, value: Any) -> Cut:
    return lambda config: {**config, key: value}


def ease_regularization(subject: Subject, finding: Finding) -> Subject | None:
    """Dropout rates above 0.5 become 0.2, and kernel penalties above 0.01 become 1e-4 · Σ weight².

    Rates of recurrent and attention layers too; every penalty where they outweigh the loss. None if there
    are none.
    """
    policy = subject.policy.remedies
    heavy = 0.0 if finding.code == "penalty-outweighs-loss" else policy.most_penalty
    easing = Easing(policy.dropout, policy.l2, policy.most_dropout, heavy)
    found = {layer: configuration(layer) for layer in open_layers(subject.model)}
    strong = {layer: one for layer, one in found.items() if one is not None and easing.eased(one) != one}
    if not strong:
        return None
    known = {id(one.layer): one.path for one in subject.layers}
    before, after = zip(*(differences(one, easing.eased(one)) for one in strong.values()), strict=True)
    return operated(
        subject,
        tuple(known.get(id(layer)) or str(layer.path) for layer in strong),
        (counted(itertools.chain(*before)), counted(itertools.chain(*after))),
        dict.fromkeys(strong, easing.eased),
    )


def augment(subject: Subject, finding: Finding) -> Subject | None:
    """Random shifts (and flips of colour images), for models of images with a channel axis."""
    policy = subject.policy.remedies
    convolves = any(isinstance(one.layer, CONVOLUTIONS) for one in subject.layers)
    shape = np.shape(subject.x) if len(jax.tree.leaves(subject.x)) == 1 else ()
    channels = shape[3] if len(shape) == 4 else 0
    if subject.training.augment is not None or channels not in (1, 3) or not convolves:
        return None
    colour = channels == 3
    transforms = (Flip("horizontal"), Shift(policy.shift)) if colour else (Shift(policy.shift),)
    code = [f'{_AUGMENTATION}.Flip("horizontal")'] * colour + [f"{_AUGMENTATION}.Shift({policy.shift:g})"]
    before = "no augmentation"
    after = ("mirrored and " if colour else "") + f"shifted by up to {policy.shift:.0%} in training"
    return changed(
        subject,
        ("data",),
        (before, after),
        training={"augment": Augmentation(transforms)},
        snippet=f"kilter.fit(model, x_train, y_train, augment=[{', '.join(code)}])",
        recipe=(*(("augment.flip=horizontal",) if colour else ()), f"augment.shift={policy.shift:g}"),
    )


def drop_augmentation(subject: Subject, finding: Finding) -> Subject | None:
    """Without the augmenting layers that the finding names, or without ``augment=``."""
    given = subject.training.augment
    named = [one for one in subject.layers if isinstance(one.layer, AUGMENTATIONS)]
    if given is None and not (named and can_be_cut(subject.model)):
        return None
    layers = replaceable(subject, chosen(finding, named)) if named else ()
    before = [type(one.layer).__name__ for one in layers] or [str(given)]
    words, snippet = (", ".join(before), "no such augmentation"), f"# leave out {', '.join(before)}"
    if not layers:
        return changed(subject, ("data",), words, training={"augment": None}, snippet=snippet)
    return operated(
        subject, paths(layers), words, {one.layer: lambda _: None for one in layers}, snippet=snippet
    )


REMEDIES = remedies(ease_regularization, add_dropout, add_l2, add_max_norm, needs_surgery=True) | remedies(
    augment, drop_augmentation
)
