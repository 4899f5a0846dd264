"""Rewriting a traced step into the form that XLA runs fastest on a CPU; equal numbers, to rounding.

XLA's CPU compiler cleans up the body of a loop less than a program's entry, and computes each product as it
is written. The rules that help are listed in :mod:`kilter._xla.rules`. A pass goes through the step's
equations once, with every array known as written, as its transpose, or both; an equation without a rule stays
as it is.

``KILTER_REWRITE=off`` and ``rewrite=False`` turn rewriting off. On a version of JAX that kilter was not
tested with, and after any error while rewriting, the plain step is used, with one warning.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import jax
from jax.extend import core

from kilter._system import context_value
from kilter._text import first_line, warn_once
from kilter._xla.compilation import TESTED_JAX, is_quick, is_tested
from kilter._xla.dense import reads_large_kernel
from kilter._xla.equations import RECOMPUTED, computed, interpreted
from kilter._xla.rules import rule_for
from kilter._xla.values import Pass, Stored, Value, array_of, stored, stored_transposed, written

_enabled: ContextVar[bool] = ContextVar("kilter_rewrite", default=True)


@dataclass(frozen=True, eq=False)  # hashable by identity, as jax.jit needs its function to be
class Traced:
    """A function as the equations of its one trace; ``result`` is the tree of shapes that it returns."""

    equations: core.ClosedJaxpr
    result: Any

    def __call__(self, *arguments: Any) -> Any:
        results = core.jaxpr_as_fun(self.equations)(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(self.result), results)


def trace(function: Callable[..., Any], *arguments: Any) -> Traced:
    """Trace a pure function, once, for arguments of these shapes (arrays or ``jax.ShapeDtypeStruct``)."""
    equations, result = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return Traced(equations, result)


T = TypeVar("T")
Function = Callable[..., Any]
Layout = tuple[bool, ...]
"""Which leaves of a carry are stored transposed, by position."""
Run = Callable[[core.JaxprEqn, list[Value], Pass], list[Value]]


@contextlib.contextmanager
def rewriting(enabled: bool) -> Generator[None]:
    """Context in which steps are rewritten only if ``enabled``."""
    with context_value(_enabled, _enabled.get() and enabled):
        yield


def is_rewritten() -> bool:
    """Whether steps are rewritten: on a CPU, unless turned off, compiled quickly, or JAX is untested."""
    wanted = _enabled.get() and os.environ.get("KILTER_REWRITE", "").lower() != "off"
    if not wanted or jax.default_backend() != "cpu" or is_quick():
        return False
    if not is_tested():
        low, high = TESTED_JAX
        warn_once(
            f"kilter's rewriting of steps for CPUs was tested with JAX {low} to below {high}, not with "
            f"{jax.__version__}: steps are not rewritten, and may be slower. "
            f"{_SILENCE}"
        )
        return False
    return True


_SILENCE: Final = "Set KILTER_REWRITE=off to silence this."


def rewritten(
    traced: Traced, use: Callable[[Function, Layout], T], *, batch_size: int, carries: bool = True
) -> T:
    """``use(function, layout)`` for the traced function as XLA runs it fastest; ``use`` traces that.

    It gets the original one, with nothing transposed, if steps are not rewritten or a rule fails.
    ``carries``: a loop carries the first argument, so it may be stored in ``layout``.
    """
    plain = (False,) * len(jax.tree.leaves(traced.result[0])) if carries else ()
    if not is_rewritten():
        return use(traced, plain)
    try:
        layout = carry_layout(traced, batch_size=batch_size) if carries else ()
        return use(rewrite(traced, batch_size=batch_size, layout=layout), layout)
    except Exception as problem:  # noqa: BLE001  (whatever a rule raises, training continues)
        warn_once(
            f"A step could not be rewritten for the CPU, so the plain one is used, which may be slower. "
            f"JAX {jax.__version__}; {type(problem).__name__}: {first_line(problem)}. "
            f"{_SILENCE}"
        )
    return use(traced, plain)


def carry_layout(traced: Traced, *, batch_size: int) -> Layout:
    """How a loop best stores what the traced step carries: its first argument, which is its first result too.

    A leaf is stored transposed if the rewritten step makes it so. Nothing is traced to find that out.
    """
    inputs = [stored(Stored()) for _ in traced.equations.jaxpr.invars]
    results = _run(traced, inputs, batch_size, _planned)
    return tuple(value.transposed for value in results[: len(jax.tree.leaves(traced.result[0]))])


def turn(carry: Any, layout: Layout) -> Any:
    """A carry as written, converted to ``layout``; and back, which is the same operation."""
    leaves, structure = jax.tree.flatten(carry)
    turned = [leaf.T if one else leaf for leaf, one in zip(leaves, layout, strict=True)]
    return jax.tree.unflatten(structure, turned)


def rewrite(traced: Traced, *, batch_size: int, layout: Layout = ()) -> Callable[..., Any]:
    """The traced function with its equations rewritten; its first leaves come and go in ``layout``.

    Products of matrices with ``batch_size`` rows are stored feature-major; a wrong guess costs only speed.
    """

    def function(*arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments)
        values = [
            stored_transposed(leaf) if one else written(leaf, given=True)
            for leaf, one in zip(leaves, _filled(layout, leaves), strict=True)
        ]
        made = _run(traced, values, batch_size, _rewritten)
        results = [value.get(one) for value, one in zip(made, _filled(layout, made), strict=True)]
        dtypes = [one.dtype for one in jax.tree.leaves(traced.result)]
        if dtypes != [one.dtype for one in results]:  # shapes are checked as the rules make them
            raise TypeError("a rule made an array of another dtype")
        return jax.tree.unflatten(jax.tree.structure(traced.result), results)

    return function


def _filled(layout: Layout, arrays: Sequence[Any]) -> Layout:
    """The layout of all arrays, of which the first have ``layout`` and the others are stored as written."""
    return (*layout, *[False] * (len(arrays) - len(layout)))


def _run(traced: Traced, arguments: Sequence[Value], batch_size: int, one: Run) -> list[Value]:
    """Every equation's results by ``one``; calls are read into, after differentiation without own rules.

    Beside a large kernel nothing counts as a row of the batch, so that dense layers stay.
    """
    closed = traced.equations
    passing = Pass(0 if reads_large_kernel(closed.jaxpr, batch_size) else batch_size)
    given = [*map(written, closed.consts), *arguments]
    return interpreted(
        closed.jaxpr, given, lambda eqn, values, _: one(eqn, values, passing), written, whole=RECOMPUTED
    )


def _rewritten(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> list[Value]:
    if (rule := rule_for(equation, values, passing)) is not None:
        value = rule.rewrite(equation, values, passing)
        value.shape = array_of(equation.outvars[0]).shape
        return [value]
    return list(map(written, computed(equation, [value.get() for value in values])))


def _planned(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> list[Value]:
    if (rule := rule_for(equation, values, passing)) is not None:
        return [stored(rule.stores(equation, values, passing))]
    return [stored(Stored()) for _ in equation.outvars]
