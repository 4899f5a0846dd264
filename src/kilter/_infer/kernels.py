"""Folds a channel-wise map, y = scale·z + shift, into the kernel and bias before or after it.

Batch normalisation at inference is such a map, with scale = γ/√(σ²+ε) and shift = β − μ·scale (Ioffe &
Szegedy 2015). After a kernel, z = Wx + b, it gives W' = W·scale and b' = b·scale + shift; before one,
W(scale·x + shift) + b, it gives W' = W·scale by input channel and b' = b + W·shift. All in float64.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._models.layers import KERNELS
from kilter._models.variables import assign

layers = keras.layers


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """y = scale·z + shift for every channel; both have shape (channels,)."""

    scale: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, eq=False)
class Weights:
    """A layer's kernels by attribute name, and its bias (output channels,); zeros if it has none."""

    kernels: Mapping[str, np.ndarray]
    bias: np.ndarray


Fold = Callable[[Any, Weights, ChannelMap], Weights]


@dataclass(frozen=True)
class Kind:
    """How to fold a map ``behind`` a kind of layer, and one ``in_front`` of it (None: impossible)."""

    behind: Fold
    in_front: Fold | None


def channel_map(norm: Any) -> ChannelMap:
    """The map that a batch normalisation computes at inference; without γ or β these are 1 and 0."""
    variance = np.asarray(norm.moving_variance, np.float64)
    mean = np.asarray(norm.moving_mean, np.float64)
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(mean)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    with np.errstate(divide="ignore", invalid="ignore"):  # the planner finds values that are not finite
        scale = gamma / np.sqrt(variance + norm.epsilon)
    return ChannelMap(scale, beta - mean * scale)


def read_weights(layer: Any) -> Weights:
    """The weights of a layer of one of the :data:`KINDS`."""
    names = [name for name in KERNELS if hasattr(layer, name)]
    kernels = {name: np.asarray(getattr(layer, name), np.float64) for name in names}
    if layer.bias is not None:
        return Weights(kernels, np.asarray(layer.bias, np.float64))
    return Weights(kernels, np.zeros(_output_channels(layer)))


def write_weights(layer: Any, weights: Weights) -> None:
    """Write the weights into a layer that has a bias, rounded to the dtype of its variables."""
    assign((getattr(layer, name), values) for name, values in weights.kernels.items())
    assign([(layer.bias, weights.bias)])


def _output_channels(layer: Any) -> int:
    if isinstance(layer, layers.Dense):
        return layer.units
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        return int(np.prod(layer.kernel.shape[-2:]))
    return layer.filters


def _behind(name: str, shape: Callable[[np.ndarray], tuple[int, ...]]) -> Fold:
    """Scales kernel ``name``; ``shape`` is the shape of the scale that broadcasts against it."""

    def fold(_: Any, weights: Weights, channels: ChannelMap) -> Weights:
        kernel = weights.kernels[name]
        scaled = kernel * channels.scale.reshape(shape(kernel))
        return Weights({**weights.kernels, name: scaled}, weights.bias * channels.scale + channels.shift)

    return fold


def _dense_in_front(_: Any, weights: Weights, channels: ChannelMap) -> Weights:
    kernel = weights.kernels["kernel"]
    return Weights({"kernel": kernel * channels.scale[:, None]}, weights.bias + channels.shift @ kernel)


def _convolution_in_front(layer: Any, weights: Weights, channels: ChannelMap) -> Weights:
    kernel = weights.kernels["kernel"]  # (*space, channels of a group, filters)
    taken, filters = kernel.shape[-2:]
    group = np.arange(filters) // (filters // layer.groups)
    channel = group * taken + np.arange(taken)[:, None]  # the input channel of each weight
    space = tuple(range(kernel.ndim - 2))
    shift = (kernel.sum(axis=space) * channels.shift[channel]).sum(axis=0)
    return Weights({"kernel": kernel * channels.scale[channel]}, weights.bias + shift)


def _depthwise_in_front(_: Any, weights: Weights, channels: ChannelMap) -> Weights:
    kernel, shift = _through_depthwise(weights.kernels["kernel"], channels)
    return Weights({"kernel": kernel}, weights.bias + shift)


def _separable_in_front(_: Any, weights: Weights, channels: ChannelMap) -> Weights:
    depthwise, shift = _through_depthwise(weights.kernels["depthwise_kernel"], channels)
    pointwise = weights.kernels["pointwise_kernel"]
    bias = weights.bias + shift @ pointwise.reshape(pointwise.shape[-2:])
    return Weights({"depthwise_kernel": depthwise, "pointwise_kernel": pointwise}, bias)


def _through_depthwise(kernel: np.ndarray, channels: ChannelMap) -> tuple[np.ndarray, np.ndarray]:
    """The kernel (*space, channels, multiplier) scaled, and what the shift adds to each of its outputs."""
    space = tuple(range(kernel.ndim - 2))
    shift = kernel.sum(axis=space) * channels.shift[:, None]
    return kernel * channels.scale[:, None], shift.reshape(-1)


_LAST = _behind("kernel", lambda kernel: (kernel.shape[-1],))
_convolution = Kind(_LAST, _convolution_in_front)
_transposed = Kind(_behind("kernel", lambda kernel: (kernel.shape[-2], 1)), None)
_depthwise = Kind(_behind("kernel", lambda kernel: kernel.shape[-2:]), _depthwise_in_front)
_separable = Kind(_behind("pointwise_kernel", lambda kernel: (kernel.shape[-1],)), _separable_in_front)

# By exact type: a subclass may compute something else.
KINDS: Final[Mapping[type, Kind]] = {
    layers.Dense: Kind(_LAST, _dense_in_front),
    **dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), _convolution),
    **dict.fromkeys((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _transposed),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
}
