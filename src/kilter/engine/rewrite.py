"""Rewriting a traced step into the form that XLA runs fastest on a CPU; equal numbers, to rounding.

XLA's CPU compiler cleans up the body of a loop less than a program's entry, and takes each product as it is
written. Two things are therefore written as it likes them:

- *Convolutions* get the dimension order batch, space, channel and kernel order space, in, out. In any other
  order (as differentiation makes them) a loop falls back to a kernel that is slower by an order of magnitude.
- *Dense layers* hold their activations feature-major: a (batch, units) array is stored as (units, batch).
  Then no product of the backward pass needs both operands transposed, for which there is no fast kernel.

- *Large batches* go through dense layers in pieces, one for each core: XLA runs independent operations at the
  same time, but not the parts of one elementwise operation.

The rewriting goes through the step's equations once, with every array known as it is written, as its
transpose, or in pieces; whatever has no rule is left as it was.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

Step = Callable[..., Any]

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
# A reduction and what makes one result of two pieces' results; None where they do not suffice.
_REDUCTIONS: dict[str, Callable[[Any, Any], Any] | None] = {
    "argmax": None,
    "argmin": None,
    "reduce_and": jnp.logical_and,
    "reduce_max": jnp.maximum,
    "reduce_min": jnp.minimum,
    "reduce_or": jnp.logical_or,
    "reduce_prod": jnp.multiply,
    "reduce_sum": jnp.add,
}


# From this many rows a piece on, working in pieces was measured to pay; see docs/decisions.md.
_ROWS_A_PIECE = 256


@dataclass(frozen=True)
class Layout:
    """How the arrays with a row for each example are kept: ``pieces`` of ``rows // pieces`` rows."""

    rows: int
    pieces: int

    @classmethod
    def of(cls, rows: int, cores: int) -> Layout:
        """As many pieces as there are cores, if they are large enough and equal."""
        pieces = min(cores, rows // _ROWS_A_PIECE)
        return cls(rows, pieces if pieces > 1 and rows % pieces == 0 else 1)

    def cut(self, array: Any, axis: int) -> list[Any]:
        """The pieces of an array whose examples lie along ``axis``."""
        return [array] if self.pieces == 1 else list(jnp.split(array, self.pieces, axis))


class Value:
    """A traced array, as written, as its transpose, and that in pieces; each is made when first asked for.

    ``transposed`` says that the array is stored as its transpose, so that working on that costs nothing;
    ``pieces`` are those it is stored in, of its transpose, or None.
    """

    def __init__(
        self, make: Callable[[bool], Any], *, transposed: bool = False, pieces: list[Any] | None = None
    ) -> None:
        self.transposed = transposed
        self.pieces = pieces
        self._make = make
        self._made: dict[bool, Any] = {}

    def get(self, transposed: bool = False) -> Any:
        """The array, or its transpose."""
        if transposed not in self._made:
            self._made[transposed] = self._make(transposed)
        return self._made[transposed]

    def cut(self, layout: Layout) -> list[Any]:
        """The pieces of the transpose."""
        if self.pieces is None:
            self.pieces = layout.cut(self.get(True), axis=1)
        return self.pieces


def written(array: Any) -> Value:
    """A value stored as it is written."""
    return Value(lambda transposed: array.T if transposed else array)


def stored_transposed(pieces: list[Any]) -> Value:
    """A value whose transpose is ``pieces`` side by side."""

    def make(transposed: bool) -> Any:
        whole = pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces, axis=1)
        return whole if transposed else whole.T

    return Value(make, transposed=True, pieces=pieces)


