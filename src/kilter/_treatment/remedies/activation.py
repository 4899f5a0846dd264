"""Remedies for activations: another one in hidden layers, and self-normalisation."""

from collections.abc import Iterable
from typing import Any

import keras

from kilter._models.editing import Cut, cut, linear_chain, open_layers
from kilter._models.layers import LayerFacts
from kilter._records import Finding
from kilter._treatment.remedies.base import (
    changed,
    chosen,
    counted,
    hidden_layers,
    operated,
    paths,
    remedies,
    replaceable,
)
from kilter._treatment.remedies.initialization import reinitialize
from kilter._treatment.subject import Subject

# Not flat below zero as ReLU, so that no unit dies (Clevert et al. 2016).
_SOUND = "elu"
# Activations that keep signals alive in deep stacks. Others are replaced if the finding names no layer.
_ALIVE = ("relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "gelu", "silu", "mish")


def replace_activation(subject: Subject, finding: Finding) -> Subject | None:
    """ELU with He initialisation in the hidden layers named, or in all with a poor activation.

    All activations outside the ReLU family and its smooth relatives are poor. A named layer is changed
    unless it has ELU, and with it all layers with the same activation: units that die in one layer of a
    stack die in the next. A leaky slope of 1 or more becomes 0.2. Outputs, and linear layers that are not
    named, stay.
    """
    layers = _to_change(subject, finding)
    if not layers:
        return None
    layers = replaceable(subject, layers)
    replaceable(subject, [_holder(subject, one) for one in layers], every=True)
    cuts: dict[Any, Cut] = {}
    for one in layers:
        holder = _holder(subject, one).layer
        if holder is not one.layer:
            cuts[holder] = _sound_layer(holder, subject.policy.remedies.leaky_slope)
        else:
            cuts[one.layer] = lambda config: {**config, "activation": _SOUND}
    words = counted(str(one.activation) for one in layers), f"{_SOUND}, he_normal"
    recipe = (f"model.activation={_SOUND}", "model.initializer=he_normal")
    copied = cut(subject.model, cuts)
    for number, one in enumerate(layers):
        reinitialize(copied.twin(one.layer), "he_normal", subject.seed * 10_007 + number)
    return changed(subject, paths(layers), words, model=copied.model, recipe=recipe)


def _to_change(subject: Subject, finding: Finding) -> list[LayerFacts]:
    layers = hidden_layers(subject)
    named = {place.partition("#")[0] for place in finding.where}
    listed = [one for one in layers if {one.path, one.activation_layer} & named]
    if listed:
        poor = {one.activation for one in listed} - {_SOUND}
        return [one for one in (listed if subject.trained else layers) if one.activation in poor]
    return [one for one in layers if one.activation not in (*_ALIVE, "linear")]


def _holder(subject: Subject, one: LayerFacts) -> LayerFacts:
    """The call that applies the activation of ``one``."""
    return next(other for other in subject.facts[0] if other.path == one.activation_layer)


def _sound_layer(holder: Any, slope: float) -> Cut:
    """The replacement of a layer that only applies an activation."""
    if isinstance(holder, keras.layers.LeakyReLU):
        return lambda config: {**config, "negative_slope": slope}
    if isinstance(holder, keras.layers.Activation):
        return lambda config: {**config, "activation": _SOUND}
    return lambda config: [keras.layers.Activation(_SOUND, name=config["name"], dtype=config.get("dtype"))]


def self_normalize(subject: Subject, finding: Finding) -> Subject | None:
    """All conditions of self-normalisation, in a plain stack of dense layers; None for any other network.

    SELU and LeCun normal in every hidden layer, AlphaDropout instead of Dropout, no normalisation between
    layers, no penalties or constraints on kernels. Another remedy standardises the inputs.
    """
    chain = linear_chain(subject.model)
    hidden = hidden_layers(subject)
    if chain is None or not hidden or any(not isinstance(one.layer, keras.layers.Dense) for one in hidden):
        return None
    replaceable(subject, hidden, every=True)
    cuts: dict[Any, Cut] = {}
    for one in hidden:
        cuts[one.layer] = _self_normalizing
        if (holder := _holder(subject, one).layer) is not one.layer:
            cuts[holder] = lambda config: None
    first = next(index for index, layer in enumerate(chain) if layer is hidden[0].layer)
    for layer in chain[first:]:
        if isinstance(layer, keras.layers.BatchNormalization | keras.layers.LayerNormalization):
            cuts[layer] = lambda config: None
    free = {id(layer) for layer in open_layers(subject.model)}
    cuts |= _as_alpha(subject, (one.layer for one in _plain_dropouts(subject) if id(one.layer) in free))
    if all(_is_self_normalizing(one) for one in hidden) and set(cuts) == {one.layer for one in hidden}:
        return None
    words = (
        counted(str(one.activation) for one in hidden),
        "selu, lecun_normal, alpha dropout, and no other layer that changes mean and variance",
    )
    recipe = ("model.preset=self-normalizing", "data.standardize=true")
    copied = cut(subject.model, cuts)
    for number, one in enumerate(hidden):
        if not _is_self_normalizing(one):
            reinitialize(copied.twin(one.layer), "lecun_normal", subject.seed * 10_007 + number)
    return changed(subject, paths(hidden), words, model=copied.model, recipe=recipe)


def _self_normalizing(config: dict[str, Any]) -> dict[str, Any]:
    plain = dict.fromkeys(("kernel_regularizer", "kernel_constraint", "activity_regularizer"))
    return {**config, **plain, "activation": "selu", "use_bias": True}


def _is_self_normalizing(one: LayerFacts) -> bool:
    layer: Any = one.layer
    penalised = layer.kernel_regularizer or layer.kernel_constraint or layer.activity_regularizer
    known: Any = keras.initializers.get("lecun_normal")
    lecun = type(layer.kernel_initializer) is type(known)
    return one.activation == "selu" and one.activation_layer == one.path and lecun and not penalised


def _plain_dropouts(subject: Subject) -> list[LayerFacts]:
    return [one for one in subject.layers if type(one.layer) is keras.layers.Dropout]


def _as_alpha(subject: Subject, drops: Iterable[Any]) -> dict[Any, Cut]:
    """Cuts that replace these layers with AlphaDropout of the same rate."""

    def cut_with(seed: int) -> Cut:
        def make(config: dict[str, Any]) -> list[Any]:
            keys = ("name", "trainable", "dtype", "rate", "seed")
            kept = {key: config[key] for key in keys if config.get(key) is not None}
            return [keras.layers.AlphaDropout.from_config({"seed": seed, **kept})]

        return make

    return {layer: cut_with(subject.seed * 10_007 + number) for number, layer in enumerate(drops)}


def alpha_dropout(subject: Subject, finding: Finding) -> Subject | None:
    """AlphaDropout instead of the Dropout layers named, or of all."""
    drops = chosen(finding, _plain_dropouts(subject))
    if not drops:
        return None
    drops = replaceable(subject, drops)
    words = "Dropout", "AlphaDropout of the same rate"
    recipe = ("model.preset=self-normalizing",)
    return operated(
        subject, paths(drops), words, _as_alpha(subject, (one.layer for one in drops)), recipe=recipe
    )


REMEDIES = remedies(replace_activation, self_normalize, alpha_dropout, needs_surgery=True)
