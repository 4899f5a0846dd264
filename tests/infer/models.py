"""Models with batch normalisations whose numbers are far from where they begin, and their bits."""

from typing import Any

import keras
import numpy as np

layers = keras.layers
Norm = layers.BatchNormalization


def stir(model: Any, seed: int = 0) -> Any:
    """Give every weight a random value, variances above 0."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        away = 1.0 if weight.name == "gamma" else 0.0
        values = rng.normal(away, 0.5, weight.shape)
        weight.assign(rng.uniform(0.2, 3.0, weight.shape) if "variance" in weight.name else values)
    return model


def sequential(shape: tuple[int, ...], *stack: Any) -> keras.Sequential:
    return stir(keras.Sequential([keras.Input(shape), *stack]))


def inputs(model: keras.Model, count: int = 12) -> Any:
    """Rows of normal numbers for each of the model's inputs."""
    rng = np.random.default_rng(1)
    arrays = [rng.normal(0.3, 1.0, (count, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    return arrays if len(arrays) > 1 else arrays[0]


def bits(model: keras.Model) -> list[bytes]:
    """Every variable as bytes, seeds included."""
    return [np.asarray(variable).tobytes() for variable in model.variables]


def norms_of(model: keras.Model) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, Norm)]
