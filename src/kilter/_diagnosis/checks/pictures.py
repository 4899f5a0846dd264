"""Checks of convolutions, segmentation and autoencoders."""

import math
from collections.abc import Iterator
from typing import Any, Final

import keras
import numpy as np
from scipy import ndimage

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.alignment import field_at
from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, SPARSE
from kilter._diagnosis.context import Context
from kilter._models.keras_internals import BaseConvTranspose
from kilter._models.layers import CONVOLUTIONS, DROPOUTS, POOLINGS, LayerFacts, OutputFacts
from kilter._records import Evidence, Finding, Severity

_CHANNELS: Final = (1, 2, 3, 4)
_LEAST_SIDE: Final = 8
_SAMPLE: Final = 200
_NORM: Final = keras.layers.BatchNormalization


def check_channels(context: Context) -> Iterator[Finding]:
    """Images whose channels are first, read by a layer that expects them last, or the other way round."""
    for index, array in enumerate(context.inputs):
        convolutions = [one for one in context.readers(index) if isinstance(one.layer, CONVOLUTIONS)]
        if array.ndim != 4 or not convolutions:
            continue
        shape, first = array.shape[1:], convolutions[0].layer.data_format == "channels_first"
        taken, other = (shape[0], shape[2]) if first else (shape[2], shape[0])
        sides = shape[:2] if first else shape[1:]  # of the image as it should be read
        if other in _CHANNELS and taken >= _LEAST_SIDE and min(sides) >= _LEAST_SIDE:
            evidence = [
                Evidence("channels as it is read", taken, max(_CHANNELS), "images have 1 to 4 channels"),
                Evidence("shape of an image", str(shape)),
            ]
            words = {"shape": shape, "taken": taken, "size": other}
            words["format"] = "channels first" if first else "channels last"
            where = [convolutions[0].path]
            yield finding("channels-order", "severe", where, evidence, **words)


def check_small_maps(context: Context) -> list[Finding]:
    """Convolutions that come after a map is smaller than their kernel: most of it sees padding."""
    found, least = [], ()
    for one in context.weighted:
        if not isinstance(one.layer, CONVOLUTIONS) or isinstance(one.layer, BaseConvTranspose):
            continue
        kernel, before = one.layer.kernel_size, _spatial(context, one)
        if (
            before
            and min(kernel) > 1
            and all(size * 2 <= side for size, side in zip(before, kernel, strict=True))
        ):
            found.append(one.path)
            least = before
    if not found:
        return []
    evidence = [Evidence("size of the map before", math.prod(least)), Evidence("layers", len(found), 0)]
    return [finding("kernel-larger-than-map", "warning", found, evidence, shape="×".join(map(str, least)))]


def _spatial(context: Context, one: LayerFacts) -> tuple[int, ...]:
    """The size of the map that a convolution takes; () if unknown."""
    if len(one.sources) != 1:
        return ()
    shape = context.layers[one.sources[0]].shape
    first = getattr(one.layer, "data_format", "") == "channels_first"
    return tuple(shape[2:] if first else shape[1:-1])


def check_field(context: Context) -> Iterator[Finding]:
    """Segmentation in which a pixel of the output sees less than half of an object."""
    for output in context.outputs:
        size, end = _object_size(output), context.layer(output.where)
        sees = None if size is None or end is None else field_at(context, end)
        if size is None or sees is None:
            continue
        share = sees.size / size
        if share < context.thresholds.field_share:
            evidence = [context.seen("field_share", "receptive field over the size of objects", share)]
            # Colour or texture may be enough; what a pixel sees is a structural fault while skill is missing.
            level: Severity = "severe" if share < context.thresholds.field_share / 2 else "warning"
            detail = f"the objects are about {size:.0f} pixels across"
            words: dict[str, Any] = {"seen": f"{sees.size} pixel{'s' * (sees.size > 1)}", "detail": detail}
            yield finding("receptive-field", level, [output.where], evidence, **words)
    pooled = [
        one
        for one in context.layers
        if isinstance(one.layer, POOLINGS) and not hasattr(one.layer, "pool_size")
    ]
    for source in (context.layers[place] for one in pooled for place in one.sources):
        sides = source.shape[1:3]
        read = [one for one in context.weighted if isinstance(one.layer, CONVOLUTIONS)]
        # Poolings merge pixels, but do not tell where each of them was.
        alone = all(max(one.layer.kernel_size) == 1 for one in read if one.index <= source.index)
        mapped = len(source.shape) == 4 and min(sides) >= _LEAST_SIDE // 2
        if mapped and alone and field_at(context, source) is not None:
            narrow = [one.path for one in read]
            evidence = [context.seen("field_share", "receptive field over the map", 1 / min(sides))]
            words = {
                "seen": "1 pixel",
                "detail": "the pooling after them discards positions, so shapes cannot be distinguished",
            }
            yield finding("receptive-field", "warning", narrow or [source.path], evidence, **words)


def _object_size(output: OutputFacts) -> float | None:
    """The median extent of connected regions of binary masks, in pixels; None for other targets."""
    masks = _masks(output)
    if masks is None or masks.ndim != 3:
        return None
    sizes = []
    for mask in masks[:_SAMPLE]:
        labelled: Any = ndimage.label(mask)
        for region in ndimage.find_objects(labelled[0]):
            sizes.append(max(part.stop - part.start for part in region))
    return float(np.median(sizes)) if sizes else None


