"""Where reused layers come from: pretraining of each kind, or a model trained for another task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._models.copying import copy_model
from kilter._transfer.stages import Stage
from kilter._validation import one_of
from kilter.data.scaling import moments
from kilter.nn.builders import input_layers
from kilter.pretrain import Pretrained, autoencoder, auxiliary, gan
from kilter.pretrain.decoder import Seeds
from kilter.pretrain.gan import discriminator_of

FILTERS: Final = (32, 64, 128)
UNITS: Final = (256, 128)
_SMALLEST = 2 ** len(FILTERS)


def small_encoder(x: np.ndarray, *, seed: int) -> keras.Sequential:
    """An untrained encoder for rows like ``x``, which it standardises.

    For images (rows, height, width, channels) of at least 8 × 8 pixels: three 3×3 convolutions of stride 2
    with 32, 64 and 128 filters, and average pooling. Otherwise dense layers of 256 and 128 units. ELU and He
    initialisation.
    """
    shape = x.shape[1:]
    seeds = Seeds(seed)
    found = moments(x)
    layers: list[Any] = input_layers(shape, (found.mean, found.variance))
    if len(shape) == 3 and min(shape[:2]) >= _SMALLEST:
        for number, filters in enumerate(FILTERS, start=1):
            options = _options(seeds, f"conv_{number}")
            layers.append(keras.layers.Conv2D(filters, 3, strides=2, padding="same", **options))
        # Pooled here, because a new head would pool: pretraining must train what the head reads.
        layers.append(keras.layers.GlobalAveragePooling2D(name="pooling"))
        return keras.Sequential(layers, name="encoder")
    if len(shape) > 1:
        layers.append(keras.layers.Flatten(name="flatten"))
    for number, units in enumerate(UNITS, start=1):
        layers.append(keras.layers.Dense(units, **_options(seeds, f"dense_{number}")))
    return keras.Sequential(layers, name="encoder")


def _options(seeds: Seeds, name: str) -> dict[str, Any]:
    return {"activation": "elu", "kernel_initializer": seeds.initializer("elu"), "name": name}


Build = Callable[[int], keras.Model]
"""From a seed to a new, untrained encoder; the same seed gives the same weights."""

Source = Callable[[np.ndarray, int], keras.Model]
"""From unlabelled rows and a seed to a model whose lower layers are reused."""


@dataclass(frozen=True)
class Way:
    """Where a network's lower layers come from, how many are kept, and how it is fine-tuned.

    ``keep`` and ``stages`` are those of :func:`kilter.reuse` and :func:`kilter.fine_tune`. None takes the
    study's: all layers of the encoder, and first the head alone.
    """

    source: Source
    keep: int | str | None = None
    stages: tuple[Stage, ...] | None = None


@dataclass(frozen=True)
class Pretraining:
    """How the ready ways train an encoder without labels; ``batch_size`` is for the auxiliary tasks."""

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3


def from_model(model: keras.Model, keep: int | str = -1) -> Way:
    """The lower layers of a model trained for another task; by default all but its output."""
    return Way(lambda unlabelled, seed: model, keep=keep)


def ready(name: str, build: Build, how: Pretraining) -> Way:
    """The way of this name, one of :data:`READY`, for encoders from ``build``."""
    one_of("ways", name, tuple(READY))
    return Way(lambda unlabelled, seed: READY[name](build(seed), unlabelled, how, seed))


Train = Callable[[keras.Model, np.ndarray, Pretraining, int], keras.Model]
"""From an encoder, rows, settings and a seed to a trained copy of the encoder."""


def _pretrained(pretrain: Callable[..., Pretrained], **options: str) -> Train:
    def train(encoder: keras.Model, x: np.ndarray, how: Pretraining, seed: int) -> keras.Model:
        size = {"batch_size": how.batch_size} if pretrain is auxiliary else {}
        rate = how.learning_rate
        done = pretrain(
            encoder, x, **options, **size, epochs=how.epochs, learning_rate=rate, seed=seed, verbose=0
        )
        return done.encoder

    return train


def _gan(encoder: keras.Model, x: np.ndarray, how: Pretraining, seed: int) -> keras.Model:
    judge = discriminator_of(encoder, seed=seed)
    found = gan(x, discriminator=judge, epochs=how.epochs, seed=seed, verbose=0)
    copy = copy_model(encoder).model
    # Without the flattening of the GAN's encoder, so that the codes are like those of other ways.
    copy.set_weights(found.encoder.get_weights())
    return copy


READY: Final[dict[str, Train]] = {
    "autoencoder": _pretrained(autoencoder, kind="plain"),
    "denoising": _pretrained(autoencoder, kind="denoising"),
    **{
        task: _pretrained(auxiliary, task=task)
        for task in ("rotation", "masked-patch", "jigsaw", "contrastive")
    },
    "gan": _gan,
}
