"""What a training step costs, counted from its trace.

Decisions about how long to train must not depend on how busy a machine is, so they count work.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

from kilter._xla.equations import jaxprs_within

# Work is the multiply-adds of products and convolutions, and a fixed amount for each operation. In
# multiply-adds, 1e10 of which take about a second on two cores. Fitted roughly to four networks of 150 to
# 5,400 operations: 0.7 to 1.4 µs an operation and step, 0.5 to 5.2 s a compilation.
OPERATION: Final = 1e4
COMPILED_OPERATION: Final = 1e7
COMPILATION: Final = 4e9


@dataclass(frozen=True)
class StepCost:
    """The cost of one training step: its multiply-adds, and how many operations its trace has."""

    multiply_adds: float
    operations: float

    @property
    def work(self) -> float:
        """Work of one step, in multiply-adds."""
        return self.multiply_adds + OPERATION * self.operations

    @property
    def compilation(self) -> float:
        """Work of compiling the step once, in multiply-adds."""
        return COMPILATION + COMPILED_OPERATION * self.operations


def cost_of(jaxpr: Any) -> StepCost:
    """The cost of a jaxpr. Scans count by their length, loops of unknown length as one pass.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> cost_of(jax.make_jaxpr(jnp.dot)(jnp.ones((2, 3)), jnp.ones((3, 5)))).multiply_adds
        30.0
    """
    products, operations = 0.0, 0.0
    for equation in jaxpr.eqns:
        inner = list(map(cost_of, jaxprs_within(equation)))
        times = equation.params.get("length", 1)
        products += _products(equation) + times * sum(one.multiply_adds for one in inner)
        operations += times * sum(one.operations for one in inner) if inner else 1
    return StepCost(products, operations)


def _products(equation: Any) -> float:
    """Multiply-adds of a matrix product or a convolution; 0 of any other operation."""
    name = equation.primitive.name
    if name not in ("dot_general", "conv_general_dilated"):
        return 0.0
    left, right = (one.aval.shape for one in equation.invars[:2])
    size, numbers = math.prod(equation.outvars[0].aval.shape), equation.params["dimension_numbers"]
    if name == "dot_general":
        return float(size * math.prod(left[axis] for axis in numbers[0][0]))
    return size * math.prod(right) / max(right[numbers.rhs_spec[0]], 1)
