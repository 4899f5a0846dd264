"""Pretraining against the usual Keras way on JAX: seconds an epoch of an autoencoder, and of a GAN.

The same networks, loss, optimiser, batch size and rows on both sides. ``model.fit(x, x)`` is the usual
autoencoder; the usual GAN is a model with a ``train_step`` of its own (peers/keras_gan.py). The two sides
take turns, each training anew some epochs, of which the first, which compiles, does not count.

Example: ``.venv/bin/python benchmarks/pretraining.py --rounds 5``
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kilter

# isort: split
import keras
import numpy as np

from bench.pages import RESULTS, Page, Table, between
from peers.keras_fit import EpochClock
from peers.keras_gan import TwoOptimizers, UsualGan

ROWS, BATCH = 10_000, 128
EPOCHS = 4  # of each training, the one that compiles included
LATENT = 64
Train = Callable[[int], list[float]]


class Clocks(EpochClock):
    """The seconds of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop the clock and keep what it says."""
        super().on_epoch_end(epoch, logs)
        self.all.append(self.seconds)


def dense_encoder() -> keras.Sequential:
    """784 - 256 - 64, ReLU."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(64, activation="relu"),
        ]
    )


def conv_encoder() -> keras.Sequential:
    """Two convolutions of stride 2 with 16 and 32 filters, then 64 units, ReLU."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
        ]
    )


def dense_decoder() -> list[Any]:
    """The mirror image of the dense encoder, as one writes it."""
    layers = keras.layers
    return [layers.Dense(256, activation="relu"), layers.Dense(784), layers.Reshape((28, 28, 1))]


def conv_decoder() -> list[Any]:
    """The mirror image of the convolutional encoder, as one writes it."""
    layers = keras.layers
    return [
        layers.Dense(7 * 7 * 32, activation="relu"),
        layers.Reshape((7, 7, 32)),
        layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(1, 3, strides=2, padding="same"),
    ]


def autoencoders(
    x: np.ndarray, encoder: Callable[[], keras.Sequential], decoder: Callable[[], Sequence[Any]]
) -> dict[str, Train]:
    """Both ways to train an autoencoder of these layers."""
    model = keras.Sequential([*encoder().layers, *decoder()])
    model.build((None, 28, 28, 1))
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))

    def usual(epochs: int) -> list[float]:
        clock = Clocks()
        model.fit(x, x, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[clock])
        return clock.all

    def ours(epochs: int) -> list[float]:
        done = kilter.pretrain.autoencoder(encoder(), x, batch_size=BATCH, epochs=epochs, verbose=0)
        return done.history.seconds

    return {"keras": usual, "kilter": ours}


def gans(x: np.ndarray) -> dict[str, Train]:
    """Both ways to train the networks that kilter.pretrain.gan makes for these images."""

    def ours(epochs: int) -> list[float]:
        done = kilter.pretrain.gan(x, latent=LATENT, loss="hinge", batch_size=BATCH, epochs=epochs)
        return done.history.seconds

    made = kilter.pretrain.gan(x[: 2 * BATCH], latent=LATENT, batch_size=BATCH, epochs=1)
    optimizers = [keras.optimizers.Adam(rate, beta_1=0.5) for rate in (1e-3, 2e-4)]
    networks = (made.generator, made.discriminator)
    for optimizer, network in zip(optimizers, networks, strict=True):
        optimizer.build(network.trainable_variables)
    model = UsualGan(*networks)
    model.compile(TwoOptimizers(*optimizers))

    def usual(epochs: int) -> list[float]:
        clock = Clocks()
        model.fit(x, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[clock])
        return clock.all

    return {"keras": usual, "kilter": ours}


def measured(ways: dict[str, Train], rounds: int, epochs: int) -> dict[str, list[float]]:
    """Seconds an epoch of each way in each round: the median of a training's epochs after the first."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, train in ways.items():
            seconds[name].append(statistics.median(train(epochs)[1:]))
    return seconds


def row(what: str, seconds: dict[str, list[float]]) -> tuple[str, ...]:
    """A line of the table: both medians, and the ratio round by round."""
    ratios = [usual / ours for usual, ours in zip(seconds["keras"], seconds["kilter"], strict=True)]
    return (
        what,
        f"{statistics.median(seconds['keras']):.3f}",
        f"{statistics.median(seconds['kilter']):.3f}",
        f"{statistics.median(ratios):.2f}",
        between(ratios),
    )


def main() -> int:
    """Measure, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="trainings of each way (default: 5)")
    parser.add_argument("--only", choices=("dense", "conv", "gan"), help="one of the three, not all")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"images (default: {ROWS})")
    parser.add_argument("--quick", action="store_true", help="few rows: does it run? No figures to quote")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for what is kept")
    options = parser.parse_args()
    images = kilter.data.load("fashion-mnist").train.x[: 4 * BATCH if options.quick else options.rows]
    x = np.float32(1 / 255) * images
    makers: dict[str, tuple[str, Callable[[], dict[str, Train]]]] = {
        "dense": ("autoencoder, dense", lambda: autoencoders(x, dense_encoder, dense_decoder)),
        "conv": ("autoencoder, convolutional", lambda: autoencoders(x, conv_encoder, conv_decoder)),
        "gan": ("GAN, convolutional", lambda: gans(x)),
    }
    rounds, epochs = (1, 2) if options.quick else (options.rounds, EPOCHS)
    figures = {
        name: measured(make(), rounds, epochs)
        for key, (name, make) in makers.items()
        if options.only in (None, key)
    }
    found = Table(
        title=f"Seconds an epoch, {len(x)} images of 28 × 28, batches of {BATCH}",
        header=("what", "Keras on JAX", "kilter", "times faster", "in the rounds"),
        rows=tuple(row(name, seconds) for name, seconds in figures.items()),
        notes=(
            f"Medians of {rounds} trainings of each in turns; an epoch of a training is the median of its "
            f"{epochs - 1} after the first. Compilation is in none of them.",
        ),
    )
    found.show()
    page = Page(
        name="pretraining",
        title="Pretraining against the usual Keras way",
        introduction="Float32 images from 0 to 1; Adam; cross-entropy from logits, and for the GAN the hinge "
        "loss, both networks updated once a batch.",
        tables=[found],
        figures=figures,
        quick=options.quick,
    )
    print(f"kept in {page.write(options.results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
