"""Small encoders and data for the tests of pretraining."""

import keras
import numpy as np

SIDE = 8


def kinds_of_images(count=160, *, seed=0):
    """Images of four kinds, each one pattern with noise (bytes, 8 × 8 × 1), and their kinds."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).uniform(30, 220, (4, SIDE, SIDE, 1))
    kinds = rng.integers(0, 4, count)
    noisy = patterns[kinds] + rng.normal(0, 15, (count, SIDE, SIDE, 1))
    return np.clip(noisy, 0, 255).astype("uint8"), kinds


def dense_encoder(activation="relu", *, units=(16, 6), seed=0):
    """Flat layers behind an image input, with batch normalisation and dropout between."""
    start = keras.initializers.GlorotUniform
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(units[0], activation, kernel_initializer=start(seed=seed), name="lower"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.1, seed=seed),
            keras.layers.Dense(units[1], activation, kernel_initializer=start(seed=seed + 1), name="code"),
        ],
        name="dense_encoder",
    )


def conv_encoder(*, seed=0):
    """A Functional model: convolutions of both paddings, a stride, a pooling, a learned activation."""
    start = keras.initializers.GlorotUniform
    image = keras.Input((SIDE, SIDE, 1))
    maps = keras.layers.Rescaling(1 / 255)(image)
    maps = keras.layers.Conv2D(4, 3, padding="same", kernel_initializer=start(seed=seed))(maps)
    maps = keras.layers.ELU()(maps)
    maps = keras.layers.MaxPooling2D(2)(maps)
    maps = keras.layers.Conv2D(6, 2, strides=2, kernel_initializer=start(seed=seed + 1))(maps)
    maps = keras.layers.ELU()(maps)
    return keras.Model(image, keras.layers.Flatten()(maps), name="conv_encoder")


def table(count=120, *, seed=0):
    """Rows of six numbers that lie near a plane, in very different units, one column constant."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(count, 2))
    rows = hidden @ np.random.default_rng(3).normal(size=(2, 6)) + rng.normal(0, 0.05, (count, 6))
    rows = rows * [1, 10, 1000, 0.1, 1, 0] + [0, 5, 2000, 0, -3, 9]
    return rows.astype("float32")


def table_encoder(*, seed=0):
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(3, "tanh", kernel_initializer=keras.initializers.GlorotUniform(seed=seed)),
        ],
        name="table_encoder",
    )


def weights(model):
    return [variable.numpy().copy() for variable in model.variables]


def same(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
