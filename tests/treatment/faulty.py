"""Programs as beginners write them: a fault each, and two without; (model, x, y), small enough to treat."""

import keras
import numpy as np
from sklearn.datasets import load_digits, make_blobs, make_circles

Program = tuple[keras.Model, np.ndarray, np.ndarray]
SPARSE = "sparse_categorical_crossentropy"
Dense = keras.layers.Dense


def network(inputs: int, *layers: keras.layers.Layer, optimizer="adam", loss=SPARSE) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((inputs,)), *layers])
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def digits() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    return (found.data / 16).astype("float32"), found.target.astype("int64")


def circles() -> tuple[np.ndarray, np.ndarray]:
    x, y = make_circles(600, noise=0.1, factor=0.3, random_state=0)
    return x.astype("float32"), y


def blobs() -> tuple[np.ndarray, np.ndarray]:
    x, y = make_blobs(600, centers=3, cluster_std=0.8, random_state=3)
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32"), y


def twenty_sigmoid_layers() -> Program:
    hidden = [Dense(16, activation="sigmoid") for _ in range(20)]
    return network(64, *hidden, Dense(10, activation="softmax"), optimizer="sgd"), *digits()


def zeros() -> Program:
    hidden = [Dense(16, activation="relu", kernel_initializer="zeros") for _ in range(2)]
    return network(64, *hidden, Dense(10, activation="softmax")), *digits()


def small() -> Program:
    """The quickest to treat: few rows and units, all weights zero."""
    hidden = [Dense(8, activation="relu", kernel_initializer="zeros") for _ in range(2)]
    x, y = blobs()
    made = network(16, *hidden, Dense(3, activation="softmax"), optimizer=keras.optimizers.Adam(0.02))
    return made, np.tile(x, 8), y


def softmax_of_one() -> Program:
    stack = [Dense(16, activation="relu"), Dense(1, activation="softmax")]
    return network(2, *stack, loss="binary_crossentropy"), *circles()


def huge_rate() -> Program:
    stack = [Dense(16, activation="relu"), Dense(16, activation="relu"), Dense(3, activation="softmax")]
    return network(2, *stack, optimizer=keras.optimizers.SGD(50.0)), *blobs()


def unscaled() -> Program:
    x, y = circles()
    stack = [Dense(16, activation="tanh"), Dense(16, activation="tanh"), Dense(1, activation="sigmoid")]
    return network(2, *stack, loss="binary_crossentropy"), 1000 * x + 500, y


def exponential() -> Program:
    hidden = [Dense(16, activation="exponential") for _ in range(3)]
    x, y = digits()
    return network(64, *hidden, Dense(10, activation="softmax")), 16 * x, y


def healthy_digits() -> Program:
    hidden = [Dense(32, activation="relu", kernel_initializer="he_normal")]
    return network(64, *hidden, Dense(10, activation="softmax")), *digits()


def healthy_blobs() -> Program:
    stack = [Dense(16, activation="relu", kernel_initializer="he_normal"), Dense(3, activation="softmax")]
    return network(2, *stack), *blobs()


# What is expected of each: a remedy that must be among the changes, and the accuracy to be reached.
FAULTY = {
    twenty_sigmoid_layers: ("replace-activation", 0.85),
    zeros: ("reinitialize-paired", 0.85),
    softmax_of_one: ("repair-output", 0.95),
    huge_rate: ("find-learning-rate", 0.95),
    unscaled: ("standardize-inputs", 0.95),
    exponential: ("replace-activation", 0.9),
}
HEALTHY = (healthy_digits, healthy_blobs)
