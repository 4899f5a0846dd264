"""Transforms of pixels in place: brightness, contrast, saturation, hue (within the value range), cutout."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kilter._array_types import ImageBatch, RandomKey
from kilter._validation import whole_number
from kilter.data.augmentation.base import Share, check_number

# ITU-R BT.601: the perceived brightness of red, green and blue.
LUMA = (0.299, 0.587, 0.114)
# NTSC 1953: red, green, blue -> luma Y and the chroma plane I, Q, in which hue is an angle.
TO_YIQ = np.array([LUMA, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955)])
# The parts of a rotation of the chroma plane: constant, times the cosine, times the sine of the angle.
_PARTS = (
    np.diag([1.0, 0.0, 0.0]),
    np.diag([0.0, 1.0, 1.0]),
    np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
)


@dataclass(frozen=True)
class Brightness(Share):
    """Adds to an image a number drawn uniformly from ±``share`` of the value range. ``share``: 0 to 1."""

    colour: ClassVar[bool] = True

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """x + δ, δ from ±share · span."""
        return images + span * _draws(key, images, -self.share, self.share)


@dataclass(frozen=True)
class Contrast(Share):
    """Stretches an image's values about their mean, by a factor from 1 - ``share`` to 1 + ``share``.

    The mean is each channel's own, as in Keras's RandomContrast. ``share``: 0 to 1.
    """

    colour: ClassVar[bool] = True

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """mean + f · (x - mean)."""
        mean = images.mean(axis=(1, 2), keepdims=True)
        return mean + _draws(key, images, 1 - self.share, 1 + self.share) * (images - mean)


@dataclass(frozen=True)
class Saturation(Share):
    """Moves each pixel from or towards the grey of its brightness, by a factor from 1 ± ``share`` (0 to 1).

    The brightness is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601). For images of three channels.
    """

    colour: ClassVar[bool] = True
    channels: ClassVar[int] = 3

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """grey + f · (x - grey)."""
        red, green, blue = (weight * images[..., k, None] for k, weight in enumerate(LUMA))
        grey = red + green + blue
        return grey + _draws(key, images, 1 - self.share, 1 + self.share) * (images - grey)


@dataclass(frozen=True)
class Hue(Share):
    """Rotates the colours of an image by an angle from ±``share`` of the colour circle.

    A rotation of the chroma plane of YIQ, which keeps brightness. ``share``: 0 to 0.5. For three channels.
    """

    colour: ClassVar[bool] = True
    channels: ClassVar[int] = 3
    most: ClassVar[float] = 0.5

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """RGB → YIQ, (I, Q) turned by θ, → RGB: one 3 × 3 matrix an image, L + cos θ · C + sin θ · S."""
        angle = 2 * math.pi * _draws(key, images, -self.share, self.share)[..., 0]
        luma, same, turned = (np.linalg.inv(TO_YIQ) @ part @ TO_YIQ for part in _PARTS)
        matrix = luma + jnp.cos(angle) * same + jnp.sin(angle) * turned
        # Written out: a matrix product with three columns is slower than nine multiplications per pixel.
        rows = [
            sum(matrix[:, row, column, None, None] * images[..., column] for column in range(3))
            for row in range(3)
        ]
        return jnp.stack(rows, axis=-1).astype(images.dtype)  # type: ignore[arg-type]


def _draws(key: jax.Array, images: jax.Array, least: float, most: float) -> jax.Array:
    """One number per image, shaped to broadcast with the images."""
    drawn = jax.random.uniform(key, (images.shape[0], 1, 1, 1), minval=least, maxval=most)
    return drawn.astype(images.dtype)


@dataclass(frozen=True)
class Cutout:
    """Masks a square of ``size`` × ``size`` pixels in each image (DeVries & Taylor 2017, arXiv:1708.04552).

    Its centre is drawn uniformly from all pixels, so that it may extend over the border, as in the paper. The
    paper fills with zero, after its normalisation the data's mean colour; here ``value`` None fills with the
    image's mean colour, a number with that number.
    """

    size: int
    value: float | None = None
    colour: ClassVar[bool] = False

    def __post_init__(self) -> None:
        words = "size of Cutout as a whole number of pixels, at least 1"
        whole_number("size", self.size, 1, expected=words, remedy="use 8 or 16 for images of 32 × 32")
        if self.value is not None:
            check_number(self, -1e9, 1e9, value=self.value)

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """The images with the square filled."""
        inside = box(key, jnp.full((images.shape[0], 2), self.size), images.shape[1:3])
        masked = images.mean(axis=(1, 2), keepdims=True) if self.value is None else self.value
        return jnp.where(inside[..., None], masked, images).astype(images.dtype)


def box(key: jax.Array, sides: jax.Array, image: tuple[int, ...]) -> jax.Array:
    """The mask of a box with ``sides`` (int [n, 2]) around a uniformly drawn pixel: bool [n, h, w]."""
    centre = jax.random.randint(key, sides.shape, 0, jnp.array(image))
    first = centre - sides // 2
    inside = [
        (jnp.arange(side) >= first[:, axis, None]) & (jnp.arange(side) < (first + sides)[:, axis, None])
        for axis, side in enumerate(image)
    ]
    return inside[0][:, :, None] & inside[1][:, None, :]
