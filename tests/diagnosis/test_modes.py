"""Layers that run in the other mode than their model: an argument that is lost, or passed by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from tests.diagnosis.programs import blobs

from kilter._diagnosis.checks.modes import check_modes
from kilter._diagnosis.diagnose import read_context
from kilter._engine.training_spec import TrainingSpec

X, Y = blobs()


class Parts(keras.Model):
    """Dropout and batch normalisation before a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.norm = layers.Dropout(0.3, name="drop"), layers.BatchNormalization(name="norm")
        self.head = layers.Dense(3, "softmax")


class Sound(Parts):
    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.head(self.norm(self.drop(inputs, training=training), training=training))


class Lost(Parts):
    def call(self, inputs: Any) -> Any:
        return self.head(self.norm(self.drop(inputs)))


class Late(Parts):
    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.head(self.norm(self.drop(inputs, training=True), training=training))


class Kept(Parts):
    """As people write it: Keras with JAX leaves both of them off."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.head(self.norm(self.drop(inputs)))


class Off(Parts):
    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.head(self.norm(self.drop(inputs, training=training), training=False))


def modes(model: keras.Model) -> list[tuple[tuple[str, ...], str]]:
    model.compile("sgd", "sparse_categorical_crossentropy")
    found = check_modes(read_context(model, X, Y, TrainingSpec()))
    return [(one.where, one.explanation) for one in found]


@pytest.mark.parametrize(
    ("kind", "where", "words"),
    [
        (Lost, ("drop", "norm"), "no argument training"),
        (Late, ("drop",), "at inference: training=True"),
        (Off, ("norm",), "while the model trains: training is not passed"),
        (Kept, ("drop", "norm"), "while the model trains: training is not passed"),
    ],
)
def test_layers_in_the_other_mode_are_named(kind: Any, where: tuple[str, ...], words: str):
    ((named, said),) = modes(kind())
    assert named == where
    assert words in said


def test_sound_models_and_trained_averages_are_let_pass():
    assert not modes(Sound())
    off = Off()
    off.compile("sgd", "sparse_categorical_crossentropy")
    off(X[:2])
    off.norm.moving_mean.assign(np.ones(8))
    assert not modes(off)
    inputs = keras.Input((8,))
    assert not modes(keras.Model(inputs, layers.Dense(3)(layers.Dropout(0.5)(inputs))))


def test_keras_leaves_layers_off_that_are_not_told():
    """The reason for the check; if this fails, Keras tells inner layers itself."""
    model = Kept()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X + 5, Y, epochs=1, verbose=0)
    assert not np.any(np.asarray(model.norm.moving_mean))
