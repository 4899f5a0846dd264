"""A small recipe, and one run of it that the tests look at from all sides."""

from __future__ import annotations

import pytest

from kilter.recipe import parse_recipe
from kilter.runs import train

SMALL = {
    "name": "small",
    "seed": 3,
    "data": {"source": "digits", "validation": 0.2, "test": 0.1},
    "model": {"builder": "mlp", "hidden": [16], "dropout": 0.1},
    "train": {"epochs": 4, "batch_size": 256},
}


@pytest.fixture(scope="session")
def recipe():
    """Digits, one hidden layer, with dropout: its random numbers are part of what must come back."""
    return parse_recipe(SMALL)


@pytest.fixture(scope="session")
def trained(recipe, tmp_path_factory):
    """What train() gave for the recipe."""
    return train(recipe, parent=tmp_path_factory.mktemp("runs"), verbose=0)
