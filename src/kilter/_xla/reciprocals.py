"""Division of an array by one number, as a multiplication.

The bias corrections of the Adam family divide whole arrays by a number that changes with the step. XLA takes
the reciprocal of constants itself, but not of a traced number.

Example in one dimension: (a0, a1) / c becomes (a0, a1) · (1 / c): one division instead of two. The result has
two roundings instead of one.

Gain: with the carried first kernel of :mod:`kilter._xla.dense`, 1,700 instead of 2,090 µs a step of the
20×100 network at batch 32, and 15.1 instead of 17.4 ms at 512 (medians of 4 interleaved processes each, 2
cores; these are three of the five divisions of Nadam).

Depends on: jaxlib 0.10.2, CPU. Remove when XLA hoists the reciprocal of a scalar out of an elementwise
division.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from kilter._xla.values import Pass, Value, array_of, stored_transposed, written


def divides_by_one_number(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> bool:
    """Whether a float array is divided by a traced number; in half precision that would cost digits."""
    array, number = map(array_of, equation.invars)
    precise = array.dtype in (np.float32, np.float64)
    constant = isinstance(equation.invars[1], core.Literal)
    return precise and array.ndim > 0 and number.ndim == 0 and not constant


def times_reciprocal(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The array times the number's reciprocal, in the array's layout."""
    transposed, number = values[0].transposed, values[1].get()
    product = lax.mul(values[0].get(transposed), lax.div(jnp.ones_like(number), number))
    return stored_transposed(product) if transposed else written(product)
