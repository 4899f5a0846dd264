"""The default networks of :func:`kilter.pretrain.gan`, after DCGAN (Radford et al. 2016), and diversity.

Both work in the data's range, so that the discriminator's lower layers accept the data unchanged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
from scipy.cluster.vq import kmeans2, vq

from kilter.nn.blocks import Seeds

CLUSTERS = 20
_MOST_ROWS = 2_000


@dataclass(frozen=True)
class Diversity:
    """Diversity of samples compared with the data.

    ``spread``: the summed variance of the samples over that of the data; 0 if all samples are equal.
    ``modes`` and ``data_modes``: the effective number of clusters that samples and data fall into, which is
    the exponential of the entropy (in nats) of the shares of the data's :data:`CLUSTERS` k-means clusters.
    """

    spread: float
    modes: float
    data_modes: float

    @property
    def share(self) -> float:
        """The samples' modes over the data's."""
        return self.modes / self.data_modes


def measure_diversity(samples: np.ndarray, data: np.ndarray, *, seed: int = 0) -> Diversity:
    """Compare samples with rows of data, both of shape (rows, ...), using at most 2,000 of each.

    Data without variance (one row, or equal rows) have one mode and a spread of NaN. Too few samples
    underestimate the modes: pass as many as there are rows.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((500, 2))
        >>> same = measure_diversity(rows, rows)
        >>> same.spread, same.share
        (1.0, 1.0)
        >>> measure_diversity(np.zeros((500, 2)), rows).modes
        1.0
    """
    made, real = (_some(rows, seed) for rows in (samples, data))
    variance = float(real.var(axis=0).sum())
    spread = float(made.var(axis=0).sum()) / variance if variance > 0 else float("nan")
    distinct = np.unique(real, axis=0)
    if len(distinct) <= CLUSTERS:
        centres = distinct
    else:
        centres, _ = kmeans2(real, CLUSTERS, minit="++", rng=np.random.default_rng(seed))
    return Diversity(spread, _effective_modes(made, centres), _effective_modes(real, centres))


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    flat = np.asarray(rows).reshape(len(rows), -1)
    if len(flat) > _MOST_ROWS:
        flat = flat[np.random.default_rng(seed).choice(len(flat), _MOST_ROWS, replace=False)]
    return flat.astype(np.float64)


def _effective_modes(rows: np.ndarray, centres: np.ndarray) -> float:
    nearest, _ = vq(rows, centres)
    shares = np.bincount(nearest, minlength=len(centres)) / len(rows)
    present = shares[shares > 0]
    return float(np.exp(-(present * np.log(present)).sum()))


# Filters of the discriminator's convolutions, each halving the image; the generator uses them in reverse.
FILTERS: Final = (32, 64, 128)
UNITS: Final = (256, 128)
_SLOPE = 0.2
_DROPOUT = 0.3


def make_generator(
    latent: int, shape: Sequence[int], value_range: tuple[float, float], *, seed: int
) -> keras.Sequential:
    """A generator from ``latent`` numbers to rows of ``shape`` = (height, width, channels) or (features,)."""
    seeds = Seeds(seed)
    layers: list[Any] = [keras.Input((latent,))]
    if len(shape) == 1:
        for units in reversed(UNITS):
            layers += _normalized(keras.layers.Dense(units, use_bias=False, kernel_initializer=_start(seeds)))
        layers.append(keras.layers.Dense(shape[0], activation="tanh", kernel_initializer=_start(seeds)))
    else:
        layers += _images(shape, seeds)
    low, high = value_range
    layers.append(keras.layers.Rescaling((high - low) / 2, offset=(high + low) / 2))
    return keras.Sequential(layers, name="generator")


def make_discriminator(
    shape: Sequence[int], value_range: tuple[float, float], *, seed: int
) -> keras.Sequential:
    """A discriminator of rows of ``shape`` = (height, width, channels) or (features,): one logit."""
    seeds = Seeds(seed)
    low, high = value_range
    layers: list[Any] = [
        keras.Input(tuple(shape)),
        keras.layers.Rescaling(2 / (high - low), offset=-(high + low) / (high - low)),
    ]
    for width in UNITS if len(shape) == 1 else FILTERS:
        if len(shape) == 1:
            layers.append(keras.layers.Dense(width, kernel_initializer=_start(seeds)))
        else:
            layers.append(
                keras.layers.Conv2D(width, 3, strides=2, padding="same", kernel_initializer=_start(seeds))
            )
        layers.append(keras.layers.LeakyReLU(_SLOPE))
    if len(shape) > 1:
        layers.append(keras.layers.Flatten())
    # Without dropout it memorises the real rows, and its accuracy says nothing about the fakes.
    layers.append(keras.layers.Dropout(_DROPOUT, seed=seeds.next()))
    layers.append(keras.layers.Dense(1, kernel_initializer=_start(seeds)))
    return keras.Sequential(layers, name="discriminator")


def _images(shape: Sequence[int], seeds: Seeds) -> list[Any]:
    """From a quarter of each side, rounded up, doubled twice and cropped to size."""
    height, width, channels = shape
    rows, columns = math.ceil(height / 4), math.ceil(width / 4)
    deep = FILTERS[-2]
    layers = _normalized(
        keras.layers.Dense(rows * columns * deep, use_bias=False, kernel_initializer=_start(seeds))
    )
    layers.append(keras.layers.Reshape((rows, columns, deep)))
    # Upsampling before a convolution avoids the checkerboard of transposed convolutions (Odena 2016).
    layers += [keras.layers.UpSampling2D(), *_normalized(_convolution(FILTERS[0], seeds, use_bias=False))]
    layers += [keras.layers.UpSampling2D(), _convolution(channels, seeds, activation="tanh")]
    over = (4 * rows - height, 4 * columns - width)
    if any(over):
        layers.append(keras.layers.Cropping2D(tuple((extra // 2, extra - extra // 2) for extra in over)))
    return layers


def _convolution(filters: int, seeds: Seeds, **options: Any) -> keras.layers.Layer:
    return keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer=_start(seeds), **options)


def _normalized(layer: keras.layers.Layer) -> list[Any]:
    return [layer, keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]


def _start(seeds: Seeds) -> Any:
    return seeds.initializer("relu")
