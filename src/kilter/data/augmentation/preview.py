"""What an augmentation does, as a picture to look at."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from kilter.data.augmentation.composition import Augmentation
from kilter.data.dataset import Dataset
from kilter.errors import DataError, OptionError

_LEAST_SIDE = 64  # pixels: smaller images are enlarged, by whole factors
_GAP = 2


def preview(
    images: Dataset | Any, augment: Augmentation, *, rows: int = 8, draws: int = 8, seed: int = 0
) -> Image.Image:
    """A grid of the first ``rows`` images: the image itself on the left, then ``draws`` augmentations of it.

    Args:
        images: a dataset of images, or an array as for ``kilter.fit`` ([n, h, w, c], or with
            ``augment.image_shape`` flat).
        rows: images shown, 1 to 64; draws: columns beside them, 1 to 64.
        seed: another one gives other draws.

    Each column is one batch of these rows, so that Mixup and Cutmix mix them among themselves. Values are
    shown from the images' ``value_range``, unsigned bytes as they are, others from the least to the most.
    ``.save("preview.png")`` keeps it; a notebook shows it.
    """
    for name, count in (("rows", rows), ("draws", draws)):
        if not 1 <= count <= 64:
            raise OptionError(
                expected=f"{name} from 1 to 64", received=f"{name}={count}", remedy="choose fewer or more"
            )
    given = images.x if isinstance(images, Dataset) else images
    x = jnp.asarray(given[:rows])
    augment.check(x)
    apply = jax.jit(augment)
    keys = jax.random.split(jax.random.key(seed), draws)
    columns = [x, *(apply(key, x)[0] for key in keys)]
    shape = augment.image_shape or x.shape[1:]
    if len(shape) != 3:
        raise DataError(
            expected="images to show",
            received=f"rows of shape {shape}",
            remedy="give image_shape to Augmentation",
        )
    pictures = np.stack([np.asarray(column).reshape(-1, *shape) for column in columns], axis=1)
    return _grid(_bytes(pictures, augment.value_range))


def _bytes(pictures: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    if value_range is None and pictures.dtype == np.uint8:
        return pictures
    low, high = value_range or (float(pictures.min()), float(pictures.max()))
    scaled = (pictures.astype(np.float64) - low) / (high - low or 1.0)
    return np.round(np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8)


def _grid(pictures: np.ndarray) -> Image.Image:
    """Pictures [rows, columns, h, w, c] beside and below each other, on white."""
    factor = -(-_LEAST_SIDE // max(pictures.shape[2:4]))
    large = pictures.repeat(factor, axis=2).repeat(factor, axis=3)
    if large.shape[-1] not in (1, 3):  # two channels, or what is no colour: the first is shown
        large = large[..., :1]
    padded = np.pad(large, [(0, 0), (0, 0), (_GAP, _GAP), (_GAP, _GAP), (0, 0)], constant_values=255)
    rows, columns, height, width, channels = padded.shape
    sheet = padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
