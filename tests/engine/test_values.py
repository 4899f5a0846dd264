"""Gradients of weights wait for the end of the backward pass, and are the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kilter._xla import dense
from kilter._xla.dense import late
from kilter._xla.rewrite import rewrite, trace
from kilter._xla.values import Pass, stored_transposed, written

BATCH, UNITS, LAYERS = 6, 4, 3


def step(weights, batch):
    """The gradients of a stack of dense layers."""

    def loss(weights):
        rows = batch
        for kernel, bias in weights:
            rows = jnp.tanh(rows @ kernel + bias)
        return rows.sum()

    return jax.grad(loss)(weights), {}


def drawn():
    generator = np.random.default_rng(0)
    weights = [
        (jnp.asarray(generator.normal(size=(UNITS, UNITS)), "float32"), jnp.zeros(UNITS, "float32"))
        for _ in range(LAYERS)
    ]
    return weights, jnp.asarray(generator.normal(size=(BATCH, UNITS)), "float32")


def places(most_held, monkeypatch):
    """The places of the pass's products and of the gradients' among the products, and all equations."""
    monkeypatch.setattr(dense, "_MOST_NUMBERS", most_held)
    weights, batch = drawn()
    equations = jax.make_jaxpr(rewrite(trace(step, weights, batch), batch_size=BATCH))(weights, batch).eqns
    shapes = [one.outvars[0].aval.shape for one in equations if one.primitive.name == "dot_general"]
    gradients = [number for number, shape in enumerate(shapes) if shape == (UNITS, UNITS)]
    return [number for number in range(len(shapes)) if number not in gradients], gradients, equations


def test_gradients_of_weights_come_after_the_backward_pass(monkeypatch):
    through, gradients, equations = places(BATCH * UNITS, monkeypatch)
    assert len(through) == 2 * LAYERS - 1  # the data have no gradient
    assert len(gradients) == LAYERS
    assert max(through) < min(gradients)
    # The last product is there before the first kernel's gradient anyway; the others are made to wait for it.
    assert sum(one.primitive.name == "or" for one in equations) == LAYERS - 1


def test_large_arrays_do_not_wait(monkeypatch):
    *_, equations = places(BATCH * UNITS - 1, monkeypatch)
    assert not any(one.primitive.name == "or" for one in equations)


def test_what_waits_has_the_bits_it_had(monkeypatch):
    weights, batch = drawn()

    def gradients(most_held):
        monkeypatch.setattr(dense, "_MOST_NUMBERS", most_held)
        return jax.jit(rewrite(trace(step, weights, batch), batch_size=BATCH))(weights, batch)[0]

    for one, other in zip(*map(jax.tree.leaves, (gradients(BATCH * UNITS), gradients(0))), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("last", [1.0, -0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("store", [written, stored_transposed])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_waiting_changes_no_number_whatever_is_waited_for(last, store, dtype):
    numbers = jnp.asarray([[0.0, -0.0, 3e-38], [np.nan, np.inf, -3.5]], dtype)
    passing = Pass(2)
    passing.latest = jnp.full((2, 2), last, "float32")
    value = store(numbers)
    waiting = late(passing, value, since=None)
    assert waiting is not value
    assert waiting.transposed == value.transposed
    bits = lambda array: np.asarray(array, "float32").view("uint32")  # noqa: E731
    np.testing.assert_array_equal(bits(waiting.get()), bits(value.get()))


def test_what_has_nothing_to_wait_for_stays_as_it_is():
    value, passing = written(jnp.ones((2, 2))), Pass(2)
    assert late(passing, value, since=None) is value
    passing.latest = jnp.ones((2, 2))
    assert late(passing, value, since=passing.latest) is value
    whole = written(jnp.ones((2, 2), "int32"))
    assert late(passing, whole, since=None) is whole


@pytest.mark.parametrize(
    ("batch_size", "units", "turned"),
    [(32, 4, True), (33, 4, False), (33, 181, False), (33, 182, True), (6, 182, True)],
)
def test_kernels_are_transposed_ahead_where_it_pays(batch_size, units, turned):
    """Of a small batch all, of a larger one those from 32,768 numbers on: 182 × 182."""
    kernel, batch = jnp.ones((units, units)), jnp.ones((batch_size, units))

    def forward(kernel, batch):
        return kernel, batch @ kernel

    rewritten = rewrite(trace(forward, kernel, batch), batch_size=batch_size)
    equations = jax.make_jaxpr(rewritten)(kernel, batch).eqns
    (product,) = [one for one in equations if one.primitive.name == "dot_general"]
    (left, _), _ = product.params["dimension_numbers"]
    assert left == ((1,) if turned else (0,))
    np.testing.assert_array_equal(rewritten(kernel, batch)[1], batch @ kernel)


def test_what_the_step_makes_itself_is_not_transposed_ahead():
    """Its product would wait for the transpose."""
    kernel, batch = jnp.ones((UNITS, UNITS)), jnp.ones((BATCH, UNITS))
    traced = trace(lambda kernel, batch: (kernel, batch @ jnp.sin(kernel)), kernel, batch)
    equations = jax.make_jaxpr(rewrite(traced, batch_size=BATCH))(kernel, batch).eqns
    assert not any(one.primitive.name == "optimization_barrier" for one in equations)
