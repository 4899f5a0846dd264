"""The encoder that a study of reuse takes where none is given: small, so that many can be trained."""

from __future__ import annotations

from typing import Any, Final

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras
import numpy as np

from kilter.data.scaling import moments
from kilter.nn.inputs import input_layers
from kilter.pretrain.decoder import Seeds

FILTERS: Final = (32, 64, 128)
UNITS: Final = (256, 128)
_SMALLEST = 2 ** len(FILTERS)


def small_encoder(x: np.ndarray, *, seed: int) -> keras.Sequential:
    """An untrained encoder of rows like ``x``, which it brings to mean 0 and variance 1 first.

    Of images (rows, height, width, channels) of at least 8 pixels a side: convolutions of 3×3 that halve
    the sides by their stride, with 32, 64 and 128 filters, averaged over the places. Of anything else: dense
    layers of 256 and 128. ELU and He initialisation.
    """
    shape = x.shape[1:]
    seeds = Seeds(seed)
    found = moments(x)
    layers: list[Any] = input_layers(shape, (found.mean, found.variance))
    if len(shape) == 3 and min(shape[:2]) >= _SMALLEST:
        for number, filters in enumerate(FILTERS, start=1):
            options = _options(seeds, f"conv_{number}")
            layers.append(keras.layers.Conv2D(filters, 3, strides=2, padding="same", **options))
        # What is pretrained must be what the head reads, and a new head would pool: so the codes are pooled.
        layers.append(keras.layers.GlobalAveragePooling2D(name="pooling"))
        return keras.Sequential(layers, name="encoder")
    if len(shape) > 1:
        layers.append(keras.layers.Flatten(name="flatten"))
    for number, units in enumerate(UNITS, start=1):
        layers.append(keras.layers.Dense(units, **_options(seeds, f"dense_{number}")))
    return keras.Sequential(layers, name="encoder")


def _options(seeds: Seeds, name: str) -> dict[str, Any]:
    return {"activation": "elu", "kernel_initializer": seeds.initializer("elu"), "name": name}
