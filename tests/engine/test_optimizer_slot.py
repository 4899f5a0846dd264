"""Every slot of every optimiser is found, inside a loss-scaling wrapper too."""

from typing import Any

import keras
import numpy as np
import optax
import pytest

from kilter import schedules
from kilter._engine.feed import Order
from kilter._engine.fit import fit
from kilter._engine.optax_optimizer import OptaxOptimizer
from kilter._engine.parallel import fit_together
from kilter._models.optimizers import SlotName, inner_optimizer, optimizer_slot, slot_index
from kilter._models.variables import build, pull
from kilter.errors import ModelError

ROWS = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
TARGETS = ROWS.sum(axis=1, keepdims=True)
WRAPPERS = {
    "plain": lambda optimizer: optimizer,
    "loss-scaled": keras.optimizers.LossScaleOptimizer,
    "scaled twice": lambda one: keras.optimizers.LossScaleOptimizer(keras.optimizers.LossScaleOptimizer(one)),
}
# The optimiser, and the attribute and value of its momentum.
OPTIMIZERS: dict[str, tuple[Any, str | None, float | None]] = {
    "SGD": (lambda: keras.optimizers.SGD(0.25, momentum=0.5), "momentum", 0.5),
    "SGD without momentum": (lambda: keras.optimizers.SGD(0.25), "momentum", 0.0),
    "RMSprop": (lambda: keras.optimizers.RMSprop(0.25, momentum=0.5), "momentum", 0.5),
    "Adam": (lambda: keras.optimizers.Adam(0.25, beta_1=0.5), "beta_1", 0.5),
    "AdamW": (lambda: keras.optimizers.AdamW(0.25, beta_1=0.5), "beta_1", 0.5),
    "Nadam": (lambda: keras.optimizers.Nadam(0.25, beta_1=0.5), "beta_1", 0.5),
    "Adamax": (lambda: keras.optimizers.Adamax(0.25, beta_1=0.5), "beta_1", 0.5),
    "Lion": (lambda: keras.optimizers.Lion(0.25, beta_1=0.5), "beta_1", 0.5),
    "Lamb": (lambda: keras.optimizers.Lamb(0.25, beta_1=0.5), "beta_1", 0.5),
    "Adagrad": (lambda: keras.optimizers.Adagrad(0.25), None, None),
    "Adadelta": (lambda: keras.optimizers.Adadelta(0.25), None, None),
    "Adafactor": (lambda: keras.optimizers.Adafactor(0.25), None, None),
    "Ftrl": (lambda: keras.optimizers.Ftrl(0.25), None, None),
    "optax": (lambda: OptaxOptimizer(optax.inject_hyperparams(optax.sgd)(learning_rate=0.25)), None, None),
}


def compiled(optimizer: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    build(model, (ROWS[:16], TARGETS[:16], None))
    return model


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_slot_is_found(name: str, wrapper: str):
    make, attribute, momentum = OPTIMIZERS[name]
    inner = make()
    model = compiled(WRAPPERS[wrapper](inner))
    assert inner_optimizer(model) is inner
    values = pull(model).optimizer
    slots: tuple[SlotName, ...] = ("learning_rate", "iterations")
    for slot, value in zip(slots, (0.25, 0), strict=True):
        found = optimizer_slot(model, slot)
        assert found is not None
        assert found.index is not None
        assert found.optimizer is inner
        assert not found.is_scheduled
        assert float(found.value.value) == float(values[found.index]) == value
        assert slot_index(model, slot) == found.index
        by_optimizer = optimizer_slot(model.optimizer, slot)
        assert by_optimizer is not None
        assert by_optimizer.index == found.index
    found = optimizer_slot(model, "momentum")
    assert (found and (found.attribute, found.value)) == (attribute and (attribute, momentum))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_schedule_of_the_optimizer_is_no_variable(wrapper: str):
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model = compiled(WRAPPERS[wrapper](keras.optimizers.SGD(rate)))
    found = optimizer_slot(model, "learning_rate")
    assert found is not None
    assert found.value is rate
    assert found.is_scheduled
    assert found.index is None
    with pytest.raises(ModelError, match="keeps learning_rate in a variable"):
        slot_index(model, "learning_rate")


def test_what_has_no_slot():
    uncompiled = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    assert optimizer_slot(uncompiled, "learning_rate") is None
    assert optimizer_slot(None, "iterations") is None


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_trainings_together_follow_their_rates(wrapper: str):
    """A rate of zero changes no weight, also inside a wrapper."""
    model = compiled(WRAPPERS[wrapper](keras.optimizers.SGD(0.05)))
    before = pull(model).trainable[0]
    ((after, _),) = fit_together(model, [pull(model)], ROWS, TARGETS, [Order(16, True, 0)], rates=[0.0])
    np.testing.assert_array_equal(after.trainable[0], before)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_one_cycle_sets_rate_and_momentum(wrapper: str):
    schedule = schedules.one_cycle(0.2, length=2, steps_per_epoch=4)
    model = compiled(WRAPPERS[wrapper](keras.optimizers.SGD(0.05, momentum=0.9)))
    history = fit(model, ROWS, TARGETS, batch_size=16, epochs=2, schedule=schedule, verbose=0).history
    expected = [(float(schedule(step)), float(schedule.momentum(step))) for step in (3, 7)]
    found = list(zip(history["learning_rate"], history["momentum"], strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
