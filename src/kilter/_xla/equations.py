"""Reading traced programs equation by equation."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from jax.extend.core import Literal

Known = TypeVar("Known")

# Equations that only call others; loops and branches count as one operation.
_CALLS: Final = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
RECOMPUTED: Final = ("remat2", "checkpoint")
"""Calls that XLA computes again in the backward pass."""


def inner_program(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The program that an equation calls with its own inputs, and its constants; None for any other."""
    inner = equation.params.get(_CALLS.get(equation.primitive.name))
    if inner is None:
        return None
    program = getattr(inner, "jaxpr", inner)
    same = len(program.invars) == len(equation.invars)
    return (program, getattr(inner, "consts", ())) if same else None


def interpreted(
    jaxpr: Any,
    given: Sequence[Known],
    one: Callable[[Any, list[Known], tuple[Any, ...]], Sequence[Known]],
    constant: Callable[[Any], Known],
    *,
    whole: Sequence[str] = (),
    within: tuple[Any, ...] = (),
) -> list[Known]:
    """What is known of a jaxpr's results, if ``given`` is known of its constants and inputs.

    ``one(equation, known, within)`` gives what is known of an equation's results, ``within`` being the calls
    around it, outermost first; ``constant(value)`` what is known of a constant. Calls are read into, except
    those named in ``whole``.
    """
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], given, strict=True))

    def of(atom: Any) -> Known:
        return constant(atom.val) if isinstance(atom, Literal) else known[atom]

    for equation in jaxpr.eqns:
        values = list(map(of, equation.invars))
        inner = None if equation.primitive.name in whole else inner_program(equation)
        if inner is None:
            made = one(equation, values, within)
        else:
            entering, around = [*map(constant, inner[1]), *values], (*within, equation)
            made = interpreted(inner[0], entering, one, constant, whole=whole, within=around)
        known |= zip(equation.outvars, made, strict=True)
    return list(map(of, jaxpr.outvars))


def computed(equation: Any, values: Sequence[Any]) -> list[Any]:
    """The results of an equation, of arrays."""
    found = equation.primitive.bind(*values, **equation.params)
    return list(found) if equation.primitive.multiple_results else [found]


def equations_of(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr, and of those that they call."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_within(equation):
            yield from equations_of(inner)


def constants_of(jaxpr: Any) -> Iterator[Any]:
    """The values that a jaxpr, and those it calls, has instead of arguments."""
    yield from getattr(jaxpr, "consts", ())
    for equation in jaxpr.eqns:
        yield from (one.val for one in equation.invars if isinstance(one, Literal))
        for inner in jaxprs_within(equation):
            yield from constants_of(inner)


def jaxprs_within(equation: Any) -> list[Any]:
    """The jaxprs that an equation calls: bodies of loops, branches, inlined functions."""
    values = equation.params.values()
    each = (one for value in values for one in (value if isinstance(value, list | tuple) else [value]))
    return [one for one in each if hasattr(one, "eqns")]
