"""Ways to come by lower layers that know something: pretraining of each kind, or a model for another task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kilter import _backend  # noqa: F401

# isort: split
import keras
import numpy as np

from kilter._models.copying import copy_model
from kilter._transfer.stages import Stage
from kilter.nn.options import check_name
from kilter.pretrain import autoencoder, auxiliary, gan
from kilter.pretrain.gan import discriminator_of

Build = Callable[[int], keras.Model]
"""A seed to a new, untrained encoder; the same seed gives the same weights."""

Source = Callable[[np.ndarray, int], keras.Model]
"""Unlabelled rows and a seed to a model whose lower layers are to be reused."""


@dataclass(frozen=True)
class Way:
    """Where a network's lower layers come from, how many of them are kept, and how it learns the labels.

    ``keep`` and ``stages`` are those of :func:`kilter.reuse` and :func:`kilter.fine_tune`; where None the
    study's own: all layers of the encoder, and the frozen head-start.
    """

    source: Source
    keep: int | str | None = None
    stages: tuple[Stage, ...] | None = None


@dataclass(frozen=True)
class Pretraining:
    """How long the ready ways train an encoder without labels; ``batch_size`` is the contrastive one's."""

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3


def from_model(model: keras.Model, keep: int | str = -1) -> Way:
    """The lower layers of a model trained for another task: all but its output unless ``keep`` says else."""
    return Way(lambda unlabelled, seed: model, keep=keep)


def ready(name: str, build: Build, how: Pretraining) -> Way:
    """The way of this name, one of :data:`READY`, for the encoders that ``build`` makes."""
    check_name("ways", name, tuple(READY))
    return Way(lambda unlabelled, seed: READY[name](build(seed), unlabelled, how, seed))


def _autoencoder(kind: str) -> Any:
    def train(encoder: keras.Model, x: np.ndarray, how: Pretraining, seed: int) -> keras.Model:
        return autoencoder(
            encoder,
            x,
            kind=kind,
            epochs=how.epochs,
            learning_rate=how.learning_rate,
            seed=seed,
            verbose=0,
        ).encoder

    return train


def _auxiliary(task: str) -> Any:
    def train(encoder: keras.Model, x: np.ndarray, how: Pretraining, seed: int) -> keras.Model:
        return auxiliary(
            encoder,
            x,
            task=task,
            epochs=how.epochs,
            batch_size=how.batch_size,
            learning_rate=how.learning_rate,
            seed=seed,
            verbose=0,
        ).encoder

    return train


def _gan(encoder: keras.Model, x: np.ndarray, how: Pretraining, seed: int) -> keras.Model:
    judge = discriminator_of(encoder, seed=seed)
    found = gan(x, discriminator=judge, epochs=how.epochs, seed=seed, verbose=0)
    copy = copy_model(encoder).model
    copy.set_weights(
        found.encoder.get_weights()
    )  # without the flattening, so that codes are as of other ways
    return copy


READY: Final[dict[str, Callable[[keras.Model, np.ndarray, Pretraining, int], keras.Model]]] = {
    "autoencoder": _autoencoder("plain"),
    "denoising": _autoencoder("denoising"),
    "rotation": _auxiliary("rotation"),
    "masked-patch": _auxiliary("masked-patch"),
    "jigsaw": _auxiliary("jigsaw"),
    "contrastive": _auxiliary("contrastive"),
    "gan": _gan,
}
