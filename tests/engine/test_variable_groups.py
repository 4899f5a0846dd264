"""The model's variables by group, in few walks through its layers."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._models.variables import variables


class Counted(keras.Sequential):
    """Counts the walks through its layers."""

    walks = 0

    @property
    def variables(self) -> list[Any]:
        self.walks += 1
        return super().variables


class OnlyBiases(keras.Sequential):
    """Chooses itself what is trained."""

    @property
    def trainable_variables(self) -> list[Any]:
        return [one for one in super().trainable_variables if one.name == "bias"]


def made(kind: type[keras.Sequential] = keras.Sequential) -> keras.Sequential:
    layers = keras.layers
    model = kind([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5)])
    model.compile("adam", "mse")
    return model


def frozen() -> keras.Sequential:
    model = made()
    model.trainable = False
    return model


def first_frozen() -> keras.Sequential:
    model = made()
    model.layers[0].trainable = False
    return model


def held_by_frozen() -> keras.Sequential:
    """Frozen without its layers: Keras then trains nothing, though the variables are trainable."""
    model = made()
    model._trainable = False
    return model


@pytest.mark.parametrize(
    "make", [made, frozen, first_frozen, held_by_frozen, lambda: made(OnlyBiases)], ids=range(5)
)
def test_groups_are_those_of_keras(make: Callable[[], keras.Sequential]) -> None:
    model = make()
    trainable, others = variables(model)[:2]
    assert [id(one) for one in trainable] == [id(one) for one in model.trainable_variables]
    assert [id(one) for one in others] == [id(one) for one in model.non_trainable_variables]


@pytest.mark.parametrize(("method", "most"), [("evaluate", 3), ("predict", 3)])
def test_a_small_call_walks_through_the_layers_a_few_times(method: str, most: int) -> None:
    model = made(Counted)
    x = np.ones((1, 3), np.float32)
    data = (x, np.ones((1, 4), np.float32)) if method == "evaluate" else (x,)
    call: Callable[..., Any] = getattr(kilter, method)
    call(model, *data, verbose=0)
    call(model, *data, verbose=0)
    model.walks = 0
    call(model, *data, verbose=0)
    assert model.walks <= most
