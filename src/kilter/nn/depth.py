"""Mean and deviation of the signal, layer by layer: as measured in one forward pass, and as predicted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras import layers as kinds

from kilter._array_types import Arrays
from kilter._models.arrays import some_rows
from kilter._models.keras_internals import BaseConv, BaseConvTranspose, BaseDepthwiseConv
from kilter._models.layers import SELU_BOUND, SHAPING
from kilter._models.tracing import LayerCall, forward, watch_calls
from kilter._models.variables import build_forward, fitting, values
from kilter._records import Figure, drawn
from kilter.nn.gain import COUPLED, Moments, activation_moments, piecewise_linear, weight_moment
from kilter.nn.layers import RReLU


@dataclass(frozen=True)
class LayerSignal:
    """The output of one layer, over rows and units together.

    Attributes:
        layer: the layer's path, such as ``"block/dense_1"``.
        kind: its class, such as ``"Dense"``.
        mean, deviation: as measured; NaN if the output is not finite.
        predicted_mean, predicted_deviation: by mean-field theory; None if it makes no prediction.
    """

    layer: str
    kind: str
    mean: float
    deviation: float
    predicted_mean: float | None
    predicted_deviation: float | None


@dataclass(frozen=True)
class DepthRecord:
    """The signal through a model: ``layers`` in the order of their calls, measured on ``rows`` rows."""

    layers: tuple[LayerSignal, ...]
    rows: int

    def plot(self) -> Figure:
        """Standard deviation (logarithmic) and mean by layer: measured as lines, predicted as crosses."""
        return drawn("signal_through_depth", self)


def variance_through_depth(
    model: keras.Model, x: Arrays, *, training: bool = True, rows: int = 512, seed: int = 0
) -> DepthRecord:
    """Mean and standard deviation of each layer's output for the inputs ``x``.

    One compiled forward pass measures every layer that holds no other layers, in the order of the calls. A
    layer that is called twice has two entries. For several outputs, the first one is used. Calls inside a
    traced loop are left out. The prediction follows the signal through initialisers and activations, so it
    holds before the first training step. It starts from the model's inputs, and restarts from the measured
    numbers after a layer that it cannot predict.

    Args:
        model: any model; built on ``x`` if needed, otherwise unchanged.
        x: inputs as the model takes them: an array, or a list or dict of arrays.
        training: as in a training step (batch statistics, dropout active), or as at inference.
        rows: use at most this many rows of ``x``, sampled with ``seed``.
        seed: of the rows.

    Raises:
        DataError: if the inputs do not fit the model.
    """
    batch = some_rows(x, rows, seed)
    build_forward(model, batch)
    calls: list[LayerCall] = []

    def run(variables: Any, inputs: Any) -> Any:
        calls.clear()
        with watch_calls(model, record):
            forward(model, variables, inputs, training=training)
        return [
            [_statistics(_first_float(arrays)) for arrays in (call.inputs, call.outputs)] for call in calls
        ]

    def record(call: LayerCall, output: Any) -> Any:
        if _first_float(call.outputs) is not None:
            calls.append(call)
        return output

    with fitting(model):
        measured = jax.device_get(jax.jit(run)(values(model), batch))
    return DepthRecord(_with_predictions(calls, measured, training), len(jax.tree.leaves(batch)[0]))


def _first_float(arrays: Sequence[Any]) -> Any | None:
    return next((one for one in arrays if jnp.issubdtype(one.dtype, jnp.floating)), None)


def _statistics(array: Any | None) -> Any:
    if array is None:
        return jnp.full(3, jnp.nan)
    exact = array.astype("float32")
    return jnp.stack([jnp.mean(exact), jnp.mean(jnp.square(exact)), jnp.std(exact)])


def _with_predictions(calls: list[LayerCall], measured: list[Any], training: bool) -> tuple[LayerSignal, ...]:
    """The measured and the predicted numbers."""
    first = [tuple(map(_first_float, (call.inputs, call.outputs))) for call in calls]
    signals: list[Signal] = []
    layers = []
    for index, (call, (entering, leaving)) in enumerate(zip(calls, measured, strict=True)):
        # By identity: an output that is changed on its way to the next layer does not count as a layer's.
        earlier = (i for i in range(index) if first[i][1] is first[index][0])
        source = next(earlier, None)
        before = Signal(float(entering[0]), float(entering[1])) if source is None else signals[source]
        known = predict_layer(call.layer, before, training=training) if np.isfinite(before.second) else None
        after = known if known is not None and np.isfinite(known.second) else None
        signals.append(Signal(float(leaving[0]), float(leaving[1])) if after is None else after)
        layers.append(
            LayerSignal(
                layer=call.path,
                kind=type(call.layer).__name__,
                mean=float(leaving[0]),
                deviation=float(leaving[2]),
                predicted_mean=None if after is None else after.mean,
                predicted_deviation=None if after is None else after.deviation,
            )
        )
    return tuple(layers)


_SUMMING: Final = (kinds.Dense, BaseConv, BaseConvTranspose, BaseDepthwiseConv)
# Layers that apply an elementwise function, to which quadrature applies.
_ELEMENTWISE: Final = (kinds.Activation, kinds.ReLU, kinds.LeakyReLU, kinds.ELU)


@dataclass(frozen=True)
class Signal:
    """The signal between two layers: ``mean`` E[x] and ``second`` E[x²] over rows and units.

    ``normal``: nearly normal with mean 0, as after a kernel; only then is the effect of an activation known.
    """

    mean: float
    second: float
    normal: bool = False

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return math.sqrt(max(0.0, self.second - self.mean**2))


def predict_layer(layer: kinds.Layer, signal: Signal, *, training: bool) -> Signal | None:
    """The signal after ``layer`` for input ``signal``, before the first training step; None if unknown.

    Kernels are assumed to have the variance of their initialiser; borders of convolutions are ignored.
    """
    if isinstance(layer, (*SHAPING, kinds.ActivityRegularization)):
        return signal
    if isinstance(layer, kinds.Dropout | kinds.AlphaDropout):
        return _dropped(layer, signal) if training else signal
    if isinstance(layer, kinds.BatchNormalization | kinds.LayerNormalization):
        known = training or isinstance(layer, kinds.LayerNormalization)
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
    if isinstance(activation, kinds.PReLU):
        slopes = np.asarray(activation.alpha, dtype="float64")
        return piecewise_linear(slopes.mean(), np.square(slopes).mean(), variance)
    if isinstance(activation, kinds.Layer) and not isinstance(activation, _ELEMENTWISE):
        return None
    if isinstance(activation, kinds.Activation):
        activation = activation.activation
    function = activation.call if isinstance(activation, kinds.Layer) else activation
    return None if function in COUPLED else activation_moments(function, variance)


def _dropped(layer: Any, signal: Signal) -> Signal:
    """After dropout in training: the mean stays; kept units are scaled, for SELU with an offset."""
    kept = 1 - layer.rate
    if layer.rate == 0:
        return signal
    if isinstance(layer, kinds.Dropout):
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
