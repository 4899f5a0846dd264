"""Splits a pure function in two: a part that runs once, and a part that runs for each random draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core

from kilter._xla.rewrite import trace

# Recomputed rather than stored: reading such an array takes longer than making it.
_CHEAP = ("broadcast_in_dim", "iota")


@dataclass(frozen=True)
class Halves:
    """``function(drawn, *given)`` as ``after(drawn, before(*given))``; ``result``: its shapes and dtypes."""

    before: Callable[..., list[jax.Array]]
    after: Callable[[Any, list[jax.Array]], Any]
    result: Any


def halves(function: Callable[..., Any], drawn: Any, *given: Any) -> Halves:
    """Split a function after everything that does not depend on its first argument.

    For a network with dropout, ``before`` runs all layers up to the first dropout, however the model is
    written.
    """
    traced = trace(function, drawn, *given)
    jaxpr = traced.equations.jaxpr
    count = len(jax.tree.leaves(drawn))
    drawn_inputs, given_inputs = jaxpr.invars[:count], jaxpr.invars[count:]
    early, late = _divided(jaxpr, drawn_inputs)
    kept = _needed(late, jaxpr.outvars, made={*drawn_inputs, *jaxpr.constvars})
    before = _runner(traced.equations, given_inputs, early, kept)
    after = _runner(traced.equations, [*drawn_inputs, *kept], late, jaxpr.outvars)
    structure = jax.tree.structure(traced.result)
    return Halves(
        before=lambda *arguments: before(*jax.tree.leaves(arguments)),
        after=lambda draw, values: jax.tree.unflatten(structure, after(*jax.tree.leaves(draw), *values)),
        result=traced.result,
    )


Equations = list[core.JaxprEqn]


def depending_on(jaxpr: core.Jaxpr, inputs: Sequence[core.Var]) -> set[core.Var]:
    """The variables that depend on some of the ``inputs``, these included."""
    depending = set(inputs)
    for equation in jaxpr.eqns:
        if not depending.isdisjoint(variables(equation.invars)):
            depending.update(equation.outvars)
    return depending


def variables(atoms: Sequence[Any]) -> list[core.Var]:
    """The ``atoms`` that are not literals."""
    return [atom for atom in atoms if not isinstance(atom, core.Literal)]


def _divided(jaxpr: core.Jaxpr, drawn: Sequence[core.Var]) -> tuple[Equations, Equations]:
    """The equations that do not depend on ``drawn``, and those that do with the cheap ones they read."""
    depending = depending_on(jaxpr, drawn)
    early = [equation for equation in jaxpr.eqns if depending.isdisjoint(equation.outvars)]
    late: Equations = []
    needed = set(variables(jaxpr.outvars))
    for equation in reversed(jaxpr.eqns):
        repeated = equation.primitive.name in _CHEAP or not depending.isdisjoint(equation.outvars)
        if repeated and not needed.isdisjoint(equation.outvars):
            needed.update(variables(equation.invars))
            late.append(equation)
    return early, late[::-1]


def _needed(equations: Equations, outputs: Sequence[Any], made: set[core.Var]) -> list[core.Var]:
    """The variables that ``equations`` and ``outputs`` read but do not make, each once, in order."""
    made = made.union(*(equation.outvars for equation in equations))
    read = [*(atom for equation in equations for atom in equation.invars), *outputs]
    return [variable for variable in dict.fromkeys(variables(read)) if variable not in made]


def _runner(
    whole: core.ClosedJaxpr, inputs: Sequence[core.Var], equations: Equations, outputs: Sequence[Any]
) -> Callable[..., list[jax.Array]]:
    part = core.Jaxpr(whole.jaxpr.constvars, inputs, outputs, equations)
    return core.jaxpr_as_fun(core.ClosedJaxpr(part, whole.consts))
