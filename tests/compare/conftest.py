"""Recipes and arrays small enough for many runs."""

import numpy as np
import pytest

from kilter.recipe import parse_recipe

SMALL = {
    "data": {"source": "digits", "validation": 0.2, "test": 0.1},
    "model": {"builder": "mlp", "hidden": [8], "dropout": 0.1},
    "train": {"epochs": 2, "batch_size": 256},
}


@pytest.fixture(scope="session")
def recipe_of():
    """A small recipe of digits with some keys of its sections changed."""

    def make(**sections):
        given = SMALL | {name: SMALL.get(name, {}) | keys for name, keys in sections.items()}
        return parse_recipe(given)

    return make


@pytest.fixture(scope="session")
def arrays():
    """(x, y, x_val, y_val) of a straight line in three dimensions, with noise."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 3)).astype("float32")
    y = (x @ np.array([[1.0], [-2.0], [0.5]]) + generator.normal(scale=0.1, size=(120, 1))).astype("float32")
    return x[:100], y[:100], x[100:], y[100:]
