"""Augmentation of images, and mixing of rows, on the device inside the compiled training step.

>>> from kilter.data.augmentation import Augmentation, Cutout, Flip, Mixup, Shift
>>> augment = Augmentation((Flip(), Shift(0.125), Cutout(8), Mixup(0.2)))
>>> augment.mixes
True

``kilter.fit(..., augment=augment)`` uses it; :func:`preview` shows its effect. Each transform is a frozen
record with a range, from which it draws for every image of every step; an ``Augmentation`` is a sequence of
transforms. This package loads JAX (``kilter.data`` itself does not).
"""

from kilter.data.augmentation.base import Fill, Geometric, Images, Mixing, Pixelwise, Transform
from kilter.data.augmentation.composition import Augmentation, preview
from kilter.data.augmentation.geometry import Flip, Rotate, Shift, Zoom, warp
from kilter.data.augmentation.mixing import Cutmix, Mixture, Mixup
from kilter.data.augmentation.pixelwise import Brightness, Contrast, Cutout, Hue, Saturation

__all__ = [
    "Augmentation",
    "Brightness",
    "Contrast",
    "Cutmix",
    "Cutout",
    "Fill",
    "Flip",
    "Geometric",
    "Hue",
    "Images",
    "Mixing",
    "Mixture",
    "Mixup",
    "Pixelwise",
    "Rotate",
    "Saturation",
    "Shift",
    "Transform",
    "Zoom",
    "preview",
    "warp",
]
