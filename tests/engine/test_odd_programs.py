"""Odd programs give Keras's numbers: histories, results, predictions and weights."""

from typing import Any

import keras
import numpy as np
import pytest

import kilter

from . import odd_guides, odd_programs, odd_steps  # noqa: F401  (they fill the table)
from .odd_base import PROGRAMS

HOW = {"batch_size": 8, "verbose": 0}


class Keras:
    """Keras's own methods."""

    def fit(self, model: Any, *given: Any, **named: Any) -> Any:
        return model.fit(*given, **{**HOW, "epochs": 2, "shuffle": False, **named}).history

    def evaluate(self, model: Any, *given: Any) -> Any:
        return model.evaluate(*given, return_dict=True, **HOW)

    def predict(self, model: Any, *given: Any) -> Any:
        return model.predict(*given, **HOW)


class Kilter:
    """The same by kilter."""

    def fit(self, model: Any, *given: Any, **named: Any) -> Any:
        options = {**HOW, "epochs": 2, "shuffle": False, "stable_loss": False, **named}
        return kilter.fit(model, *given, **options).history

    def evaluate(self, model: Any, *given: Any) -> Any:
        return kilter.evaluate(model, *given, stable_loss=False, **HOW)

    def predict(self, model: Any, *given: Any) -> Any:
        return kilter.predict(model, *given, **HOW)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_odd_program_gives_what_keras_gives(name: str):
    found = []
    for way in (Keras(), Kilter()):
        keras.utils.set_random_seed(1)
        found.append(PROGRAMS[name](way))
    theirs, ours = found
    keras.tree.assert_same_structure(theirs, ours)
    for one, other in zip(keras.tree.flatten(theirs), keras.tree.flatten(ours), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
