"""From ``[augment]`` and the data to the augmentation of a run."""

from __future__ import annotations

from typing import Any, Final

from kilter.data import Dataset
from kilter.data.augmentation import (
    Augmentation,
    Brightness,
    Contrast,
    Cutmix,
    Cutout,
    Flip,
    Hue,
    Mixup,
    Rotate,
    Saturation,
    Shift,
    Transform,
    Zoom,
)
from kilter.errors import RecipeError
from kilter.recipe import AugmentSection

# In the order in which they are applied: what moves pixels first, so that it is one map; mixing last.
_MAKERS: Final[dict[str, Any]] = {
    "flip": Flip,
    "rotate": Rotate,
    "zoom": Zoom,
    "shift": Shift,
    "brightness": Brightness,
    "contrast": Contrast,
    "saturation": Saturation,
    "hue": Hue,
    "cutout": Cutout,
    "mixup": Mixup,
    "cutmix": Cutmix,
}


def make_augmentation(section: AugmentSection, train: Dataset) -> Augmentation | None:
    """The augmentation of ``[augment]`` for these data, or None where it asks for nothing.

    Raises :class:`RecipeError` for keys that only images can be augmented by where the data are none, and for
    colours of images whose range of values is not known.
    """
    wanted = {key: getattr(section, key) for key in _MAKERS if getattr(section, key) is not None}
    if not wanted:
        return None
    if section.image_keys and train.x.ndim != 4:
        raise RecipeError(
            expected="images, shape (rows, height, width, channels), for augment."
            + ", augment.".join(section.image_keys),
            received=f"{train.name} of shape {train.x.shape}",
            remedy="leave them out; augment.mixup is for any rows",
        )
    if section.colour_keys and section.value_range is None and train.x.dtype != "uint8":
        raise RecipeError(
            expected=f"augment.value_range beside augment.{section.colour_keys[0]}",
            received=f"images of {train.x.dtype} from {train.x.min():g} to {train.x.max():g}",
            remedy="set value_range = [least, most] in [augment]",
        )
    transforms: tuple[Transform, ...] = tuple(_MAKERS[key](value) for key, value in wanted.items())
    augmentation = Augmentation(transforms, value_range=section.value_range, fill=section.fill)
    augmentation.check(train.x[:1])
    return augmentation
