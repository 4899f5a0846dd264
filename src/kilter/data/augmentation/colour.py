"""Brightness, contrast, saturation and hue, drawn for each image; results stay within the value range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kilter._array_types import ImageBatch, RandomKey
from kilter.data.augmentation.base import check_number

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
class Brightness:
    """Adds to an image a number drawn uniformly from ±``share`` of the value range. ``share``: 0 to 1."""

    share: float
    colour: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number(self, 0.0, 1.0, share=self.share)

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """x + δ, δ from ±share · span."""
        return images + span * _draws(key, images, -self.share, self.share)


@dataclass(frozen=True)
class Contrast:
    """Stretches an image's values about their mean, by a factor from 1 - ``share`` to 1 + ``share``.

    The mean is each channel's own, as in Keras's RandomContrast. ``share``: 0 to 1.
    """

    share: float
    colour: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number(self, 0.0, 1.0, share=self.share)

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """mean + f · (x - mean)."""
        mean = images.mean(axis=(1, 2), keepdims=True)
        return mean + _draws(key, images, 1 - self.share, 1 + self.share) * (images - mean)


@dataclass(frozen=True)
class Saturation:
    """Moves each pixel from or towards the grey of its brightness, by a factor from 1 ± ``share`` (0 to 1).

    The brightness is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601). For images of three channels.
    """

    share: float
    colour: ClassVar[bool] = True
    channels: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_number(self, 0.0, 1.0, share=self.share)

    def change(self, key: RandomKey, images: ImageBatch, span: float) -> ImageBatch:
        """grey + f · (x - grey)."""
        red, green, blue = (weight * images[..., k, None] for k, weight in enumerate(LUMA))
        grey = red + green + blue
        return grey + _draws(key, images, 1 - self.share, 1 + self.share) * (images - grey)


@dataclass(frozen=True)
class Hue:
    """Rotates the colours of an image by an angle from ±``share`` of the colour circle.

    A rotation of the chroma plane of YIQ, which keeps brightness. ``share``: 0 to 0.5. For three channels.
    """

    share: float
    colour: ClassVar[bool] = True
    channels: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_number(self, 0.0, 0.5, share=self.share)

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
