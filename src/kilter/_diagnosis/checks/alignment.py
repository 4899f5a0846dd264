"""Whether masks line up with their images, and output pixels with the input that they depend on."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._diagnosis.skill import baseline
from kilter._models.keras_internals import BaseConvTranspose
from kilter._models.layers import CONVOLUTIONS, POOLINGS, LayerFacts, OutputFacts
from kilter._records import Evidence, Finding, Severity


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


Turn = Callable[[np.ndarray], np.ndarray]
_SAMPLE: Final = 120
_LEAST: Final = 16
_NEAR: Final = 2  # pixels that edges and shadows may move the best place
AS_THEY_ARE: Final = "as they are"
TURNS: Final[dict[str, Turn]] = {
    AS_THEY_ARE: lambda a: a,
    "mirrored left to right": lambda a: a[:, :, ::-1],
    "mirrored top to bottom": lambda a: a[:, ::-1],
    "turned by 180 degrees": lambda a: a[:, ::-1, ::-1],
    "transposed": lambda a: np.swapaxes(a, 1, 2),
    "turned by 90 degrees": lambda a: np.swapaxes(a, 1, 2)[:, ::-1],
    "turned by 270 degrees": lambda a: np.swapaxes(a, 1, 2)[:, :, ::-1],
    "transposed along the other diagonal": lambda a: np.swapaxes(a, 1, 2)[:, ::-1, ::-1],
}
"""Transformations of images [rows, height, width, ...] by their description."""


def check_masks(context: Context) -> list[Finding]:
    """Masks that fit their images better after a turn, a reflection or a shift, the same for all rows."""
    if len(context.inputs) != 1 or len(context.outputs) != 1:
        return []
    found = misplaced(context.outputs[0], context.inputs[0], context.thresholds.mask_fit)
    if found is None:
        return []
    end = context.layer(context.outputs[0].where)
    sees = None if end is None else field_at(context, end)
    within = found.turn == AS_THEY_ARE and (sees is None or found.far < sees.size / 2)
    severity: Severity = "warning" if within else "severe"
    evidence = [
        Evidence("correlation of images and masks after it", found.fit),
        Evidence("correlation as they are", found.plain, 0.5 * found.fit, "half of it"),
    ]
    return [finding("masks-misplaced", severity, ["data"], evidence, detail=found.words)]


@dataclass(frozen=True)
class Misplaced:
    """How masks must be turned, then moved (rows, columns), to fit their images.

    ``fit``: their correlation after it. ``plain``: before.
    """

    turn: str
    shift: tuple[int, int]
    fit: float
    plain: float

    @property
    def far(self) -> int:
        """The larger shift, in pixels."""
        return max(map(abs, self.shift))

    @property
    def is_moved(self) -> bool:
        """Whether the shift is more than edges and shadows explain."""
        return self.far > _NEAR

    @property
    def words(self) -> str:
        """What must be done, as text."""
        words = [] if self.turn == AS_THEY_ARE else [self.turn]
        rows, columns = self.shift
        words += [f"moved by {rows} rows and {columns} columns"] if self.is_moved else []
        return " and ".join(words)

    def corrected(self, masks: np.ndarray) -> np.ndarray:
        """The masks where their images are; what comes in at an edge is 0."""
        turned = TURNS[self.turn](masks)
        if not self.is_moved:
            return np.ascontiguousarray(turned)
        made = np.zeros_like(turned)
        here, there = zip(*(_moved_slices(by) for by in self.shift), strict=True)
        made[:, here[0], here[1]] = turned[:, there[0], there[1]]
        return made


def _moved_slices(by: int) -> tuple[slice, slice]:
    """The part of an axis that a shift fills, and the part that it is filled from."""
    return slice(max(by, 0), min(by, 0) or None), slice(max(-by, 0), min(-by, 0) or None)


def misplaced(output: OutputFacts, images: np.ndarray, least: float) -> Misplaced | None:
    """How the masks of an output are misplaced, the same in both halves of the rows; None if they are not.

    ``least``: the lowest correlation of masks and images that counts as a fit.
    """
    masks = _masks(output, images)
    if masks is None:
        return None
    half, pictures = len(masks) // 2, _features(images[: len(masks)])
    places = [best_fit(pictures[:, part], masks[part]) for part in (slice(half), slice(half, None))]
    (turn, shift, fit, plain), (again, moved, other, also) = places
    same = turn == again and max(abs(a - b) for a, b in zip(shift, moved, strict=True)) <= 1
    found = Misplaced(turn, shift, min(fit, other), max(plain, also))
    fits = not same or found.fit < least or found.plain > 0.5 * found.fit
    return None if fits or (turn == AS_THEY_ARE and not found.is_moved) else found


def _masks(output: OutputFacts, images: np.ndarray) -> np.ndarray | None:
    """Binary masks [rows, height, width] of the size of the images; None for other targets."""
    targets = output.targets
    if targets is None or len(output.shape) != 4 or images.ndim != 4 or targets.dtype.kind not in "fiub":
        return None
    sample = targets[:_SAMPLE]
    if sample.ndim == 4 and sample.shape[-1] == 1:
        sample = sample[..., 0]
    if sample.ndim != 3 or sample.shape[1:] != images.shape[1:3] or len(sample) < _LEAST:
        return None
    values, counts = np.unique(sample, return_counts=True)
    if not 2 <= len(values) <= 50 or min(sample.shape[1:]) < 8:
        return None
    return (sample != values[counts.argmax()]).astype(np.float64)


def _features(images: np.ndarray) -> np.ndarray:
    """Brightness, and distance from each image's median, [2, rows, height, width]; without their means."""
    grey = images.astype(np.float64).mean(axis=-1)
    grey = np.where(np.isfinite(grey), grey, 0.0)
    contrast = np.abs(grey - np.median(grey, axis=(1, 2), keepdims=True))
    return np.stack([_centred(grey), _centred(contrast)])


