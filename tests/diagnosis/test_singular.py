"""Operations whose derivative is infinite, by the numbers that they meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from kilter._diagnosis.checks.singular import singular

# At which number each has an infinite derivative, and at which none.
CASES: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "square root of 0": (jnp.sqrt, 0.0, 0.5),
    "cube root of 0": (jnp.cbrt, 0.0, -1.0),
    "logarithm of 0": (jnp.log1p, -1.0, 0.0),
    "power of 0": (lambda x: x**0.3, 0.0, 1.0),
    "arc cosine of 1": (jnp.arccos, -1.0, 0.0),
    "arc sine of 1": (jnp.arcsin, 1.0, 0.5),
    "inverse hyperbolic cosine of 1": (jnp.arccosh, 1.0, 2.0),
    "inverse hyperbolic tangent of 1": (jnp.arctanh, 1.0, 0.9),
    "inverse error function of 1": (jax.scipy.special.erfinv, 1.0, 0.9),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_named_where_its_derivative_is_infinite(name: str):
    function, bad, good = CASES[name]
    for value, known in ((bad, name), (good, None)):
        rows = jnp.full(3, value)
        found = singular(jax.make_jaxpr(function)(rows), rows)
        assert (found and found.name) == known
        assert jnp.isfinite(jax.grad(lambda x: function(x).sum())(rows)).all() == (known is None)
