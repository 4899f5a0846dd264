"""Schedules in the compiled step: changing momentum against NumPy and Keras; performance; what is refused."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from kilter import _backend  # noqa: F401

# isort: split
import keras
from keras import optimizers

from kilter import schedules
from kilter._engine.fit import fit
from kilter._engine.program_cache import shelf
from kilter.errors import OptionError

from .cases import agree, classifier, difference, rows, same_bits

QUIET: dict[str, Any] = {"shuffle": False, "verbose": 0}
BATCH, EPOCHS = 8, 4
STEPS = EPOCHS * 3


def cycle(**options: Any) -> schedules.Schedule:
    return schedules.one_cycle(0.2, length=STEPS, **options)


def numbers() -> tuple[np.ndarray, np.ndarray]:
    """24 rows of 4 features, and targets that depend on them."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(24, 4)).astype("float32")
    return x, (x @ np.array([[0.3], [-0.5], [0.2], [0.8]])).astype("float32")


def regression(optimizer: Any) -> keras.Model:
    """y = x w from w = 0, on the mean squared error."""
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((4,)), dense])
    model.compile(optimizer, loss="mse")
    return model


# One step of each optimiser as its paper has it, in float64, with a momentum that may change:
# (weights, slots, gradient, t from 1, rate, momentum) -> (weights, slots).


def sgd(w, slots, g, t, rate, momentum, nesterov=False):
    m = momentum * slots.get("m", 0.0) - rate * g
    return w + (momentum * m - rate * g if nesterov else m), {"m": m}


def nesterov(*step):
    return sgd(*step, nesterov=True)


def rmsprop(w, slots, g, t, rate, momentum):
    v = 0.9 * slots.get("v", 0.0) + 0.1 * g**2
    m = momentum * slots.get("m", 0.0) + rate * g / np.sqrt(v + 1e-7)
    return w - m, {"v": v, "m": m}


def moments(slots, g, beta_1):
    m = beta_1 * slots.get("m", 0.0) + (1 - beta_1) * g
    return m, 0.999 * slots.get("v", 0.0) + 0.001 * g**2


def adam(w, slots, g, t, rate, beta_1):
    m, v = moments(slots, g, beta_1)
    step = (m / (1 - beta_1**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7 / np.sqrt(1 - 0.999**t))
    return w - rate * step, {"m": m, "v": v}


def nadam(w, slots, g, t, rate, beta_1):
    """Dozat's schedule of momenta on top of ``beta_1``; the product is over those that were used."""
    m, v = moments(slots, g, beta_1)
    now, ahead = (beta_1 * (1 - 0.5 * 0.96**count) for count in (t, t + 1))
    product = slots.get("product", 1.0) * now
    look = ahead * m / (1 - product * ahead) + (1 - now) * g / (1 - product)
    return w - rate * look / (np.sqrt(v / (1 - 0.999**t)) + 1e-7), {"m": m, "v": v, "product": product}


def adamax(w, slots, g, t, rate, beta_1):
    m, _ = moments(slots, g, beta_1)
    u = np.maximum(0.999 * slots.get("u", 0.0), np.abs(g))
    return w - rate * m / ((1 - beta_1**t) * (u + 1e-7)), {"m": m, "u": u}


def lion(w, slots, g, t, rate, beta_1):
    m = slots.get("m", 0.0)
    return w - rate * np.sign(beta_1 * m + (1 - beta_1) * g), {"m": 0.99 * m + 0.01 * g}


REFERENCES: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "sgd": (lambda: optimizers.SGD(9.0, momentum=0.5), sgd),
    "nesterov": (lambda: optimizers.SGD(9.0, momentum=0.5, nesterov=True), nesterov),
    "rmsprop": (lambda: optimizers.RMSprop(9.0, momentum=0.5), rmsprop),
    "adam": (lambda: optimizers.Adam(9.0), adam),
    "adamw": (lambda: optimizers.AdamW(9.0, weight_decay=0.0), adam),
    "nadam": (lambda: optimizers.Nadam(9.0), nadam),
    "adamax": (lambda: optimizers.Adamax(9.0), adamax),
    "lion": (lambda: optimizers.Lion(9.0), lion),
    "sgd in a loss scale": (lambda: optimizers.LossScaleOptimizer(optimizers.SGD(9.0, momentum=0.5)), sgd),
}


