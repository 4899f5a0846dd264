"""Functions that worker processes import by their name."""

import os

import keras


def narrow(seed):
    return _compiled(keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(seed)))


def unseeded(seed):
    return _compiled(keras.layers.Dense(1), keras.layers.Dropout(0.5))


def diverging(seed):
    model = _compiled(keras.layers.Dense(1))
    model.optimizer.learning_rate = 1e30
    return model


def uncompiled(seed):
    return keras.Sequential([keras.layers.Dense(1)])


def dying(seed):
    print("what it prints before it dies", flush=True)
    os._exit(3)


def _compiled(*layers):
    model = keras.Sequential([keras.Input((3,)), *layers[1:], layers[0]])
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    return model
