"""Recurrent nets that do not learn."""

import keras
import numpy as np
from keras import layers

from held_out.case import case, faulty, stack
from held_out.data import reviews, series, split, waves
from held_out.second.nets import words


@faulty("recurrent", "https://github.com/keras-team/keras/issues/321")
def _x_softmax_for_numbers(fixed):
    """Two real numbers are predicted by a softmax."""
    x, y = series(1400, seed=2)
    y = np.stack([y[:-2], y[2:]], 1)
    model = stack((24, 1), layers.LSTM(24), layers.Dense(2, None if fixed else "softmax"))
    return case(model, keras.optimizers.RMSprop(0.005), "mse", split(x[:-2], y), 12, 50, "rmse")


@faulty("recurrent", "https://github.com/keras-team/keras/issues/2711")
def _x_padding_unmasked(fixed):
    """Texts are padded with zeros at the end without a mask, so that the last state has seen mostly
    padding."""
    x, y = reviews(1500, steps=70, seed=3)
    model = words(70, 200, 12, layers.SimpleRNN(16), layers.Dense(1, "sigmoid"), mask_zero=fixed)
    return case(model, keras.optimizers.Adam(0.004), "binary_crossentropy", split(x, y), 12, 50)


@faulty(
    "recurrent",
    "https://python-pypi.developreference.com/article/18792441/Understanding+Keras+LSTMs+Role+of+Batch+size+and+Statefulness",
)
def _x_exploding_state(fixed):
    """A simple recurrent layer with relu and a recurrent kernel that starts far too large: the state
    explodes."""
    x, y = waves(1200, seed=5)
    wild = {"activation": "relu", "recurrent_initializer": keras.initializers.RandomNormal(0, 0.6)}
    cell = layers.SimpleRNN(32, **({} if fixed else wild))
    model = stack((32, 1), cell, layers.Dense(3, "softmax"))
    return case(model, keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", split(x, y), 20, 32)


@faulty(
    "recurrent",
    "https://datascience.stackexchange.com/questions/39140/clipping-the-reward-for-adam-optimizer-in-keras",
)
def _x_clipped_to_nothing(fixed):
    """Gradients are clipped to a norm of 0.001, so that SGD hardly moves the weights."""
    x, y = series(1400, seed=6)
    clip = 1.0 if fixed else 0.001
    model = stack((24, 1), layers.GRU(20), layers.Dense(1))
    sgd = keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=clip)
    return case(model, sgd, "mse", split(x, y), 12, 32, "rmse")