def trained_by_hand(step: Callable[..., Any], schedule: schedules.Schedule) -> np.ndarray:
    x, y = (array.astype("float64") for array in numbers())
    w, slots = np.zeros((4, 1)), {}
    for count in range(STEPS):
        begin = count * BATCH % 24
        xs, ys = x[begin : begin + BATCH], y[begin : begin + BATCH]
        gradient = 2 / BATCH * xs.T @ (xs @ w - ys)
        momentum = schedule.momentum(count)
        assert momentum is not None
        w, slots = step(w, slots, gradient, count + 1, float(schedule(count)), float(momentum))
    return w


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", REFERENCES)
def test_momentum_and_rate_of_every_step_reach_the_optimizer(name: str):
    make, reference = REFERENCES[name]
    schedule = cycle(momentum=(0.9, 0.3))
    expected = trained_by_hand(reference, schedule)
    x, y = numbers()
    model = regression(make())
    fit(model, x, y, batch_size=BATCH, epochs=EPOCHS, schedule=schedule, **QUIET)
    # 12 float32 steps, with the square roots of the adaptive optimisers.
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=2e-5)
    still = trained_by_hand(reference, cycle(momentum=(0.5, 0.5)))
    assert np.abs(still - expected).max() > 5e-3, "the momentum makes no difference: nothing is tested"


class Steady(schedules.Schedule):
    """A constant rate and momentum: what Keras can do."""

    def __call__(self, step: Any) -> Any:
        return jnp.asarray(0.02)

    def momentum(self, step: Any) -> Any:
        return jnp.asarray(0.8)


CONSTANT: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (optimizers.SGD, {}),
    "nesterov": (optimizers.SGD, {"nesterov": True}),
    "rmsprop": (optimizers.RMSprop, {"centered": True}),
    "adam": (optimizers.Adam, {"amsgrad": True}),
    "adamw": (optimizers.AdamW, {"weight_decay": 0.1}),
    "nadam": (optimizers.Nadam, {}),
    "adamax": (optimizers.Adamax, {}),
    "lion": (optimizers.Lion, {}),
    "lamb": (optimizers.Lamb, {}),
    "adam, accumulating": (optimizers.Adam, {"gradient_accumulation_steps": 2, "clipnorm": 0.1}),
}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", CONSTANT)
def test_a_momentum_that_stays_is_the_momentum_of_keras(name: str):
    kind, options = CONSTANT[name]
    key = "momentum" if name in ("sgd", "nesterov", "rmsprop") else "beta_1"
    x, y = rows(48)
    ours, theirs = (classifier(kind(0.02, **options, **{key: momentum})) for momentum in (0.5, 0.8))
    got = fit(ours, x, y, batch_size=16, epochs=3, schedule=Steady(), **QUIET)
    expected = theirs.fit(x, y, batch_size=16, epochs=3, **QUIET)
    assert got.history.pop("momentum") == pytest.approx([0.8] * 3)
    assert got.history.pop("learning_rate") == pytest.approx([0.02] * 3)
    agree(got.history, expected.history)
    assert difference(ours, theirs) < 1e-4
    assert getattr(ours.optimizer, key) == 0.5, "the optimiser's own momentum must come back"


