"""Which input pixels an output pixel depends on: how many, and where their centre is."""

import math
from dataclasses import dataclass
from typing import Any

import keras

from kilter._diagnosis.context import Context
from kilter._models.keras_internals import BaseConvTranspose
from kilter._models.layers import CONVOLUTIONS, POOLINGS, LayerFacts


@dataclass(frozen=True)
class Field:
    """What the pixels of a map see of the input.

    ``start``: the centre of what the first pixel sees, in rows; NaN if unknown. ``step``: between two pixels.
    ``size``: across what one pixel sees.
    """

    start: float
    step: float
    size: int


def field_at(context: Context, end: LayerFacts) -> Field | None:
    """The receptive field of a layer's output; None if it is unknown, or no map of pixels.

    Each convolution and pooling adds (kernel - 1) · dilation · step so far (Araujo et al. 2019). Where paths
    meet, the largest field counts and the path of the least offset.
    """
    known: dict[int, tuple[float, float, float]] = {}
    for one in context.layers[: end.index + 1]:
        before = [known[source] for source in one.sources if source in known]
        if len(before) < len(one.sources) or not (before or one.takes_input):
            continue  # what comes before it is no layer, or no map; other branches do not matter
        start, step, _ = min(before, key=lambda place: abs(place[0]), default=(0.0, 1.0, 1.0))
        size = max((place[2] for place in before), default=1.0)
        rows = context.layers[one.sources[0]].shape[1] if one.sources else context.inputs[0].shape[1]
        through = _through(one, start, step, size, rows)
        if through is not None:
            known[one.index] = through
    if end.index not in known:
        return None
    start, step, size = known[end.index]
    return Field(start, step, round(size))


def _through(
    one: LayerFacts, start: float, step: float, size: float, rows: Any
) -> tuple[float, float, float] | None:
    """Start, step and size after a layer that takes a map of so many ``rows``; None for no map."""
    layer: Any = one.layer
    if getattr(layer, "data_format", "channels_last") != "channels_last" or not isinstance(rows, int):
        start = math.nan
    if isinstance(layer, keras.layers.UpSampling2D):
        factor = layer.size[0]
        return start - (factor - 1) / 2 * step / factor, step / factor, size
    if isinstance(layer, BaseConvTranspose):
        kernel, stride = layer.kernel_size[0], layer.strides[0]
        ahead = max(kernel - stride, 0) // 2 if layer.padding == "same" else 0
        step /= stride
        return start - ((kernel - 1) / 2 - ahead) * step, step, size + (max(layer.kernel_size) - 1) * step
    if isinstance(layer, (*CONVOLUTIONS, *POOLINGS)):
        kernel = getattr(layer, "kernel_size", getattr(layer, "pool_size", None))
        if kernel is None:
            return None  # global: it sees everything
        stride, dilation = layer.strides[0], getattr(layer, "dilation_rate", (1,))
        reach, ahead = (kernel[0] - 1) * dilation[0], 0
        if layer.padding == "same" and isinstance(rows, int):
            ahead = max((math.ceil(rows / stride) - 1) * stride + reach + 1 - rows, 0) // 2
        grown = size + (max(kernel) - 1) * max(dilation) * step
        return start + (reach / 2 - ahead) * step, step * stride, grown
    if isinstance(layer, keras.layers.ZeroPadding2D | keras.layers.Cropping2D):
        padded = isinstance(layer, keras.layers.ZeroPadding2D)
        ahead = layer.padding[0][0] if padded else -layer.cropping[0][0]
        return start - ahead * step, step, size
    return (start, step, size) if len(one.shape) == 4 else None
