"""Targets drawn independently of the inputs."""

import keras
import numpy as np
from keras import layers

from held_out.case import case, noise, stack
from held_out.data import fashion, reviews, rng, split, table


@noise("table")
def _x_noise_coin():
    x, _ = table(3000, seed=51)
    y = rng(51).integers(0, 2, 3000)
    model = stack((8,), layers.Dense(16, "relu"), layers.Dropout(0.2), layers.Dense(1, "sigmoid"))
    return case(model, keras.optimizers.Adam(0.002), "binary_crossentropy", split(x, y, held=0.5), 10, 32)


@noise("table")
def _x_noise_number():
    x, _ = table(2400, seed=52)
    y = rng(52).gamma(2.0, 1.0, 2400).astype("float32")
    model = stack((8,), layers.Dense(12, "tanh"), layers.Dense(1))
    return case(model, keras.optimizers.SGD(0.02, momentum=0.5), "mse", split(x, y), 10, 40, "rmse")


@noise("image")
def _x_noise_pictures():
    x, _ = fashion(2400, start=20000, size=14)
    y = rng(53).integers(0, 3, 2400)
    model = stack(
        (14, 14, 1),
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(8, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, "softmax"),
    )
    return case(
        model, keras.optimizers.Adam(0.002), "sparse_categorical_crossentropy", split(x, y, held=0.4), 5, 64
    )


@noise("recurrent")
def _x_noise_walk():
    g = rng(54)
    x = np.cumsum(g.normal(0, 0.3, (1600, 20, 2)), 1).astype("float32")
    y = g.normal(0, 1, 1600).astype("float32")
    model = stack((20, 2), layers.GRU(8), layers.Dense(1))
    return case(model, keras.optimizers.Adam(0.001), "mse", split(x, y, held=0.4), 6, 50, "rmse")


@noise("text")
def _x_noise_texts():
    x, _ = reviews(2400, steps=20, seed=55)
    y = rng(55).integers(0, 4, 2400)
    model = stack(
        (20,),
        layers.Embedding(200, 6),
        layers.GlobalMaxPooling1D(),
        layers.Dropout(0.3),
        layers.Dense(4, "softmax"),
        dtype="int32",
    )
    return case(
        model, keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", split(x, y, held=0.5), 6, 64
    )