def _centred(rows: np.ndarray) -> np.ndarray:
    """The arrays minus the mean over rows and minus each row's own mean."""
    rows = rows - rows.mean(axis=0)
    return rows - rows.mean(axis=(1, 2), keepdims=True)


def best_fit(features: np.ndarray, masks: np.ndarray) -> tuple[str, tuple[int, int], float, float]:
    """The turn and shift after which masks fit best, their correlation, and that of masks as they are."""
    square = masks.shape[1] == masks.shape[2]
    turns = [name for name in TURNS if square or TURNS[name](masks).shape == masks.shape]
    seen_at = np.fft.rfft2(features)
    best, plain = (AS_THEY_ARE, (0, 0), 0.0), 0.0
    for name in turns:
        turned = _centred(TURNS[name](masks))
        scale = np.sqrt(np.square(features).sum(axis=(1, 2, 3)) * np.square(turned).sum())
        product = (seen_at * np.conj(np.fft.rfft2(turned))).sum(axis=1)
        maps = np.abs(np.fft.irfft2(product, s=masks.shape[1:])) / np.maximum(scale, 1e-12)[:, None, None]
        fit = maps.max(axis=0)
        if name == AS_THEY_ARE:
            plain = max(
                float(np.roll(fit, (_NEAR, _NEAR), (0, 1))[: 2 * _NEAR + 1, : 2 * _NEAR + 1].max()), 0
            )
        at = np.unravel_index(int(fit.argmax()), fit.shape)
        if fit[at] > best[2] * 1.02:
            height, width = masks.shape[1:]
            shift = tuple(
                int((place + size // 2) % size - size // 2)
                for place, size in zip(at, (height, width), strict=True)
            )
            best = (name, (shift[0], shift[1]), float(fit[at]))
    return (*best, plain)


def turned_back(context: Context, part: Context, held: np.ndarray, inside: float) -> tuple[str, float] | None:
    """What was done to validation images, as text, and the skill of simple learners after undoing it."""
    images = context.held_inputs
    if len(images) != 1 or images[0].ndim != 4:
        return None
    turned = {name: turn(images[0]) for name, turn in TURNS.items() if name != AS_THEY_ARE}
    fits = {name: one for name, one in turned.items() if one.shape[1:] == context.inputs[0].shape[1:]}
    skills = {name: baseline(part, one, [held]) for name, one in fits.items()}
    best = max(skills, key=lambda name: skills[name], default="")
    return (best, skills[best]) if best and skills[best] > 0.8 * inside else None


def check_offset(context: Context) -> Iterator[Finding]:
    """Outputs of the input's size that are shifted against the input pixels they depend on."""
    side = context.inputs[0].shape[1:3] if len(context.inputs) == 1 else ()
    for output in context.outputs:
        end = context.layer(output.where)
        found = None if end is None or tuple(output.shape[1:3]) != tuple(side) else field_at(context, end)
        if found is None or not math.isclose(found.step, 1.0) or len(output.shape) != 4:
            continue
        if abs(found.start) > context.thresholds.offset:
            evidence = [context.seen("offset", "pixels between an output and its centre", abs(found.start))]
            yield finding("output-offset", "warning", [output.where], evidence, offset=abs(found.start))


DATA = (check_masks,)
MODEL = (check_offset,)
