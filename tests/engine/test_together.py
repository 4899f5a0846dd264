"""Trainings together give what each gives alone."""

from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine.feed import Order
from kilter._engine.fit import fit
from kilter._engine.parallel import fit_together
from kilter._models.variables import pull, push
from kilter._xla.compilation import quick_compilation

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 5)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")
SEEDS = (3, 4, 9)


def made(optimizer: Any) -> keras.Model:
    keras.utils.set_random_seed(7)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(6, use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.Activation("elu"),
            layers.Dropout(0.2, seed=1),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    fit(model, X[:16], Y[:16], batch_size=16, verbose=0)  # its variables are there, and its statistics moved
    return model


def beginnings(model: keras.Model) -> list[Any]:
    """States that differ in their weights and in the step that the optimiser is at."""
    states = []
    for factor in (1.0, 0.5, -1.0):
        state = pull(model)
        states.append(state._replace(trainable=[factor * one for one in state.trainable]))
    return states


@pytest.mark.sampled(15)
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize("most", [None, 2], ids=["with a last partial batch", "two batches"])
@pytest.mark.parametrize("rates", [(None, None), (0.05, 0.001)], ids=["one rate", "a rate an epoch"])
@pytest.mark.parametrize("name", ["nadam", "averaged"])
def test_together_is_as_alone(name: str, rates: tuple, most: int | None, shuffle: bool):
    optimizer = {
        "nadam": lambda: keras.optimizers.Nadam(0.02),
        "averaged": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5),
    }[name]
    model = made(optimizer())
    states = beginnings(model)
    orders = [Order(16, shuffle, seed, most) for seed in SEEDS]
    with quick_compilation():
        found = fit_together(
            made(optimizer()), states, X, Y, orders, rates=rates, class_weight={0: 1.0, 1: 2.0}
        )
        for state, seed, (after, logs) in zip(beginnings(model), SEEDS, found, strict=True):
            push(state, model)
            schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rates[epoch] or rate)
            history = fit(
                model,
                X,
                Y,
                batch_size=16,
                epochs=2,
                shuffle=shuffle,
                seed=seed,
                steps_per_epoch=most,
                goes_on=False,
                class_weight={0: 1.0, 1: 2.0},
                callbacks=[schedule],
                verbose=0,
            ).history
            for one, other in zip(after.trainable, pull(model).trainable, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
            for one, other in zip(after.non_trainable, pull(model).non_trainable, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
            for metric in ("loss", "accuracy"):
                np.testing.assert_allclose([line[metric] for line in logs], history[metric], rtol=1e-4)
