"""The networks that studies train: pretrained encoders of each kind, and students on labels."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._compare.comparison import PairedRun
from kilter._engine.inference import predict
from kilter._models.copying import copy_model
from kilter._transfer.fine_tuning import fine_tune
from kilter._transfer.stages import Stage
from kilter._validation import one_of
from kilter.data.scaling import moments
from kilter.nn.blocks import Seeds
from kilter.nn.builders import input_layers
from kilter.pretrain import Pretrained, autoencoder, auxiliary, gan
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
"""From unlabelled rows and a seed to a model; its lower layers are reused."""


@dataclass(frozen=True)
class Way:
    """Where a network's lower layers come from, how many are kept, and how it is fine-tuned.

    ``keep`` and ``stages`` are those of :func:`kilter.reuse` and :func:`kilter.fine_tune`. None uses the
    study's: all layers of the encoder, and first the head alone.
    """

    source: Source
    keep: int | str | None = None
    stages: tuple[Stage, ...] | None = None


@dataclass(frozen=True)
class Pretraining:
    """How the built-in ways train an encoder without labels; ``batch_size`` is for the auxiliary tasks."""

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3


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
    # Without the Flatten layer of the GAN's encoder, so that its codes are like those of other ways.
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


Labelled = tuple[Any, np.ndarray]

# A quarter of the epochs trains the head alone; the rest trains all layers at a third of the rate.
HEAD_START = 0.25
TUNING_RATE = 1 / 3


@dataclass(frozen=True)
class Plan:
    """How students are trained on labels: for the same number of epochs, whatever their start."""

    classes: int
    epochs: int
    learning_rate: float
    batch_size: int

    def from_scratch(self, epochs: int | None = None) -> tuple[Stage, ...]:
        """One stage that trains all layers, for ``epochs`` or the plan's."""
        return (Stage(epochs or self.epochs, train="all", learning_rate=self.learning_rate),)

    def of_reused(self) -> tuple[Stage, ...]:
        """The head alone first, then all layers at a lower rate."""
        start = max(1, round(HEAD_START * self.epochs))
        stages = [Stage(start, train="head", learning_rate=self.learning_rate)]
        if self.epochs > start:
            rate = TUNING_RATE * self.learning_rate
            stages.append(Stage(self.epochs - start, train="all", learning_rate=rate))
        return tuple(stages)


def trained(
    student: keras.Model, stages: Sequence[Stage], plan: Plan, labelled: Labelled, tested: Labelled, seed: int
) -> PairedRun:
    """Fine-tune ``student`` on the ``labelled`` rows, and score it on the ``tested`` ones."""
    began = time.perf_counter()
    history = fine_tune(student, *labelled, stages=stages, batch_size=plan.batch_size, seed=seed, verbose=0)
    logs = [
        {name: values[epoch] for name, values in history.history.items()}
        for epoch in range(len(history.epoch))
    ]
    return PairedRun(
        seed=seed,
        score=accuracy(student, tested),
        best_epoch=len(logs) - 1,
        seconds=time.perf_counter() - began,
        history=tuple(logs),
        path="",
    )


def accuracy(model: keras.Model, tested: Labelled) -> float:
    """The share of rows for which the true class has the highest output; NaN if an output is not finite."""
    outputs = predict(model, tested[0], verbose=0)
    if not np.isfinite(outputs).all():
        return float("nan")
    return float((outputs.argmax(axis=1) == tested[1]).mean())
