"""Dense layers: activations feature-major, kernels transposed ahead.

A product that contracts the first axis of its left operand has no fast kernel on a CPU. So the (batch, units)
arrays of dense layers are stored as (units, batch). Then no product of the backward pass needs both operands
transposed, and elementwise operations and reductions follow that layout: they work on the transpose too,
instead of writing the array out in its own layout and back. Kernels are transposed for the forward pass at
the start of the step, while another core is idle. The kernel that sees the data is carried transposed by the
loop, with its optimiser slots, so that both of its products have a fast kernel.

Gradients of weights wait for the end of the backward pass: its operations are short, and XLA wakes another
core, which takes 20 to 50 µs, only for several that are ready at once. A factor of one, computed from the
last product of the pass, makes them wait.

Example in one dimension, for a batch of two and one unit: x = (x0, x1) as a column, w a number. Stored
feature-major, x is the row (x0, x1); y = w·x is a row too, and so are tanh(y) and dy; a sum over the first
axis becomes one over the second. The gradient dw = dy·xᵀ is a row times a column, which needs no transpose;
as columns it would be dyᵀ·x, which contracts the first axis of its left operand. The gradient dw = x·dh of a
layer before it becomes (x·one)·dh, where ``one`` is made from dy.

Gain (medians, 2 cores): 17 µs against 8 µs for 32×100 by 32×100; 1,990 instead of 2,364 µs a step of the
20×100 network at batch 32, and 15.0 instead of 17.4 ms at 512. Transposed kernels: an epoch of 0.69 instead
of 0.75 s. Kernels of 512×512 and more took 1.03 to 1.22 times the CPU time at batch 8 to 128, so that steps
with one stay as written (decision 120). The carried first kernel, with
:mod:`kilter._xla.reciprocals`: 1,700 instead of 2,090 µs a step. Gradients that wait (:func:`late`): 0.77
instead of 0.86 s an epoch at batch 32.

Depends on: jaxlib 0.10.2, CPU. Remove when XLA's CPU products are as fast in every layout of their operands.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from kilter._xla.equations import equations_of
from kilter._xla.values import Pass, Stored, Value, array_of, bind, stored_transposed, written

# A larger array does not wait: its product keeps the cores busy, and waiting holds memory.
_MOST_NUMBERS = 1 << 14


def late(passing: Pass, value: Value, since: Any) -> Value:
    """The value, computed after :attr:`Pass.latest` if that changed ``since``; large arrays do not wait."""
    array = value.get(value.transposed)
    small = array.size <= _MOST_NUMBERS and jnp.issubdtype(array.dtype, jnp.floating)
    if not small or passing.latest is None or passing.latest is since:
        return value
    if id(array) not in passing.waiting:  # gradients of weights and of biases ask for the same array
        passing.waiting[id(array)] = array, array * _one_after(passing.latest).astype(array.dtype)
    waiting = passing.waiting[id(array)][1]
    return stored_transposed(waiting) if value.transposed else written(waiting)


def _one_after(array: Any) -> Any:
    """1 for any ``array``, computed from its first number in a way that XLA cannot simplify."""
    number = lax.slice(array, (0,) * array.ndim, (1,) * array.ndim).reshape(())
    return jnp.logical_or(number <= 0, jnp.logical_not(number <= 0))


# Kernels to transpose: transposing a smaller one takes as long as it saves, except at small batches.
_LARGE_KERNEL = 1 << 15
_SMALL_BATCH = 32
# With a kernel this large a step stays as written: reading the kernels from memory takes most of it, and
# transposing them reads them once more.
_TOO_LARGE_KERNEL = 1 << 18


def is_plain_product(equation: core.JaxprEqn, *_: Any) -> bool:
    """Whether the equation multiplies two matrices, with one contracted axis each."""
    (contracted, _), (batched, _) = equation.params["dimension_numbers"]
    ranks = [array_of(atom).ndim for atom in equation.invars]
    return ranks == [2, 2] and len(contracted) == 1 and not batched


def reads_large_kernel(jaxpr: Any, batch_size: int) -> bool:
    """Whether a product of matrices multiplies ``batch_size`` rows by a kernel too large for these rules."""
    for equation in equations_of(jaxpr):
        if equation.primitive.name == "dot_general" and is_plain_product(equation):
            left, right = map(array_of, equation.invars)
            summed = left.shape[equation.params["dimension_numbers"][0][0][0]]
            if left.size * right.size >= _TOO_LARGE_KERNEL * summed * batch_size:
                return True
    return False


def product_stored(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Stored:
    """Feature-major with a row for each example; a gradient of rows may be transposed at no cost."""
    if array_of(equation.outvars[0]).shape[0] == passing.batch_size:
        return Stored(transposed=True)
    return Stored(turns=_is_gradient_of_rows(equation, values, passing.batch_size))


def product(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The product; one with a row for each example becomes feature-major."""
    flipped, turns = product_stored(equation, values, passing)
    if flipped:
        (axes, _) = equation.params["dimension_numbers"]
        ahead = _ahead(values[1], axes[1][0], passing)
        passing.latest = _dot(equation, [values[0], ahead], flipped=True)
        return stored_transposed(passing.latest)
    since = passing.latest

    @functools.cache
    def plain() -> Any:
        operands = _operands(equation, values, passing, since)
        if turns:
            # Twice as fast as with one operand feature-major; the barrier keeps XLA from folding in the
            # transpose.
            operands = [written(lax.optimization_barrier(operands[0].get())), operands[1]]
        return _dot(equation, operands, flipped=False)

    return Value(lambda transposed: plain().T if transposed else plain(), turns=turns)


