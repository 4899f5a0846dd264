"""A small U-Net: a class for each pixel of an image."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from kilter._array_types import Moment
from kilter.nn.blocks import Seeds
from kilter.nn.builders import input_layers, require_room


def unet(
    input_shape: Sequence[int],
    outputs: int,
    *,
    filters: Sequence[int] = (16, 32, 64),
    normalization: tuple[Moment, Moment] | None = None,
    dtype: str | None = None,
    seed: int = 0,
) -> keras.Model:
    """A U-Net (Ronneberger et al. 2015): (height, width, channels) to (height, width, ``outputs``) logits.

    Each of ``filters`` is a level of two 3×3 convolutions with batch normalisation and ReLU, at half the size
    of the level before. On the way back up, each level also sees what the one of its size found. Images of
    any size work: they are padded to what can be halved, and the answers are cut to the image.

    Example:
        >>> unet((50, 70, 3), 2, filters=(4, 8)).output_shape
        (None, 50, 70, 2)
    """
    height, width, channels = input_shape
    require_room([(9 * inputs, count) for inputs, count in zip((channels, *filters), filters, strict=False)])
    seeds, step = Seeds(seed), 2 ** (len(filters) - 1)
    first, *others = input_layers((height, width, channels), normalization)
    x = first
    for layer in others:
        x = layer(x)
    bottom, right = (math.ceil(side / step) * step - side for side in (height, width))
    x = keras.layers.ZeroPadding2D(((0, bottom), (0, right)), dtype=dtype, name="padding")(x)

    def level(x: Any, count: int, name: str) -> Any:
        for number in (1, 2):
            x = keras.layers.Conv2D(
                *(count, 3),
                padding="same",
                use_bias=False,
                kernel_initializer=seeds.initializer("relu"),
                dtype=dtype,
                name=f"{name}_conv_{number}",
            )(x)
            x = keras.layers.BatchNormalization(momentum=0.9, dtype=dtype, name=f"{name}_norm_{number}")(x)
            x = keras.layers.ReLU(dtype=dtype, name=f"{name}_relu_{number}")(x)
        return x

    skipped = []
    for depth, count in enumerate(filters[:-1], start=1):
        x = level(x, count, f"down_{depth}")
        skipped.append((depth, count, x))
        x = keras.layers.MaxPooling2D(2, dtype=dtype, name=f"pool_{depth}")(x)
    x = level(x, filters[-1], "bottom")
    for depth, count, beside in reversed(skipped):
        x = keras.layers.UpSampling2D(2, dtype=dtype, name=f"upsampling_{depth}")(x)
        x = keras.layers.Concatenate(dtype=dtype, name=f"beside_{depth}")([beside, x])
        x = level(x, count, f"up_{depth}")
    x = keras.layers.Cropping2D(((0, bottom), (0, right)), dtype=dtype, name="cropping")(x)
    output = keras.layers.Conv2D(
        outputs, 1, kernel_initializer=seeds.initializer(None), dtype="float32", name="output"
    )(x)
    return keras.Model(first, output, name="unet")
