"""A function cut in two gives what it gave whole; a Monte Carlo prediction does nothing twice or at once."""

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax.extend import core

from kilter._infer.monte_carlo import _program, dropout_layers
from kilter._xla.partial import halves

layers = keras.layers

FUNCTIONS = {
    "depends on both": lambda d, a, b: jnp.tanh(a @ b) * d,
    "on the drawn alone": lambda d, a, b: jnp.sin(d),
    "on the given alone": lambda d, a, b: jax.nn.relu(a) @ b,
    "passes through": lambda d, a, b: {"d": d, "a": a, "constant": jnp.float32(3.0)},
    "a constant array": lambda d, a, b: d + jnp.asarray(np.arange(3, dtype="float32")) * a.sum(),
    "a loop": lambda d, a, b: jax.lax.fori_loop(0, 3, lambda i, c: c * a.mean() + d, jnp.exp(d)),
    "cheap ones": lambda d, a, b: jnp.broadcast_to(a[0, 0] * 2, (3,)) + d + jnp.broadcast_to(b[0], (3, 3))[0],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_halves_give_the_whole(name: str):
    rng = np.random.default_rng(0)
    d, a, b = (rng.normal(size=shape).astype("float32") for shape in ((3,), (3, 3), (3, 3)))
    cut = halves(FUNCTIONS[name], jnp.zeros(3), a, b)
    whole, found = FUNCTIONS[name](d, a, b), cut.after(d, cut.before(a, b))
    assert jax.tree.structure(whole) == jax.tree.structure(found) == jax.tree.structure(cut.result)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), whole, found)


def test_the_second_half_has_only_what_depends_on_the_draw():
    cut = halves(lambda d, a, b: jnp.dot(jnp.dot(a, b) + d, b), jnp.zeros(3), *(jnp.ones((3, 3)),) * 2)
    kept = jax.eval_shape(cut.before, *(jnp.ones((3, 3)),) * 2)
    late = str(jax.make_jaxpr(cut.after)(jnp.zeros(3), kept))
    assert late.count("dot_general") == 1


def network() -> tuple[keras.Model, Any]:
    """Two layers before dropout, one after; and the arguments of its program: 40 rows in batches of 20."""
    stack = [layers.Dense(32), layers.Dense(32), layers.Dropout(0.5), layers.Dense(4, activation="softmax")]
    model = keras.Sequential([keras.Input((6,)), *stack])
    values = tuple(
        [variable.value for variable in group]
        for group in (model.trainable_variables, model.non_trainable_variables)
    )
    return model, (values, jnp.ones((40, 6)), jnp.arange(40).reshape(2, 20), jnp.uint32(0))


def equations(jaxpr: core.Jaxpr, depth: int = 0) -> Any:
    """Every equation of a program, with the number of loops around it."""
    for equation in jaxpr.eqns:
        yield equation, depth
        below = depth + (equation.primitive.name in ("scan", "while"))
        for value in jax.tree.leaves(equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner, below)


def test_layers_before_the_first_dropout_run_once_a_batch():
    model, arguments = network()
    program = _program(model, dropout_layers(model), 10, "auto", False)
    found = list(equations(jax.make_jaxpr(program)(*arguments).jaxpr))
    products = [depth for equation, depth in found if equation.primitive.name == "dot_general"]
    assert products == [1, 1, 2]


def largest(samples: int, keep: bool) -> int:
    """Numbers in the largest array of the program."""
    model, arguments = network()
    program = _program(model, dropout_layers(model), samples, "auto", keep)
    found = equations(jax.make_jaxpr(program)(*arguments).jaxpr)
    return max(int(np.prod(out.aval.shape)) for equation, _ in found for out in equation.outvars)


def test_memory_does_not_grow_with_the_samples():
    assert largest(10, keep=False) == largest(300, keep=False)
    assert largest(300, keep=True) >= 300 * 40 * 4  # the test can see an array of all samples
