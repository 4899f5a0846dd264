"""What every schedule must do, from one table: its closed form, its end, Keras, the step, a picture."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import kilter
from kilter import schedules

from .cases import CASES, MOMENTA, STEPS, Case

# float32, of which exponents and the ends of straight lines, at 0.1 or so, lose a few more last places.
RELATIVE, ABSOLUTE = 2e-6, 3e-8
steps = np.arange(STEPS)
every_schedule = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def agree(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got, expected, rtol=RELATIVE, atol=ABSOLUTE)


@every_schedule
def test_the_rate_is_its_closed_form_at_every_step(case: Case):
    schedule = case.make()
    agree(np.array([schedule(step) for step in range(STEPS)]), case.rate(steps.astype("float64")))


@every_schedule
def test_it_ends_where_it_says(case: Case):
    schedule = case.make()
    if case.ends is None:
        assert 0 <= float(schedule(2**31 - 1)) < 0.02 * float(schedule(0))
        return
    for step in (case.last, case.last + 1, 10**6, 2**31 - 1):
        assert float(schedule(step)) == np.float32(case.ends)
    assert float(schedule(case.last - 1)) != np.float32(case.ends)


@every_schedule
def test_it_is_finite_and_not_negative_at_any_step(case: Case):
    schedule = case.make()
    far = jnp.asarray([0, 1, 2**24 + 1, 2**31 - 1])
    for values in (jax.vmap(schedule)(jnp.arange(STEPS)), jax.vmap(schedule)(far)):
        assert np.isfinite(values).all()
        assert (np.asarray(values) >= 0).all()


@every_schedule
def test_traced_it_is_what_it_is_outside(case: Case):
    schedule = case.make()
    traced = jax.jit(schedule)
    for step in range(0, STEPS, 7):
        outside, inside = schedule(step), traced(jnp.int32(step))
        assert inside.shape == () == outside.shape
        assert inside.dtype == outside.dtype == jnp.float32
        # XLA may multiply by a reciprocal where NumPy's order divides: the last place.
        agree(np.asarray(inside), np.asarray(outside))


@pytest.mark.parametrize("name", MOMENTA)
def test_the_momentum_is_its_closed_form_at_every_step(name: str):
    momentum = CASES[name].make().momentum
    agree(np.array([momentum(step) for step in range(STEPS)]), MOMENTA[name](steps.astype("float64")))


def test_the_others_leave_momentum_alone():
    for name in CASES.keys() - MOMENTA.keys():
        assert CASES[name].make().momentum(0) is None, name


@every_schedule
def test_keras_writes_it_down_and_reads_it_again(case: Case, tmp_path: Path):
    schedule = case.make()
    optimizers = keras.optimizers
    assert optimizers.schedules.deserialize(optimizers.schedules.serialize(schedule)) == schedule
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizers.SGD(schedule), loss="mse")
    model.fit(np.ones((6, 2)), np.ones((6, 1)), batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    read = keras.saving.load_model(tmp_path / "model.keras")
    assert read.optimizer._learning_rate == schedule
    assert float(read.optimizer.learning_rate) == float(schedule(3))


def line(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """y = w x with w = 0, and the loss (w x - y)² of one row a batch."""
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile(optimizer, loss="mse")
    return model


def kernel(model: keras.Model) -> float:
    return float(model.get_weights()[0][0, 0])


ONES = np.ones((10, 1), "float32")
HOW = {"batch_size": 1, "verbose": 0}


@every_schedule
def test_fit_trains_with_the_rate_of_every_step_and_so_does_keras(case: Case):
    """With x = y = 1 a step is w <- w + 2 rate (1 - w): 1 - w is the product of the 1 - 2 rate."""
    schedule = case.make()
    momentum = 0.9 if schedule.momentum(0) is not None else 0.0
    expected = 1 - np.prod(1 - 2 * case.rate(np.arange(20.0)))
    given, inside = line(keras.optimizers.SGD(1.0, momentum=momentum)), line(keras.optimizers.SGD(schedule))
    history = kilter.fit(given, ONES, ONES, epochs=2, schedule=schedule, **HOW)
    inside.fit(ONES, ONES, epochs=2, shuffle=False, **HOW)
    assert kernel(inside) == pytest.approx(expected, rel=1e-5)
    if not momentum:
        assert kernel(given) == pytest.approx(expected, rel=1e-5)
    assert history.history["learning_rate"] == pytest.approx(list(case.rate(np.array([9.0, 19.0]))), rel=1e-5)
    assert ("momentum" in history.history) == bool(momentum)


@every_schedule
def test_a_second_call_continues_it_bit_for_bit(case: Case):
    schedule = case.make()
    whole, halves = (line(keras.optimizers.SGD(1.0, momentum=0.9)) for _ in range(2))
    kilter.fit(whole, ONES, ONES, epochs=4, schedule=schedule, **HOW)
    for epoch in (0, 2):
        kilter.fit(halves, ONES, ONES, initial_epoch=epoch, epochs=epoch + 2, schedule=schedule, **HOW)
    assert kernel(whole) == kernel(halves) != 0


@every_schedule
def test_its_picture_shows_what_it_does(case: Case):
    schedule = case.make()
    figure = schedule.plot(STEPS)
    curves = {trace.name: trace for trace in figure.data}
    agree(np.asarray(curves["learning rate"].y), case.rate(steps.astype("float64")))
    assert list(curves["learning rate"].x) == list(steps)
    assert ("momentum" in curves) == (schedule.momentum(0) is not None)
    assert figure.layout.yaxis.title.text == "learning rate"


def test_a_long_picture_is_thinned_and_may_count_epochs():
    figure = schedules.one_cycle(0.1, length=50, steps_per_epoch=1000).plot(50_000, steps_per_epoch=1000)
    times = figure.data[0].x
    assert len(times) == 2000
    assert (times[0], times[-1]) == (0.0, 49.999)
    assert figure.layout.xaxis2.title.text == "epoch"


def test_without_a_warm_up_cosine_is_keras_own():
    ours, theirs = (
        schedules.cosine(0.1, length=50, end=0.1),
        keras.optimizers.schedules.CosineDecay(0.1, 50, 0.1),
    )
    for step in range(60):
        assert float(ours(step)) == pytest.approx(float(theirs(step)), rel=1e-6)


def test_keras_changes_a_piecewise_rate_one_step_later():
    theirs = keras.optimizers.schedules.PiecewiseConstantDecay([9], [0.1, 0.01])
    ours = schedules.piecewise([0.1, 0.01], boundaries=[10])
    for step in range(20):
        assert float(ours(step)) == float(theirs(step))


BAD = {
    "no rate": (lambda: schedules.power(0.0, period=1), "learning_rate"),
    "a rate that is NaN": (lambda: schedules.exponential(math.nan, period=1), "learning_rate"),
    "a truth value": (lambda: schedules.power(True, period=1), "learning_rate"),
    "text": (lambda: schedules.power("0.1", period=1), "learning_rate"),
    "two at once": (lambda: schedules.power(-1.0, period=0), "learning_rate.*period"),
    "a factor of one": (lambda: schedules.exponential(0.1, period=1, factor=1.0), "factor"),
    "a staircase of steps": (lambda: schedules.power(0.1, period=1, staircase=True), "steps_per_epoch"),
    "half a step": (lambda: schedules.power(0.1, period=1, steps_per_epoch=0.5), "steps_per_epoch"),
    "as many boundaries": (lambda: schedules.piecewise([0.1], boundaries=[1]), "one learning rate more"),
    "boundaries that fall": (lambda: schedules.piecewise([1, 1, 1], boundaries=[3, 2]), "rise"),
    "a boundary that is NaN": (
        lambda: schedules.piecewise([1, 1], boundaries=[math.nan]),
        r"boundaries\[0\]",
    ),
    "a cycle of two steps": (lambda: schedules.one_cycle(0.1, length=2), "3 steps"),
    "an end above the start": (lambda: schedules.one_cycle(0.1, length=9, end=0.2), "end"),
    "no tail": (lambda: schedules.one_cycle(0.1, length=9, tail=0.0), "tail"),
    "one momentum": (lambda: schedules.one_cycle(0.1, length=9, momentum=0.9), "high, low"),
    "a momentum of one": (lambda: schedules.one_cycle(0.1, length=9, momentum=(1.0, 0.9)), r"momentum\[0\]"),
    "warm-up only": (lambda: schedules.cosine(0.1, length=5, warmup=5), "warm-up"),
    "no steps to draw": (lambda: schedules.power(0.1, period=1).plot(0), "steps"),
    "no patience": (lambda: schedules.performance(patience=0), "patience"),
    "another direction": (lambda: schedules.performance(direction="up"), "direction"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name: str):
    make, expected = BAD[name]
    with pytest.raises(kilter.errors.OptionError, match=expected):
        make()
