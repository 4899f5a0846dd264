"""The task that all are compared on: Fashion-MNIST and a dense network, and how much of both."""

from __future__ import annotations

import dataclasses
from typing import Any

import kilter

# isort: split
import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is trained: rows, epochs, layers of 100 units, pairs of seeds, rounds of timing.

    ``pairs`` are those of :func:`kilter.compare`, ``depth`` the layers of the initialisers' network.
    """

    rows: int
    validation: int
    epochs: int
    layers: int
    pairs: int
    rounds: int
    depth: int
    batch_size: int = 64


FULL = Size(rows=10_000, validation=5_000, epochs=10, layers=5, pairs=9, rounds=15, depth=20)
QUICK = Size(rows=600, validation=300, epochs=2, layers=2, pairs=2, rounds=2, depth=20)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Rows to train on and rows to validate on, uint8 images with their labels, and the size of it all."""

    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    size: Size

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """As :func:`kilter.compare` takes them."""
        return self.x, self.y, self.x_val, self.y_val

    def network(self, layers: int, *, seed: int, **options: Any) -> keras.Model:
        """Hidden layers of 100 units on standardised pixels, as :func:`kilter.nn.mlp` makes them."""
        moments = kilter.data.moments(self.x, axis=None)
        return kilter.nn.mlp(
            self.x.shape[1:],
            10,
            hidden=(100,) * layers,
            normalization=(moments.mean, moments.variance),
            seed=seed,
            **options,
        )


def fashion(size: Size) -> Task:
    """The first rows of Fashion-MNIST's training set: validation rows first, training rows after them."""
    source = kilter.data.load("fashion-mnist").train
    assert source.y is not None
    end = size.validation + size.rows
    held, used = slice(size.validation), slice(size.validation, end)
    return Task(source.x[used], source.y[used], source.x[held], source.y[held], size)


def compiled(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """Compile for ten classes from logits."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model
