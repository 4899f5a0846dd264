"""Performance scheduling against Keras's ReduceLROnPlateau, epoch by epoch."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter import schedules

OPTIONS = {
    "default": {},
    "one epoch": {"patience": 1, "min_delta": 0.0},
    "cool-down": {"patience": 2, "cooldown": 3, "factor": 0.3},
    "a floor": {"patience": 1, "factor": 0.1, "min_rate": 1e-3},
    "more is better": {"patience": 2, "direction": "max", "monitor": "val_accuracy"},
}


def by_keras(values: list[float], options: dict) -> list[float]:
    """The rate after each epoch, set by Keras's callback on an optimiser that begins with 0.1."""
    renamed = {"direction": "mode", "min_rate": "min_lr"}
    keras_options = {"factor": 0.5, "patience": 5, "monitor": "val_loss", "mode": "min"}
    keras_options |= {renamed.get(name, name): value for name, value in options.items()}
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    callback = keras.callbacks.ReduceLROnPlateau(**keras_options)
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {keras_options["monitor"]: value})
        rates.append(float(model.optimizer.learning_rate))
    return rates


def by_kilter(values: list[float], options: dict) -> list[float]:
    rule, rate, rates = schedules.performance(**options), float(np.float32(0.1)), []
    for value in values:
        rule, rate = rule.saw({rule.monitor: value}, rate)
        rate = float(np.float32(rate))
        rates.append(rate)
    return rates


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@given(losses=st.lists(st.sampled_from([0.2, 0.4, 0.40005, 0.6, 1.0]), min_size=1, max_size=25))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_the_rates_are_those_of_keras(options: dict, losses: list[float]):
    assert by_kilter(losses, options) == by_keras(losses, options)


def test_a_loss_that_stays_halves_the_rate_every_patience_epochs():
    rates = by_kilter([1.0] * 11, {})
    assert rates == pytest.approx([0.1] * 5 + [0.05] * 5 + [0.025])


def test_nan_improves_nothing_and_is_not_kept_as_the_best():
    rule, rate = schedules.performance(patience=2), 0.1
    for value in (math.nan, 1.0, math.nan, math.inf):
        rule, rate = rule.saw({"val_loss": value}, rate)
    assert (rule.best, rate) == (1.0, 0.05)


def test_an_epoch_without_the_value_changes_nothing():
    rule, _ = schedules.performance(patience=2).saw({"val_loss": 1.0}, 0.1)
    assert rule.saw({"loss": 9.0}, 0.1) == (rule, 0.1)


def test_replaying_the_logs_gives_the_rule_that_saw_them():
    first, rate = schedules.performance(patience=2, cooldown=1), 0.1
    rule, logs = first, []
    for value in (1.0, 0.9, 0.95, 0.92, 0.91, 0.99):
        logs.append({"val_loss": value, "learning_rate": rate})
        rule, rate = rule.saw(logs[-1], rate)
    assert rate == 0.025
    assert first.replayed(logs) == rule != first
