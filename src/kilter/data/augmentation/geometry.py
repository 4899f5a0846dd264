"""Flips, shifts, rotations and zooms, composed into one map from output to input pixels.

Each output pixel is sampled once: bilinearly from four neighbours, or from one if all shifts are by whole
pixels. So nothing is blurred twice, and a later step can bring back what an earlier one moved over the edge.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from kilter._array_types import ImageBatch, Matrices, Offsets, RandomKey
from kilter._validation import one_of
from kilter.data.augmentation.base import Fill, Geometric, Images, Map, Share, check_number

# In pixels: a rotation by 90° must not blank a border because its sine is 1e-8 too large.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Flip:
    """Mirrors an image with probability 1/2, left to right ("horizontal"), upside down ("vertical"), or both.

    "both" draws the two independently: a quarter of the images each way.
    """

    direction: Literal["horizontal", "vertical", "both"] = "horizontal"
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_of("direction", self.direction, ("horizontal", "vertical", "both"), owner="Flip")

    def draw_map(self, key: RandomKey, images: Images) -> Map:
        """A mirror or the identity for each image."""
        heads = jax.random.bernoulli(key, 0.5, (images.rows, 2))
        allowed = jnp.array([self.direction != "horizontal", self.direction != "vertical"])
        signs = jnp.where(heads & allowed, -1.0, 1.0)
        return _diagonal(signs, jnp.zeros_like(signs))


@dataclass(frozen=True)
class Shift(Share):
    """Moves an image by whole pixels, up to ± ``share`` of each side, uniformly drawn.

    The largest shift is ``round(share · side)`` pixels: ``Shift(0.125)`` of a 32 × 32 image is the usual
    padding by 4 pixels and random crop for CIFAR-10. ``share``: 0 to 1.
    """

    whole: ClassVar[bool] = True

    def draw_map(self, key: RandomKey, images: Images) -> Map:
        """A shift for each image."""
        most = jnp.array([round(self.share * images.height), round(self.share * images.width)])
        pixels = jax.random.randint(key, (images.rows, 2), -most, most + 1).astype(jnp.float32)
        return _diagonal(jnp.ones_like(pixels), pixels)


@dataclass(frozen=True)
class Rotate:
    """Rotates an image about its centre by an angle drawn uniformly from ±``degrees`` (0 to 180)."""

    degrees: float
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_number(self, 0.0, 180.0, degrees=self.degrees)

    def draw_map(self, key: RandomKey, images: Images) -> Map:
        """A rotation for each image."""
        most = math.radians(self.degrees)
        angle = jax.random.uniform(key, (images.rows,), minval=-most, maxval=most)
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        rows = (jnp.stack([cosine, -sine], axis=1), jnp.stack([sine, cosine], axis=1))
        return Map(jnp.stack(rows, axis=1), jnp.zeros((images.rows, 2)))


@dataclass(frozen=True)
class Zoom(Share):
    """Scales an image about its centre by a factor drawn uniformly from 1 - ``share`` to 1 + ``share``.

    ``share``: 0 to 0.9.
    """

    whole: ClassVar[bool] = False
    most: ClassVar[float] = 0.9

    def draw_map(self, key: RandomKey, images: Images) -> Map:
        """A scaling for each image, the same along both sides."""
        factor = jax.random.uniform(key, (images.rows, 1), minval=1 - self.share, maxval=1 + self.share)
        return _diagonal(jnp.broadcast_to(1.0 / factor, (images.rows, 2)), jnp.zeros((images.rows, 2)))


def move(images: jax.Array, transforms: Sequence[tuple[jax.Array, Geometric]], fill: Fill) -> jax.Array:
    """Apply geometric transforms, each with its key, in order and as one map."""
    measures = Images(*images.shape)
    drawn = reduce(_then, (transform.draw_map(key, measures) for key, transform in transforms))
    if not all(transform.whole for _, transform in transforms):
        return warp(images, drawn.matrix, drawn.offset, fill)
    signs = jnp.diagonal(drawn.matrix, axis1=1, axis2=2)
    sides = (measures.height, measures.width)
    ys, xs = (
        # Whole numbers by construction; rounding removes the error of a fused multiply-add.
        jnp.round(signs[:, axis, None] * _places(side) + drawn.offset[:, axis, None] + (side - 1) / 2)
        for axis, side in enumerate(sides)
    )
    rows, columns = ys[:, :, None], xs[:, None, :]
    moved = _fetch(images, _folded(rows, sides[0], fill), _folded(columns, sides[1], fill))
    return _blank(moved, rows, columns, sides) if fill == "zero" else moved


def warp(images: ImageBatch, matrix: Matrices, offset: Offsets, fill: Fill) -> ImageBatch:
    """Images fetched bilinearly from ``matrix`` · position + ``offset``; float32 unless they are floats.

    Args:
        images: [n, h, w, c], any numeric type.
        matrix: [n, 2, 2]; offset: [n, 2]: from output to input position, (row, column) in pixels from the
            centre.
        fill: "reflect", "edge" or "zero": scipy.ndimage's modes mirror, nearest and constant, order 1.
    """
    height, width = sides = images.shape[1:3]
    rows, columns = _places(height)[:, None], _places(width)[None, :]
    ys, xs = (
        matrix[:, axis, 0, None, None] * rows
        + matrix[:, axis, 1, None, None] * columns
        + (offset[:, axis, None, None] + (side - 1) / 2)
        for axis, side in enumerate(sides)
    )
    inside_y, inside_x = _folded(ys, height, fill), _folded(xs, width, fill)
    top, left = (jnp.clip(jnp.floor(p), 0, max(n - 2, 0)) for p, n in ((inside_y, height), (inside_x, width)))
    down, right = (inside_y - top)[..., None], (inside_x - left)[..., None]
    below, beside = jnp.minimum(top + 1, height - 1), jnp.minimum(left + 1, width - 1)
    dtype = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32

    def row(at: jax.Array) -> jax.Array:
        one, other = (_fetch(images, at, column).astype(dtype) for column in (left, beside))
        return one * (1 - right) + other * right

    warped = (row(top) * (1 - down) + row(below) * down).astype(dtype)
    return _blank(warped, ys, xs, sides) if fill == "zero" else warped


def _places(side: int) -> jax.Array:
    """Positions along a side, in pixels from its centre."""
    return jnp.arange(side, dtype=jnp.float32) - (side - 1) / 2


def _diagonal(scales: jax.Array, offset: jax.Array) -> Map:
    return Map(scales[:, :, None] * jnp.eye(2), offset)


def _then(first: Map, second: Map) -> Map:
    """One map for ``first`` and then ``second``: from output to input, ``second`` is applied first."""

    def times(matrix: jax.Array, columns: jax.Array) -> jax.Array:
        # Written out: faster than a batch of 2 × 2 matrix products.
        return (matrix[:, :, :, None] * columns[:, None, :, :]).sum(axis=2)

    offset = times(first.matrix, second.offset[:, :, None])[:, :, 0] + first.offset
    return Map(times(first.matrix, second.matrix), offset)


def _folded(position: jax.Array, side: int, fill: Fill) -> jax.Array:
    """Positions mapped into 0 to side - 1: mirrored for "reflect", else clipped to the edge."""
    if fill == "reflect" and side > 1:
        period = 2 * (side - 1)
        position = jnp.abs(position - period * jnp.round(position / period))
    return jnp.clip(position, 0, side - 1)


def _fetch(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """The pixels at whole-numbered ``rows`` and ``columns``, [n, h, w] or broadcast to it, of each image."""
    count, height, width, channels = images.shape
    # One index into a flat list of pixels: on a CPU several times faster than row and column.
    index = (rows * width + columns).astype(jnp.int32).reshape(count, height * width, 1)
    pixels = images.reshape(count, height * width, channels)
    return jnp.take_along_axis(pixels, index, axis=1, mode="promise_in_bounds").reshape(images.shape)


def _blank(images: jax.Array, ys: jax.Array, xs: jax.Array, sides: tuple[int, ...]) -> jax.Array:
    inside_y, inside_x = (
        (p >= -_ROUNDING) & (p <= side - 1 + _ROUNDING) for p, side in zip((ys, xs), sides, strict=True)
    )
    inside = inside_y & inside_x
    return jnp.where(inside[..., None], images, jnp.zeros((), images.dtype))