def rewrite(step: Step, *, batch_size: int) -> Step:
    """``step`` with its equations rewritten, to be traced in its place.

    ``batch_size`` tells the arrays that are to be stored feature-major: two-dimensional products with that
    many rows. A wrong guess costs speed, never a number.
    """

    layout = Layout.of(batch_size, os.cpu_count() or 1)

    def rewritten(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        closed, shape = jax.make_jaxpr(
            lambda *flat: step(*jax.tree.unflatten(structure, flat)), return_shape=True
        )(*leaves)
        results = _run(closed, [written(leaf) for leaf in leaves], layout)
        return jax.tree.unflatten(jax.tree.structure(shape), [value.get() for value in results])

    return rewritten


def _run(closed: core.ClosedJaxpr, arguments: Sequence[Value], layout: Layout) -> list[Value]:
    jaxpr = closed.jaxpr
    known = dict(zip(jaxpr.constvars, map(written, closed.consts), strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def read(atom: Any) -> Value:
        return written(atom.val) if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        values = [read(atom) for atom in equation.invars]
        known |= zip(equation.outvars, _equation(equation, values, layout), strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _equation(equation: core.JaxprEqn, values: list[Value], layout: Layout) -> list[Value]:
    name, parameters = equation.primitive.name, equation.params
    if name in _CALLS:
        inner: Any = parameters.get("jaxpr") or parameters.get("call_jaxpr")
        return _run(inner, values, layout)
    if name == "dot_general" and _is_plain_product(equation):
        return [_product(equation, values, layout)]
    if name == "conv_general_dilated":
        return [written(_convolution(equation, *(value.get() for value in values)))]
    if name == "broadcast_in_dim" and _is_vector_broadcast(equation):
        return [_broadcast(equation, values[0].get())]
    if any(value.transposed for value in values):
        if name in _ELEMENTWISE:
            return [_elementwise(equation, values, layout)]
        if name in _REDUCTIONS:
            return [written(_reduction(equation, values[0], layout))]
        if name == "transpose":
            return [written(values[0].get(True))]
    results = equation.primitive.bind(*(value.get() for value in values), **parameters)
    return [written(result) for result in (results if equation.primitive.multiple_results else [results])]


def _array(atom: Any) -> Any:
    """Shape and dtype of what an equation reads or makes."""
    return atom.aval


def _elementwise(equation: core.JaxprEqn, values: list[Value], layout: Layout) -> Value:
    by_operand = [
        _operand(value, _array(atom).shape, layout)
        for value, atom in zip(values, equation.invars, strict=True)
    ]
    operands_by_piece = zip(*by_operand, strict=True)
    return stored_transposed(
        [equation.primitive.bind(*operands, **equation.params) for operands in operands_by_piece]
    )


def _operand(value: Value, shape: tuple[int, ...], layout: Layout) -> list[Any]:
    """What each piece's operation is given: its part, or all of what has no row for each example."""
    if len(shape) != 2:
        return [value.get()] * layout.pieces
    return value.cut(layout) if shape[0] == layout.rows else [value.get(True)] * layout.pieces


def _reduction(equation: core.JaxprEqn, value: Value, layout: Layout) -> Any:
    """The reduction piece by piece: side by side over the units of an example, combined over examples."""
    axes, combine = equation.params["axes"], _REDUCTIONS[equation.primitive.name]
    pieces = [value.get(True)] if combine is None and 0 in axes else value.cut(layout)
    parameters = {**equation.params, "axes": tuple(1 - axis for axis in axes)}
    results = [equation.primitive.bind(piece, **parameters) for piece in pieces]
    if len(results) == 1:
        return results[0]
    return functools.reduce(combine, results) if combine and 0 in axes else jnp.concatenate(results)


def _is_plain_product(equation: core.JaxprEqn) -> bool:
    (contracted, _), (batched, _) = equation.params["dimension_numbers"]
    ranks = [_array(atom).ndim for atom in equation.invars]
    return ranks == [2, 2] and len(contracted) == 1 and not batched


def _product(equation: core.JaxprEqn, values: list[Value], layout: Layout) -> Value:
    """left · right with one contracted axis each; a product with a row an example becomes feature-major."""
    (left_axes, right_axes), _ = equation.params["dimension_numbers"]
    left, right = values
    if _array(equation.outvars[0]).shape[0] == layout.rows and left_axes == (1,):
        pieces = left.cut(layout) if left.transposed else layout.cut(left.get(), axis=0)
        along = 0 if left.transposed else 1
        kernel, inner = right.get(right.transposed), _axis(right, right_axes)
        return stored_transposed([_dot(equation, kernel, piece, inner, along) for piece in pieces])
    if left.transposed and right.transposed and left_axes == right_axes == (0,) and layout.pieces > 1:
        # Both contracted over the examples: the gradient of a kernel.
        pairs = zip(left.cut(layout), right.cut(layout), strict=True)
        return written(functools.reduce(jnp.add, (_dot(equation, one, two, 1, 1) for one, two in pairs)))
    stored = left.get(left.transposed), right.get(right.transposed)
    return written(_dot(equation, stored[0], stored[1], _axis(left, left_axes), _axis(right, right_axes)))


def _axis(value: Value, axes: Sequence[int]) -> int:
    """Where the contracted axis of a value lies in what is stored."""
    return 1 - axes[0] if value.transposed else axes[0]


def _dot(equation: core.JaxprEqn, left: Any, right: Any, left_axis: int, right_axis: int) -> Any:
    return lax.dot_general(
        left,
        right,
        (((left_axis,), (right_axis,)), ((), ())),
        precision=equation.params["precision"],
        preferred_element_type=equation.params["preferred_element_type"],
    )


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


def _convolution(equation: core.JaxprEqn, images: Any, kernel: Any) -> Any:
    """The same convolution with dimensions in the order batch, space, channel and space, in, out."""
    numbers, space = equation.params["dimension_numbers"], "0123"[: images.ndim - 2]
    last = (lambda spec: (spec[0], *spec[2:], spec[1]), lambda spec: (*spec[2:], spec[1], spec[0]))
    images = jnp.transpose(images, last[0](numbers.lhs_spec))
    kernel = jnp.transpose(kernel, last[1](numbers.rhs_spec))
    order = (f"N{space}C", f"{space}IO", f"N{space}C")
    canonical = lax.conv_dimension_numbers(images.shape, kernel.shape, order)
    result = equation.primitive.bind(images, kernel, **{**equation.params, "dimension_numbers": canonical})
    return jnp.transpose(result, tuple(np.argsort(last[0](numbers.out_spec)).tolist()))
