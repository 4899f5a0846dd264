"""``Augmentation``: a sequence of transforms for the inputs of a batch, and its ``preview`` as an image."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from kilter._array_types import Arrays, RandomKey
from kilter._validation import one_of, whole_number, whole_sizes
from kilter.data.augmentation.base import Fill, Geometric, Mixing, Pixelwise, Transform
from kilter.data.augmentation.geometry import move
from kilter.data.augmentation.mixing import Mixture, draw_mixture, mix_rows
from kilter.data.dataset import Dataset
from kilter.errors import DataError, OptionError

Keyed = tuple[jax.Array, Transform]


@dataclass(frozen=True)
class Augmentation:
    """Transforms of the inputs of a training batch, drawn for every row of every step.

    Attributes:
        transforms: applied in order, mixing last. Adjacent flips, shifts, rotations and zooms become one map,
            so that pixels are interpolated once.
        image_shape: (height, width, channels) of images in another shape than [n, h, w, c]: flat ones, or
            grey ones without a channel axis. Their shape is restored.
        value_range: (least, most) value of the images, for colour transforms, which clip to it. By default
            (0, 255) for uint8.
        fill: the pixels from outside an image that is moved.

    Inputs keep their shape and type: integers are computed in float32, rounded and clipped at the end. Of
    several inputs the one with four axes is the image; only Mixup mixes every input.

    >>> from kilter.data.augmentation import Flip
    >>> x = jnp.arange(6, dtype=jnp.uint8).reshape(1, 6)
    >>> x, mixture = Augmentation((Flip(),), image_shape=(2, 3, 1))(jax.random.key(1), x)
    >>> x.shape, x.dtype.name, mixture
    ((1, 6), 'uint8', None)
    """

    transforms: tuple[Transform, ...]
    image_shape: tuple[int, int, int] | None = None
    value_range: tuple[float, float] | None = None
    fill: Fill = "reflect"

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        _check_transforms(self.transforms)
        _check_options(self.image_shape, self.value_range, self.fill)

    @property
    def mixers(self) -> tuple[Mixing, ...]:
        """The transforms that mix rows."""
        return tuple(one for one in self.transforms if isinstance(one, Mixing))

    @property
    def mixes(self) -> bool:
        """Whether rows, and so targets, are mixed."""
        return bool(self.mixers)

    @property
    def needs_image(self) -> bool:
        """Whether any transform is for images only."""
        return any(not isinstance(one, Mixing) or one.whole_images for one in self.transforms)

    def check(self, x: Arrays) -> None:
        """Raise :class:`DataError` or :class:`OptionError` unless the inputs, arrays [n, ...], fit."""
        leaves = jax.tree.leaves(x)
        place = self._image_place(leaves)
        if place is not None:
            self._check_image(leaves[place])
        others = [leaf for number, leaf in enumerate(leaves) if number != place]
        if self.mixes:
            _check_mixable(others, whole_images=any(one.whole_images for one in self.mixers))

    def __call__(self, key: RandomKey, x: Arrays) -> tuple[Any, Mixture | None]:
        """The transformed inputs and the mixture of rows (None without mixing). Pure and traceable.

        The same key gives the same draws; ``x`` is an array [n, ...] or a nest of arrays.
        """
        leaves, structure = jax.tree.flatten(x)
        place = self._image_place(leaves)
        work = list(leaves)
        if place is not None:
            work[place] = self._transformed(key, leaves[place])
        mixture = None
        if self.mixes:
            work, mixture = self._mixed(jax.random.fold_in(key, len(self.transforms)), work, place)
        done = [_like(new, old) for new, old in zip(work, leaves, strict=True)]
        return jax.tree.unflatten(structure, done), mixture

    def _transformed(self, key: jax.Array, array: jax.Array) -> jax.Array:
        images = array.reshape(array.shape[0], *(self.image_shape or array.shape[1:]))
        span = self._range(images.dtype)
        for geometric, group in groupby(self._keyed(key), lambda one: isinstance(one[1], Geometric)):
            if geometric:
                images = move(images, list(group), self.fill)  # type: ignore[arg-type]
                continue
            images = _floats(images)
            for own, transform in group:
                assert isinstance(transform, Pixelwise)
                low, high = span or (0.0, 0.0)
                images = transform.change(own, images, high - low)
                if transform.colour:
                    images = jnp.clip(images, low, high)
        return images

    def _keyed(self, key: jax.Array) -> Iterator[Keyed]:
        for number, transform in enumerate(self.transforms):
            if not isinstance(transform, Mixing):
                yield jax.random.fold_in(key, number), transform

    def _mixed(self, key: jax.Array, leaves: list[Any], place: int | None) -> tuple[list[Any], Mixture]:
        sides = (1, 1) if place is None else leaves[place].shape[1:3]
        mixture, mask = draw_mixture(key, self.mixers, leaves[0].shape[0], sides)
        return [mix_rows(_floats(leaf), mixture, mask) for leaf in leaves], mixture

    def _range(self, dtype: Any) -> tuple[float, float] | None:
        return (0.0, 255.0) if self.value_range is None and dtype == jnp.uint8 else self.value_range

    def _image_place(self, leaves: list[Any]) -> int | None:
        """The index of the input that is the image; None if none is and none is needed."""
        shapes = [tuple(leaf.shape[1:]) for leaf in leaves]
        if self.image_shape is None:
            found = [number for number, shape in enumerate(shapes) if len(shape) == 3]
        else:
            pixels = math.prod(self.image_shape)
            found = [number for number, shape in enumerate(shapes) if math.prod(shape) == pixels]
        if len(found) == 1 or not self.needs_image:
            return found[0] if len(found) == 1 else None
        raise DataError(
            expected="one input of images, shape (rows, height, width, channels), to augment"
            if self.image_shape is None
            else f"one input of images of shape {self.image_shape}, flat or not",
            received=f"{len(found)} of them among inputs of shape "
            + ", ".join(str(("rows", *shape)).replace("'", "") for shape in shapes),
            remedy="leave the image transforms out"
            if found
            else "for flat or grey images pass Augmentation(..., image_shape=(height, width, channels))",
        )

    def _check_image(self, array: Any) -> None:
        channels = (self.image_shape or array.shape[1:])[-1]
        needing = [one for one in self.transforms if getattr(one, "channels", channels) != channels]
        if needing:
            raise DataError(
                expected=f"images of 3 channels for {type(needing[0]).__name__}",
                received=f"images of {channels}",
                remedy=f"leave {type(needing[0]).__name__} out",
            )
        colours = [one for one in self.transforms if isinstance(one, Pixelwise) and one.colour]
        if colours and self._range(array.dtype) is None:
            raise OptionError(
                expected=f"the range of the images' values, for {type(colours[0]).__name__}",
                received=f"images of {array.dtype} and value_range=None",
                remedy="pass Augmentation(..., value_range=(0.0, 1.0)), or the actual range",
            )


def _floats(array: jax.Array) -> jax.Array:
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.float32)


def _like(new: jax.Array, old: jax.Array) -> jax.Array:
    """``new`` with the shape and type of ``old``; integers are rounded and clipped."""
    new = new.reshape(old.shape)
    if new.dtype == old.dtype or jnp.issubdtype(old.dtype, jnp.floating):
        return new.astype(old.dtype)
    limits = jnp.iinfo(old.dtype)
    return jnp.clip(jnp.round(new), limits.min, limits.max).astype(old.dtype)


def _check_transforms(transforms: tuple[Transform, ...]) -> None:
    strangers = [one for one in transforms if not isinstance(one, Geometric | Pixelwise | Mixing)]
    if strangers or not transforms or any(isinstance(one, type) for one in transforms):
        raise OptionError(
            expected="transforms from kilter.data.augmentation, such as (Flip(), Shift(0.1))",
            received=f"transforms={transforms!r}",
            remedy="pass at least one instance: Flip(), not Flip",
        )
    mixing = [isinstance(one, Mixing) for one in transforms]
    if mixing != sorted(mixing):
        raise OptionError(
            expected="Mixup and Cutmix after all other transforms",
            received=", ".join(type(one).__name__ for one in transforms),
            remedy="put them last",
        )


def _check_options(shape: Any, span: Any, fill: Any) -> None:
    one_of("fill", fill, ("reflect", "edge", "zero"))
    whole_sizes("image_shape", shape, ("height", "width", "channels"))
    if span is not None and not (
        isinstance(span, tuple) and len(span) == 2 and np.isfinite(span).all() and span[0] < span[1]
    ):
        raise OptionError(
            expected="value_range as (least, most), finite and least < most",
            received=f"value_range={span!r}",
            remedy="for example (0.0, 1.0)",
        )


def _check_mixable(others: list[Any], *, whole_images: bool) -> None:
    if whole_images and others:
        raise DataError(
            expected="images as the only input, for Cutmix",
            received=f"{len(others)} other inputs, which have no area",
            remedy="use Mixup",
        )
    wrong = [leaf for leaf in others if not jnp.issubdtype(leaf.dtype, jnp.floating)]
    if wrong:
        raise DataError(
            expected="inputs of floats, or images, to mix",
            received=f"an input of {wrong[0].dtype}, shape {wrong[0].shape}",
            remedy="pass quantities as float32; category numbers cannot be mixed",
        )


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