def _dot(equation: core.JaxprEqn, values: list[Value], *, flipped: bool) -> Any:
    (axes, _) = equation.params["dimension_numbers"]
    if flipped:
        values, axes = values[::-1], axes[::-1]
    operands = [value.get(value.transposed) for value in values]
    contracted = [
        (1 - axis[0] if value.transposed else axis[0],) for value, axis in zip(values, axes, strict=True)
    ]
    return lax.dot_general(
        operands[0],
        operands[1],
        ((contracted[0], contracted[1]), ((), ())),
        precision=equation.params["precision"],
        preferred_element_type=equation.params["preferred_element_type"],
    )


def _ahead(value: Value, axis: int, passing: Pass) -> Value:
    """A given kernel, transposed by an idle core at the start of the step if that saves time."""
    pays = value.given and (passing.batch_size <= _SMALL_BATCH or value.get().size >= _LARGE_KERNEL)
    if axis == 0 and not value.transposed and pays:
        return stored_transposed(lax.optimization_barrier(value.get(True)))
    return value


def _operands(equation: core.JaxprEqn, values: list[Value], passing: Pass, since: Any) -> list[Value]:
    """The operands of a product; if it sums over the batch, the smaller one waits for the end of the pass."""
    (axes, _) = equation.params["dimension_numbers"]
    rows = [array_of(atom).shape[axis[0]] for atom, axis in zip(equation.invars, axes, strict=True)]
    if rows[0] != passing.batch_size:
        return values
    sizes = [array_of(atom).size for atom in equation.invars]
    smaller, waiting = sizes.index(min(sizes)), list(values)
    waiting[smaller] = late(passing, values[smaller], since)
    return waiting


def _is_gradient_of_rows(equation: core.JaxprEqn, values: list[Value], batch_size: int) -> bool:
    """Whether this is gradientᵀ · rows, summed over the batch, for a layer with its input as written."""
    (axes, _) = equation.params["dimension_numbers"]
    rows = [array_of(atom).shape[axis[0]] for atom, axis in zip(equation.invars, axes, strict=True)]
    first = [axis[0] for axis in axes] == [0, 0] and rows[0] == batch_size
    return first and values[0].transposed and not values[1].transposed


def is_sum_of_rows(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> bool:
    """Whether the equation sums a matrix over the batch, as the gradient of a bias does."""
    rows = array_of(equation.invars[0])
    return rows.ndim == 2 and rows.shape[0] == passing.batch_size and equation.params["axes"] == (0,)


def sum_of_rows(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The sum over the batch, made when it is used, after the pass."""
    since = passing.latest

    @functools.cache
    def made() -> Any:
        rows = late(passing, values[0], since)
        return bind(equation, rows.get(rows.transposed), axes=(1,) if rows.transposed else (0,))

    return Value(lambda transposed: made())


def is_vector_broadcast(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> bool:
    """Whether the equation broadcasts a vector or a number to a matrix, as for a bias."""
    source, result = array_of(equation.invars[0]), array_of(equation.outvars[0])
    return len(equation.invars) == 1 and source.ndim < 2 and result.ndim == 2


def broadcast(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The matrix, in whichever layout is used."""
    shape, axes = equation.params["shape"], equation.params["broadcast_dimensions"]

    def make(transposed: bool) -> jax.Array:
        source = values[0].get()
        if transposed:
            return lax.broadcast_in_dim(source, shape[::-1], tuple(1 - axis for axis in axes))
        return lax.broadcast_in_dim(source, shape, axes)

    return Value(make)


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
