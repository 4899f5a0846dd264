"""``preview``: an augmentation as an image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from kilter._array_types import Arrays
from kilter._validation import whole_number
from kilter.data.augmentation.composition import Augmentation
from kilter.data.dataset import Dataset
from kilter.errors import DataError

_LEAST_SIDE = 64  # pixels: smaller images are enlarged, by whole factors
_GAP = 2


def preview(
    images: Arrays, augment: Augmentation, *, rows: int = 8, draws: int = 8, seed: int = 0
) -> Image.Image:
    """A grid of the first ``rows`` images: the image itself on the left, then ``draws`` augmentations of it.

    Args:
        images: a dataset of images, or an array as for ``kilter.fit`` ([n, h, w, c], or with
            ``augment.image_shape`` flat).
        rows: images shown, 1 to 64; draws: columns of augmentations, 1 to 64.
        seed: of the draws.

    Each column is one batch of these rows, which Mixup and Cutmix mix with each other. Values are scaled from
    ``value_range``, or from the least to the most unless they are uint8. ``.save("preview.png")`` writes it.
    """
    whole_number("rows", rows, 1, 64)
    whole_number("draws", draws, 1, 64)
    given: Any = images.x if isinstance(images, Dataset) else images
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
            remedy="pass image_shape to Augmentation",
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
    """Pictures [rows, columns, h, w, c] in a grid on white."""
    factor = -(-_LEAST_SIDE // max(pictures.shape[2:4]))
    large = pictures.repeat(factor, axis=2).repeat(factor, axis=3)
    if large.shape[-1] not in (1, 3):  # not grey or colour: show the first channel
        large = large[..., :1]
    padded = np.pad(large, [(0, 0), (0, 0), (_GAP, _GAP), (_GAP, _GAP), (0, 0)], constant_values=255)
    rows, columns, height, width, channels = padded.shape
    sheet = padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
