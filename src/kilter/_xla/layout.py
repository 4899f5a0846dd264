"""Elementwise operations and reductions on arrays that are stored transposed.

Where a dense layer stores its output feature-major (:mod:`kilter._xla.dense`), the operations after it work
on the transpose too, instead of writing the array out in its own layout and back.

Example in one dimension: for a column y = (y0, y1) stored as a row, tanh(y) is computed on the row and stored
as a row, and the sum over its first axis becomes a sum over the row's second axis.

Gain: part of that of :mod:`kilter._xla.dense`, which it makes possible. Remove it together with that module.
"""

from jax.extend import core

from kilter._xla.values import Pass, Stored, Value, array_of, bind, stored_transposed, written

_ELEMENTWISE = """
abs add add_any and atan2 cbrt ceil clamp convert_element_type copy cos div eq erf erf_inv erfc exp exp2
expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg not or pow rem round
rsqrt select_n sign sin sqrt square sub tan tanh xor
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
REDUCTIONS = frozenset(
    ["argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum"]
)


def has_transposed_operand(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> bool:
    """Whether an operand is stored transposed."""
    return any(value.transposed for value in values)


def elementwise(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The operation on the transposes of all matrices; scalars are used as they are."""
    operands = [
        value.get(array_of(atom).ndim == 2) for value, atom in zip(values, equation.invars, strict=True)
    ]
    return stored_transposed(bind(equation, *operands))


def reduction(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The reduction of the transpose, over the other axis."""
    axes = tuple(1 - axis for axis in equation.params["axes"])
    return written(bind(equation, values[0].get(True), axes=axes))


def swaps_axes(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> bool:
    """Whether the equation transposes a matrix."""
    return equation.params["permutation"] == (1, 0)


def transpose(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The transpose, made when it is used."""
    (value,) = values
    return Value(lambda transposed: value.get(not transposed), transposed=value.turns)


def turned(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Stored:
    """Stored transposed if a transpose of the operand counts as stored transposed."""
    return Stored(transposed=values[0].turns)