def _masks(output: OutputFacts) -> np.ndarray | None:
    """The masks of one class, bool [n, rows, columns, ...]: where they are not the most common value."""
    targets = output.targets
    if targets is None or len(output.shape) < 4 or targets.dtype.kind not in "fiub":
        return None
    sample = targets[:_SAMPLE]
    values = np.unique(sample)
    if len(values) != 2:
        return None
    masks = sample == values[1]
    return masks[..., 0] if masks.shape[-1] == 1 and masks.ndim == len(output.shape) else masks


def rare_elements(output: OutputFacts) -> tuple[float, str] | None:
    """The share of the rarest class among elements of masks, and what it is; None for other targets."""
    name = None if output.loss is None else output.loss.name
    targets = output.targets
    if targets is None or name not in (*BINARY, *CATEGORICAL, *SPARSE):
        return None
    if len(output.shape) < (3 if name in BINARY else 4) or targets.dtype.kind not in "fiub":
        return None
    if "focal" in name or (output.loss is not None and output.loss.options.get("class_weight")):
        return None
    if name in SPARSE:
        values, counts = np.unique(targets, return_counts=True)
        if len(values) < 2 or len(values) > 50:
            return None
        return float(counts.min() / counts.sum()), f"of class {values[counts.argmin()]:g}"
    if targets.min() < 0 or targets.max() > 1:
        return None
    shares = targets.reshape(-1, targets.shape[-1]).mean(axis=0) if name in CATEGORICAL else targets.mean()
    lowest = np.atleast_1d(np.minimum(shares, 1 - shares) if name in BINARY else shares)
    share, place = float(lowest.min()), int(lowest.argmin())
    if name in CATEGORICAL:
        return share, f"of class {place}"
    return share, "1" if float(np.mean(targets)) < 0.5 else "0"


def check_rare_pixels(context: Context) -> Iterator[Finding]:
    """Masks in which one answer is below 2 % of the elements, with a loss that counts all alike."""
    if context.row_weights is not None:
        return
    for output in context.outputs:
        rare = rare_elements(output)
        # Of many classes some are rare: then a tenth of an equal share counts.
        classes = max(output.units, 2)
        if rare is not None and 0 < rare[0] < min(context.thresholds.rare_pixels, 0.1 / classes):
            share, what = rare
            evidence = [context.seen("rare_pixels", "share of the rarest class", share)]
            where = ["targets", output.where]
            yield finding("rare-pixels", "warning", where, evidence, share=share, what=what)


def check_one_image(context: Context) -> list[Finding]:
    """Batch normalisation of maps in batches of one or two images."""
    batch = min(context.batch_size, context.rows)
    norms = [
        one.path
        for one in context.layers
        if isinstance(one.layer, _NORM) and len(one.shape) > 2 and not one.repeated and one.layer.trainable
    ]
    if batch > 2 or not norms:
        return []
    evidence = [Evidence("images a batch", batch, 2, "Wu & He 2018, figure 1")]
    severity: Severity = "severe" if batch == 1 else "warning"
    return [
        finding("batch-norm-one-image", severity, norms, evidence, rows=f"{batch} image{'s' * (batch > 1)}")
    ]


def check_upsampling(context: Context) -> list[Finding]:
    """Transposed convolutions whose kernel is no multiple of the stride."""
    found = [
        one.path
        for one in context.weighted
        if isinstance(one.layer, BaseConvTranspose)
        and any(
            stride > 1 and size % stride
            for size, stride in zip(one.layer.kernel_size, one.layer.strides, strict=True)
        )
    ]
    evidence = [Evidence("such layers", len(found), 0, "Odena et al. 2016")]
    return [finding("uneven-upsampling", "note", found, evidence)] if found else []


def check_bottleneck(context: Context) -> list[Finding]:
    """Autoencoders that learn their own inputs, whose narrowest layer is no narrower than these.

    Those with noise, dropout or penalties on activations are meant to be wide.
    """
    if len(context.inputs) != 1 or len(context.outputs) != 1 or context.outputs[0].targets is None:
        return []
    x, y = context.inputs[0], context.outputs[0].targets
    if x.size != y.size or not np.array_equal(x[:_SAMPLE].ravel(), y[:_SAMPLE].ravel()):
        return []
    if any(_restrains(one.layer) for one in context.layers):
        return []
    hidden = [one for one in context.hidden if len(one.shape) > 1]
    width = {one.path: math.prod(one.shape[1:]) for one in hidden}
    inputs = math.prod(x.shape[1:])
    if not width or min(width.values()) < inputs:
        return []
    narrowest = min(width, key=width.__getitem__)
    evidence = [Evidence("numbers of the narrowest layer", width[narrowest], inputs, "the input")]
    units = width[narrowest]
    return [finding("wide-bottleneck", "warning", [narrowest], evidence, units=units, inputs=inputs)]


def _restrains(layer: Any) -> bool:
    noisy = isinstance(layer, (*DROPOUTS, keras.layers.GaussianNoise, keras.layers.ActivityRegularization))
    return noisy or getattr(layer, "activity_regularizer", None) is not None