def test_the_momentum_comes_back_after_a_step_that_cannot_be_traced():
    class Broken(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return y_pred / undefined  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    x, y = numbers()
    model = regression(optimizers.SGD(0.1, momentum=0.5))
    fit(model, x, y, epochs=1, schedule=cycle(), **QUIET)
    model.loss = None
    model.compile(model.optimizer, loss=Broken())
    with pytest.raises(NameError):
        fit(model, x, y, epochs=1, schedule=cycle(), **QUIET)
    assert model.optimizer.momentum == 0.5


def test_a_schedule_is_compiled_once():
    x, y = rows(48)
    model, schedule = classifier(optimizers.Nadam()), cycle()
    for epoch in range(3):
        fit(model, x, y, batch_size=16, initial_epoch=epoch, epochs=epoch + 1, schedule=schedule, **QUIET)
    assert len(shelf(model).programs) == 1


@pytest.mark.parametrize("make", [optimizers.Nadam, lambda: optimizers.SGD(momentum=0.9, nesterov=True)])
def test_a_cycle_in_two_calls_is_the_cycle_in_one(make: Callable[[], Any]):
    x, y = rows(48)
    whole, halves = classifier(make()), classifier(make())
    how = QUIET | {"batch_size": 16, "shuffle": True, "schedule": cycle()}
    fit(whole, x, y, epochs=4, **how)
    for epoch in (0, 2):
        fit(halves, x, y, initial_epoch=epoch, epochs=epoch + 2, **how)
    assert same_bits(whole, halves)


def test_where_gradients_are_accumulated_the_step_is_a_batch_as_in_keras():
    x, y = rows(48)
    decay = schedules.exponential(0.5, period=4)
    ours = classifier(optimizers.SGD(9.0, gradient_accumulation_steps=2))
    theirs = classifier(optimizers.SGD(decay, gradient_accumulation_steps=2))
    fit(ours, x, y, batch_size=8, epochs=2, schedule=decay, **QUIET)
    theirs.fit(x, y, batch_size=8, epochs=2, **QUIET)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_performance_is_keras_own_callback():
    x, y = rows(48)
    data = {"validation_data": rows(32, seed=1)}
    rule = schedules.performance(factor=0.3, patience=1, min_delta=0.02, cooldown=1)
    callback = keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=1, min_delta=0.02, cooldown=1)
    ours, theirs = classifier(optimizers.Adam(0.05)), classifier(optimizers.Adam(0.05))
    got = fit(ours, x, y, epochs=10, schedule=rule, **data, **QUIET)
    expected = theirs.fit(x, y, epochs=10, callbacks=[callback], **data, **QUIET)
    agree(got.history, expected.history)
    assert len(set(got.history["learning_rate"])) > 2
    assert difference(ours, theirs) < 1e-3


def test_performance_sees_only_what_it_was_told_before_and_is_not_changed_by_fit():
    x, y = rows(48)
    rule = schedules.performance(patience=2, min_delta=10.0, monitor="loss")
    model = classifier(optimizers.SGD(0.1))
    history = fit(model, x, y, epochs=4, schedule=rule, **QUIET)
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.1, 0.1, 0.05])
    assert rule == schedules.performance(patience=2, min_delta=10.0, monitor="loss")
    again = fit(
        classifier(optimizers.SGD(0.1)), x, y, epochs=2, schedule=rule.replayed(_logs(history)), **QUIET
    )
    assert again.history["learning_rate"] == pytest.approx([0.1, 0.05])


def _logs(history: Any) -> list[dict[str, float]]:
    names = history.history
    return [dict(zip(names, values, strict=True)) for values in zip(*names.values(), strict=True)][:2]


SGD_WITHOUT = "SGD with momentum=0.0, so without"
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "plain sgd": (optimizers.SGD, cycle(), SGD_WITHOUT),
    "plain sgd in a loss scale": (
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD()),
        cycle(),
        SGD_WITHOUT,
    ),
    "no momentum at all": (optimizers.Adagrad, cycle(), "Adagrad without"),
    "momentum of another kind": (optimizers.Muon, cycle(), "Muon without"),
    "no validation data": (optimizers.SGD, schedules.performance(), "validation data"),
    "a measure there is not": (optimizers.SGD, schedules.performance(monitor="f1"), "watches one of"),
    "a rate of its own": (lambda: optimizers.SGD(cycle()), cycle(momentum=None), "own schedule"),
    "performance beside it": (
        lambda: optimizers.SGD(cycle()),
        schedules.performance(monitor="loss"),
        "own schedule",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_scheduled_is_refused(name: str):
    make, schedule, message = REFUSED[name]
    x, y = rows(48)
    with pytest.raises(OptionError, match=message):
        fit(classifier(make()), x, y, schedule=schedule, **QUIET)


@pytest.mark.parametrize("make", [optimizers.SGD, optimizers.Adagrad, optimizers.Muon])
def test_without_a_momentum_the_rate_alone_cycles(make: Callable[[], Any]):
    x, y = rows(48)
    history = fit(classifier(make()), x, y, batch_size=16, epochs=4, schedule=cycle(momentum=None), **QUIET)
    assert history.history["learning_rate"][-1] == pytest.approx(2e-5)
    assert "momentum" not in history.history
