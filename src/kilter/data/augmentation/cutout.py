"""Cutout: a square of each image is masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from kilter._array_types import ImageBatch, RandomKey
from kilter._validation import whole_number
from kilter.data.augmentation.base import check_number


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
    """The mask of a box with ``sides`` (int [n, 2]) around a uniformly drawn pixel: bool [n, h, w].

    A side of s pixels begins s // 2 before the centre.
    """
    centre = jax.random.randint(key, sides.shape, 0, jnp.array(image))
    first = centre - sides // 2
    inside = [
        (jnp.arange(side) >= first[:, axis, None]) & (jnp.arange(side) < (first + sides)[:, axis, None])
        for axis, side in enumerate(image)
    ]
    return inside[0][:, :, None] & inside[1][:, None, :]
