"""Run a traced program operation by operation, and see the inputs and outputs of each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from kilter._models.causes import LIBRARIES, OWN

See = Callable[[Any, Sequence[Any], Sequence[Any]], None]
"""``(equation, given, made)`` with the values of its inputs and outputs."""

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


def inner_program(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The program that an equation calls with its own inputs, and its constants; None for any other."""
    inner = equation.params.get(_CALLS.get(equation.primitive.name))
    if inner is None:
        return None
    program = getattr(inner, "jaxpr", inner)
    same = len(program.invars) == len(equation.invars)
    return (program, getattr(inner, "consts", ())) if same else None


def evaluate(jaxpr: Any, constants: Sequence[Any], given: Sequence[Any], see: See) -> list[Any]:
    """The outputs of a program; ``see`` gets every operation outside of loops."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *given], strict=True))

    def of(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else known[variable]

    for equation in jaxpr.eqns:
        values, inner = list(map(of, equation.invars)), inner_program(equation)
        if inner is not None:
            made = evaluate(*inner, values, see)
        else:
            answer = equation.primitive.bind(*values, **equation.params)
            made = list(answer) if equation.primitive.multiple_results else [answer]
            see(equation, values, made)
        known |= dict(zip(equation.outvars, made, strict=True))
    return list(map(of, jaxpr.outvars))


def line_of(equation: Any) -> str:
    """The deepest line of the user's own code that made an equation; "" if it is not the user's."""
    traceback = equation.source_info.traceback
    for frame in () if traceback is None else traceback.frames:
        if frame.file_name.startswith(OWN):
            return ""  # the frames after it called kilter
        if not frame.file_name.startswith(LIBRARIES):
            return f"{Path(frame.file_name).name}, line {frame.line_num}"
    return ""
