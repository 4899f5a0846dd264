"""The exercise's first variant as published, by Keras on any backend: 20×100 ELU on raw pixels, patience 20.

Prints a JSON line an epoch: its number from 1 and what ``model.fit`` measured on the validation rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import keras
import numpy as np

from bench.workloads import CLASSES, IMAGE_SHAPE


class Tell(keras.callbacks.Callback):
    """Says after each epoch what was reached."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Print a line."""
        told = {name: float(value) for name, value in (logs or {}).items()}
        print(json.dumps({"epoch": epoch + 1} | told), flush=True)


def main() -> None:
    """Train until the validation loss has not fallen for as many epochs as the patience is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="an .npz with x_train and y_train")
    parser.add_argument("--validation", type=int, default=5_000, help="rows from the front")
    parser.add_argument("--patience", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    with np.load(options.data) as archive:
        x, y = archive["x_train"].astype(np.float32), archive["y_train"]
    front, rest = slice(options.validation), slice(options.validation, None)
    model = published()
    model.fit(
        x[rest],
        y[rest],
        epochs=options.epochs,
        validation_data=(x[front], y[front]),
        callbacks=[
            Tell(),
            keras.callbacks.EarlyStopping(patience=options.patience, restore_best_weights=True),
        ],
        verbose=0,
    )


def published() -> keras.Model:
    """He normal, ELU, softmax, Nadam at 5e-5; Keras's default batches of 32."""
    keras.utils.set_random_seed(42)
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), keras.layers.Flatten()])
    for _ in range(20):
        model.add(keras.layers.Dense(100, activation="elu", kernel_initializer="he_normal"))
    model.add(keras.layers.Dense(CLASSES, activation="softmax"))
    optimizer = keras.optimizers.Nadam(learning_rate=5e-5)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    return model


if __name__ == "__main__":
    main()
