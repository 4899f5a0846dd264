"""Mean-field predictions, layer by layer: the moments of a layer's output from those of its input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._models.keras_internals import BaseConv, BaseConvTranspose, BaseDepthwiseConv
from kilter._models.layers import SELU_BOUND, SHAPING
from kilter.nn.gain import COUPLED, Moments, activation_moments, piecewise_linear, weight_moment
from kilter.nn.rrelu import RReLU

_SUMMING: Final = (keras.layers.Dense, BaseConv, BaseConvTranspose, BaseDepthwiseConv)
# Layers that apply an elementwise function, to which quadrature applies.
_ELEMENTWISE: Final = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
)


@dataclass(frozen=True)
class Signal:
    """The signal between two layers: ``mean`` E[x] and ``second`` E[x²] over rows and units.

    ``normal``: whether it is nearly normal with mean 0, as after a kernel or after normalisation; only then
    is the effect of an activation known.
    """

    mean: float
    second: float
    normal: bool = False

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return math.sqrt(max(0.0, self.second - self.mean**2))


def predict_layer(layer: keras.layers.Layer, signal: Signal, *, training: bool) -> Signal | None:
    """The signal after ``layer`` for input ``signal``, before the first training step; None if unknown.

    Known are dense layers and convolutions whose initialisers have mean 0, elementwise activations of normal
    sums, dropout, normalisation in training, and layers that only reshape. Kernels are assumed to have the
    variance of their initialiser; borders of convolutions are ignored.
    """
    if isinstance(layer, (*SHAPING, keras.layers.ActivityRegularization)):
        return signal
    if isinstance(layer, keras.layers.Dropout | keras.layers.AlphaDropout):
        return _dropped(layer, signal) if training else signal
    if isinstance(layer, keras.layers.BatchNormalization | keras.layers.LayerNormalization):
        known = training or isinstance(layer, keras.layers.LayerNormalization)
        return _normalized(layer, signal) if known else None
    if isinstance(layer, _SUMMING):
        summed = _summed(layer, signal)
        return None if summed is None else _activated(layer.activation, summed)
    return _activated(layer, signal)


def _summed(layer: Any, signal: Signal) -> Signal | None:
    """After the kernel and the bias, before the activation."""
    depthwise = isinstance(layer, BaseDepthwiseConv)
    initializer = layer.depthwise_initializer if depthwise else layer.kernel_initializer
    weight = weight_moment(initializer, layer.kernel.shape)
    bias = weight_moment(layer.bias_initializer, layer.bias.shape) if layer.bias is not None else 0.0
    if weight is None or bias is None:
        return None
    return Signal(0.0, _incoming(layer) * weight * signal.second + bias, normal=True)


def _incoming(layer: Any) -> float:
    """The number of terms in a unit's sum."""
    shape: tuple[int, ...] = tuple(layer.kernel.shape)
    if isinstance(layer, BaseDepthwiseConv):
        return float(math.prod(shape[:-2]))
    if isinstance(layer, BaseConvTranspose):
        *window, _, channels = shape
        return math.prod(window) * channels / math.prod(layer.strides)
    return float(math.prod(shape[:-1]))


def _activated(activation: Any, signal: Signal) -> Signal | None:
    """After an activation, given as a function or as a layer."""
    if activation in (None, keras.activations.linear):
        return signal
    if not signal.normal:
        return None
    moments = _moments(activation, signal.second)
    return None if moments is None else Signal(moments.mean, moments.second)


def _moments(activation: Any, variance: float) -> Moments | None:
    if not math.isfinite(variance):
        return None
    if isinstance(activation, RReLU):
        return activation_moments("rrelu", variance)
    if isinstance(activation, keras.layers.PReLU):
        slopes = np.asarray(activation.alpha, dtype="float64")
        return piecewise_linear(slopes.mean(), np.square(slopes).mean(), variance)
    if isinstance(activation, keras.layers.Layer) and not isinstance(activation, _ELEMENTWISE):
        return None
    if isinstance(activation, keras.layers.Activation):
        activation = activation.activation
    function = activation.call if isinstance(activation, keras.layers.Layer) else activation
    return None if function in COUPLED else activation_moments(function, variance)


def _dropped(layer: Any, signal: Signal) -> Signal:
    """After dropout in training: the mean stays; kept units are scaled, for SELU with an offset."""
    kept = 1 - layer.rate
    if layer.rate == 0:
        return signal
    if isinstance(layer, keras.layers.Dropout):
        return Signal(signal.mean, signal.second / kept)
    scale = (kept * (1 + layer.rate * SELU_BOUND**2)) ** -0.5
    offset = -scale * SELU_BOUND * layer.rate
    mean = kept * signal.mean + layer.rate * SELU_BOUND
    second = kept * signal.second + layer.rate * SELU_BOUND**2
    return Signal(scale * mean + offset, scale**2 * second + 2 * scale * offset * mean + offset**2)


def _normalized(layer: Any, signal: Signal) -> Signal:
    """After normalisation by batch statistics, with the current gamma and beta."""
    gamma, beta = (
        np.asarray(variable, dtype="float64") if variable is not None else np.asarray(otherwise)
        for variable, otherwise in ((layer.gamma, 1.0), (layer.beta, 0.0))
    )
    variance = signal.second - signal.mean**2
    share = variance / (variance + layer.epsilon)
    second = share * np.square(gamma).mean() + np.square(beta).mean()
    return Signal(float(beta.mean()), float(second), normal=signal.normal and not beta.any())
