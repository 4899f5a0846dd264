"""Rewriting a traced step into the form that XLA runs fastest on a CPU; equal numbers, to rounding.

XLA's CPU compiler cleans up the body of a loop less than a program's entry, and takes each product as it is
written. Some things are therefore written as it likes them:

- *Convolutions* are written as a CPU computes them fastest, see :mod:`kilter._xla.convolutions`.
- *Max pooling* passes its gradients on as whole arrays, see :mod:`kilter._xla.pooling`.
- *Dense layers* hold their activations feature-major: a (batch, units) array is stored as (units, batch).
  Then no product of the backward pass needs both operands transposed, for which there is no fast kernel.
- *Gradients of weights* wait for the end of the backward pass, see :mod:`kilter._xla.deferred`.
- *Kernels* are transposed for the forward pass as the step begins, where the product then is faster.
- *Kernels that see the data* (a dense first layer) are held transposed by the loop, with all that the
  optimiser keeps of them: both of their products then have a fast kernel.
- *Random numbers* are drawn with Threefry's rounds written out: the same bits, see
  :mod:`kilter._xla.random_bits`.
- *Division of an array by one number* (the bias corrections of Adam and its kin) becomes a multiplication.
- *Sums over images of one channel* are kept out of a library that runs its innermost loop over the channels.

The rewriting goes through the step's equations once, with every array known as it is written, as its
transpose, or both; whatever has no rule is left as it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from kilter._xla.convolutions import convolution
from kilter._xla.deferred import Pass, Value, stored_transposed, written
from kilter._xla.pooling import is_max_pooling, pooled_gradient
from kilter._xla.random_bits import quick

# Calls whose equations are read as if they stood in place; after differentiation their custom rules are done.
_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")
_ELEMENTWISE = frozenset(
    [
        "abs",
        "add",
        "add_any",
        "and",
        "atan2",
        "cbrt",
        "ceil",
        "clamp",
        "convert_element_type",
        "copy",
        "cos",
        "div",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "integer_pow",
        "is_finite",
        "le",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
        "or",
        "pow",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "sign",
        "sin",
        "sqrt",
        "square",
        "sub",
        "tan",
        "tanh",
        "xor",
    ]
)
# Numbers from which on XLA hands a sum to a library.
_LEAST_FUSED_SUM = 32 * 1024
# Transposed kernels: a smaller one takes as long to transpose as it gains, but for small batches.
_LARGE_KERNEL = 1 << 15
_SMALL_BATCH = 32
_REDUCTIONS = frozenset(
    ["argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum"]
)


@dataclass(frozen=True)
class Traced:
    """A function as the equations that one trace of it wrote; calling it runs them.

    ``result`` is the tree of shapes and dtypes that it gives.
    """

    equations: core.ClosedJaxpr
    result: Any

    def __call__(self, *arguments: Any) -> Any:
        """What the function gives for arguments of the shapes it was traced with."""
        results = core.jaxpr_as_fun(self.equations)(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(self.result), results)


def trace(function: Callable[..., Any], *arguments: Any) -> Traced:
    """Trace a pure function, once, for arguments of these shapes (arrays or ``jax.ShapeDtypeStruct``)."""
    equations, result = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return Traced(equations, result)


Layout = tuple[bool, ...]
"""Which leaves of a carry are held as their transpose, by position."""


def carry_layout(traced: Traced, *, batch_size: int) -> Layout:
    """How a loop best holds what the traced step carries: its first argument, which is its first result too.

    A leaf is held as its transpose where the rewritten step makes it so.
    """
    layout: list[bool] = []

    def look(*leaves: Any) -> None:
        results = _run(traced.equations, list(map(written, leaves)), Pass(batch_size))
        carried = len(jax.tree.leaves(traced.result[0]))
        layout.extend(value.transposed for value in results[:carried])

    jax.eval_shape(look, *(atom.aval for atom in traced.equations.jaxpr.invars))
    return tuple(layout)


def turn(carry: Any, layout: Layout) -> Any:
    """A carry as written brought into ``layout``, or one in that layout as written: it is the same."""
    leaves, structure = jax.tree.flatten(carry)
    turned = [leaf.T if held else leaf for leaf, held in zip(leaves, layout, strict=True)]
    return jax.tree.unflatten(structure, turned)


def rewrite(traced: Traced, *, batch_size: int, layout: Layout = ()) -> Callable[..., Any]:
    """The traced function with its equations rewritten; its first leaves come and go in ``layout``.

    ``batch_size`` tells the arrays that are to be stored feature-major: two-dimensional products with that
    many rows. A wrong guess costs speed, never a number.
    """

    def rewritten(*arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments)
        held = [*layout, *[False] * (len(leaves) - len(layout))]
        values = [
            stored_transposed(leaf) if turned else written(leaf, given=True)
            for leaf, turned in zip(leaves, held, strict=True)
        ]
        made = _run(traced.equations, values, Pass(batch_size))
        held = [*layout, *[False] * (len(made) - len(layout))]
        results = [value.get(turned) for value, turned in zip(made, held, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(traced.result), results)

    return rewritten


def _run(closed: core.ClosedJaxpr, arguments: Sequence[Value], passing: Pass) -> list[Value]:
    jaxpr = closed.jaxpr
    known = dict(zip(jaxpr.constvars, map(written, closed.consts), strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def read(atom: Any) -> Value:
        return written(atom.val) if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        values = [read(atom) for atom in equation.invars]
        known |= zip(equation.outvars, _equation(equation, values, passing), strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _equation(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> list[Value]:
    name, parameters = equation.primitive.name, equation.params
    if name in _CALLS:
        inner: Any = parameters.get("jaxpr") or parameters.get("call_jaxpr")
        return _run(inner, values, passing)
    if name == "dot_general" and _is_plain_product(equation):
        return [_product(equation, values, passing)]
    if name == "conv_general_dilated":
        return [written(convolution(equation, *(value.get() for value in values)))]
    if name == "select_and_scatter_add" and is_max_pooling(equation):
        return [written(pooled_gradient(equation, *(value.get() for value in values)))]
    if name == "broadcast_in_dim" and _is_vector_broadcast(equation):
        return [_broadcast(equation, values[0].get())]
    if name == "random_bits" and _draws_threefry(values[0].get()):
        values = [written(quick(values[0].get()))]
    if name == "div" and _divides_by_one_number(equation):
        return [_times_reciprocal(equation, values)]
    if name == "reduce_sum" and _ends_in_one(equation):
        return [written(equation.primitive.bind(_alone(values[0].get()), **parameters))]
    if name == "reduce_sum" and _is_sum_of_rows(equation, passing):
        return [_sum_of_rows(equation, values[0], passing)]
    if name == "transpose" and parameters["permutation"] == (1, 0):
        return [_turned(values[0])]
    if any(value.transposed for value in values):
        if name in _ELEMENTWISE:
            return [_elementwise(equation, values)]
        if name in _REDUCTIONS:
            axes = tuple(1 - axis for axis in parameters["axes"])
            return [written(equation.primitive.bind(values[0].get(True), **{**parameters, "axes": axes}))]
    results = equation.primitive.bind(*(value.get() for value in values), **parameters)
    return [written(result) for result in (results if equation.primitive.multiple_results else [results])]


def _turned(value: Value) -> Value:
    """The transpose, made when it is asked for."""
    return Value(lambda transposed: value.get(not transposed), transposed=value.turns)


def _array(atom: Any) -> Any:
    """Shape and dtype of what an equation reads or makes."""
    return atom.aval


def _elementwise(equation: core.JaxprEqn, values: list[Value]) -> Value:
    # Scalars and literals are no two-dimensional arrays and are used as they are.
    operands = [
        value.get(_array(atom).ndim == 2) for value, atom in zip(values, equation.invars, strict=True)
    ]
    return stored_transposed(equation.primitive.bind(*operands, **equation.params))


def _draws_threefry(key: jax.Array) -> bool:
    return key.ndim == 0 and jax.random.key_impl(key) == "threefry2x32"


def _divides_by_one_number(equation: core.JaxprEqn) -> bool:
    array, number = map(_array, equation.invars)
    # In half precision a rounded reciprocal would cost digits. XLA itself sees to constants.
    precise = array.dtype in (np.float32, np.float64)
    return (
        precise and array.ndim > 0 and number.ndim == 0 and not isinstance(equation.invars[1], core.Literal)
    )


def _times_reciprocal(equation: core.JaxprEqn, values: list[Value]) -> Value:
    transposed, number = values[0].transposed, values[1].get()
    product = lax.mul(values[0].get(transposed), lax.div(jnp.ones_like(number), number))
    return stored_transposed(product) if transposed else written(product)


def _ends_in_one(equation: core.JaxprEqn) -> bool:
    array = _array(equation.invars[0])
    large = array.size >= _LEAST_FUSED_SUM
    return large and array.ndim > 1 and array.shape[-1] == 1 and jnp.issubdtype(array.dtype, jnp.floating)


def _alone(array: jax.Array) -> jax.Array:
    """The same numbers, by an operation that no library has: what made them is not fused with what follows.

    The sum of a cross-entropy of 112 images of 28×28×1 took 5.2 ms fused, and 0.4 like this (2 cores).
    """
    return lax.select(lax.eq(array, array), array, lax.full_like(array, np.nan))


def _is_plain_product(equation: core.JaxprEqn) -> bool:
    (contracted, _), (batched, _) = equation.params["dimension_numbers"]
    ranks = [_array(atom).ndim for atom in equation.invars]
    return ranks == [2, 2] and len(contracted) == 1 and not batched


def _product(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """left · right with one contracted axis each; a product with a row an example becomes feature-major."""
    flipped = _array(equation.outvars[0]).shape[0] == passing.batch_size
    if flipped:
        (axes, _) = equation.params["dimension_numbers"]
        ahead = _ahead(values[1], axes[1][0], passing)
        passing.latest = _dot(equation, [values[0], ahead], flipped=True)
        return stored_transposed(passing.latest)
    turns, since = _is_gradient_of_rows(equation, values, passing.batch_size), passing.latest

    @functools.cache
    def product() -> Any:
        operands = _late(equation, values, passing, since)
        if turns:
            # Twice as fast as with one operand feature-major; unless alone, XLA folds the transpose in.
            operands = [written(lax.optimization_barrier(operands[0].get())), operands[1]]
        return _dot(equation, operands, flipped=False)

    return Value(lambda transposed: product().T if transposed else product(), turns=turns)


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
    """A kernel whose first ``axis`` is contracted as a left operand: as its transpose, where that is faster.

    There is no fast product for a left operand's first axis. The transposes wait for nothing: a core that
    would be idle makes them while the step begins.
    """
    pays = value.given and (passing.batch_size <= _SMALL_BATCH or value.get().size >= _LARGE_KERNEL)
    if axis == 0 and not value.transposed and pays:
        return stored_transposed(lax.optimization_barrier(value.get(True)))
    return value


def _late(equation: core.JaxprEqn, values: list[Value], passing: Pass, since: Any) -> list[Value]:
    """The operands of a product; of one that sums over the batch the smaller is there only after the pass."""
    (axes, _) = equation.params["dimension_numbers"]
    rows = [_array(atom).shape[axis[0]] for atom, axis in zip(equation.invars, axes, strict=True)]
    if rows[0] != passing.batch_size:
        return values
    sizes = [_array(atom).size for atom in equation.invars]
    smaller, waiting = sizes.index(min(sizes)), list(values)
    waiting[smaller] = passing.late(values[smaller], since)
    return waiting


def _is_sum_of_rows(equation: core.JaxprEqn, passing: Pass) -> bool:
    rows = _array(equation.invars[0])
    return rows.ndim == 2 and rows.shape[0] == passing.batch_size and equation.params["axes"] == (0,)


def _sum_of_rows(equation: core.JaxprEqn, rows: Value, passing: Pass) -> Value:
    """The sum over the batch, as of a gradient of biases: taken when it is asked for, after the pass."""
    since = passing.latest

    @functools.cache
    def made() -> Any:
        late = passing.late(rows, since)
        axes = (1,) if late.transposed else (0,)
        return equation.primitive.bind(late.get(late.transposed), **{**equation.params, "axes": axes})

    return Value(lambda transposed: made())


def _is_gradient_of_rows(equation: core.JaxprEqn, values: list[Value], batch_size: int) -> bool:
    """Whether this is gradientᵀ · rows, summed over the batch, of a layer whose input is as written."""
    (axes, _) = equation.params["dimension_numbers"]
    rows = [_array(atom).shape[axis[0]] for atom, axis in zip(equation.invars, axes, strict=True)]
    first = [axis[0] for axis in axes] == [0, 0] and rows[0] == batch_size
    return first and values[0].transposed and not values[1].transposed


def _is_vector_broadcast(equation: core.JaxprEqn) -> bool:
    source, result = _array(equation.invars[0]), _array(equation.outvars[0])
    return len(equation.invars) == 1 and source.ndim < 2 and result.ndim == 2


def _broadcast(equation: core.JaxprEqn, source: Any) -> Value:
    shape, axes = equation.params["shape"], equation.params["broadcast_dimensions"]

    def make(transposed: bool) -> Any:
        if transposed:
            return lax.broadcast_in_dim(source, shape[::-1], tuple(1 - axis for axis in axes))
        return lax.broadcast_in_dim(source, shape, axes)

    return Value(make)
