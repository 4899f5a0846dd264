"""Remedies for wrong initial weights: drawn again to fit the activation, or scaled to the data."""

import math
from typing import Any

import keras
import numpy as np

from kilter._models.layers import LayerFacts
from kilter._models.variables import assign, draw
from kilter._records import Finding
from kilter._treatment.policy import RemedyPolicy
from kilter._treatment.remedies.base import changed, chosen, counted, paths, remedies
from kilter._treatment.subject import Subject, copied_with_layers, copy_of
from kilter.errors import KilterError
from kilter.nn.gain import weight_moment
from kilter.nn.pairing import PAIRINGS, pairing_of
from kilter.nn.unit_variance import lsuv


def reinitialize_paired(subject: Subject, finding: Finding) -> Subject | None:
    """Draw the kernels of the layers named (or of all) with the initialiser that fits their activation.

    Other untrained layers are drawn too, since a signal fades in all of them. Biases become zeros. Kernels
    that this initialiser could have drawn are kept.
    """
    policy = subject.policy.remedies
    initialized = [one for one in subject.layers if one.is_weighted and one.trainable]
    named = paths(chosen(finding, initialized))
    layers = [
        one
        for one in initialized
        if (one.path in named or _is_untrained(one, policy)) and not _is_drawn_as_paired(one, policy)
    ]
    if not layers:
        return None
    copied = copied_with_layers(subject.model)
    for number, one in enumerate(layers):
        initializer = paired_initializer(one.activation)
        reinitialize(copied.twin(one.layer), initializer, subject.seed * 10_007 + number)
    names = [paired_initializer(one.activation) for one in layers]
    words = counted(_initializer_name(one.initializer) for one in layers), counted(names)
    recipe = (f"model.initializer={names[0]}",)
    return changed(subject, paths(layers), words, model=copied.model, recipe=recipe)


def reinitialize_lsuv(subject: Subject, finding: Finding) -> Subject | None:
    """Scale the initial kernels until the output of every layer has variance 1 on training rows."""
    if subject.unit_variance:
        return None
    copied = copy_of(subject.model)
    try:
        record = lsuv(copied, subject.x, seed=subject.seed)
    except KilterError:
        return None  # an output that does not vary needs another remedy first
    deviations = [one.before for one in record.layers]
    before = f"outputs with deviations from {min(deviations):.2g} to {max(deviations):.2g}"
    after = "outputs of every layer with variance 1 on training rows"
    return changed(
        subject,
        tuple(one.layer for one in record.layers),
        (before, after),
        model=copied,
        unit_variance=True,
        snippet="kilter.nn.lsuv(model, x_train)  # before compile() and fit()",
        recipe=("model.lsuv=true",),
    )


def paired_initializer(activation: str | None) -> str:
    """Keras's name of the initialiser that fits; he_normal for an unknown activation."""
    return pairing_of(activation).default if activation in PAIRINGS else "he_normal"


def reinitialize(layer: Any, initializer: str, seed: int) -> None:
    """Draw all kernels of a built layer with ``initializer``, in place, and make that the layer's own."""
    for variable in layer.weights:
        if variable.name in _KERNELS:
            assign([(variable, draw(initializer, variable.shape, seed))])
            setattr(layer, _KERNELS[variable.name], keras.initializers.get(initializer))
        elif variable.name == "bias":
            assign([(variable, np.zeros(variable.shape))])
            layer.bias_initializer = keras.initializers.get("zeros")


_KERNELS = {
    "kernel": "kernel_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
}


def _is_drawn_as_paired(one: LayerFacts, policy: RemedyPolicy) -> bool:
    """Whether the paired initialiser could have drawn the kernels and the bias."""
    bias = getattr(one.layer, "bias", None)
    if bias is not None and not np.mean(np.abs(np.asarray(bias))) <= policy.large_bias:  # nor where it is NaN
        return False
    initializer = paired_initializer(one.activation)
    return all(_could_be_drawn(kernel, initializer, policy) for kernel in _kernels(one))


def _is_untrained(one: LayerFacts, policy: RemedyPolicy) -> bool:
    """Whether the layer's own initialiser could have drawn the kernels."""
    return all(
        np.ptp(kernel) == 0 or _could_be_drawn(kernel, one.initializer, policy) for kernel in _kernels(one)
    )


def _kernels(one: LayerFacts) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in one.layer.weights if weight.name in _KERNELS]


def _could_be_drawn(kernel: np.ndarray, initializer: Any, policy: RemedyPolicy) -> bool:
    variance = None if initializer is None else weight_moment(initializer, kernel.shape)
    if not variance or not np.all(np.isfinite(kernel)):
        return False
    if kernel.size > 1 and np.ptp(kernel) == 0:
        return False
    columns = kernel.reshape(-1, kernel.shape[-1])
    if columns.shape[1] > 1 and np.all(columns == columns[:, :1]):
        return False
    share = float(np.mean(np.square(kernel, dtype="float64"))) / variance
    # The squares of a normal sample have a deviation of √2 times their mean.
    margin = max(policy.drawn_factor - 1, policy.drawn_deviations * math.sqrt(2 / kernel.size))
    return max(0.0, 1 / (1 + margin)) <= share <= 1 + margin


def _initializer_name(initializer: Any) -> str:
    if initializer is None:
        return "its own initialisers"
    config = initializer.get_config() if hasattr(initializer, "get_config") else {}
    shown = {key: config[key] for key in config if key in ("mean", "stddev", "minval", "maxval", "value")}
    name = keras.saving.get_registered_name(type(initializer)).rpartition(">")[2]
    options = ", ".join(f"{key}={value:g}" for key, value in shown.items() if isinstance(value, int | float))
    return f"{name}({options})" if options else name


REMEDIES = remedies(reinitialize_paired, reinitialize_lsuv)
