"""Operations of a traced program whose derivative is infinite at a value that they get, such as √0."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from kilter._models.causes import LIBRARIES, OWN

_NAMES: Final = {"sqrt": "square root", "rsqrt": "square root", "log": "logarithm", "pow": "power"}
_AT_ZERO: Final[dict[str, Callable[..., Any]]] = {
    "sqrt": lambda x: x <= 0,
    "rsqrt": lambda x: x <= 0,
    "log": lambda x: x <= 0,
    "pow": lambda x, y: (x <= 0) & (y < 1) & (y != 0),
}
# Called with the arguments that their inner program takes.
_INNER: Final = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_LOOPS: Final = ("scan", "while", "cond")


@dataclass(frozen=True)
class Singular:
    """A ``name``, such as "square root", of ``count`` zeros among ``size`` numbers; ``line``: its code, or ""."""

    name: str
    count: int
    size: int
    line: str


def singular(program: Any, *arguments: Any) -> Singular | None:
    """The first operation of a closed jaxpr without a finite derivative at ``arguments``; None without one.

    What runs in a loop is not looked into.
    """
    return next(_walk(program.jaxpr, program.consts, list(arguments), []), None)


def _walk(jaxpr: Any, constants: Any, given: list[Any], results: list[Any]) -> Iterator[Singular]:
    """The singular operations, and the outputs appended to ``results``."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *given], strict=True))

    def of(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else known[variable]

    for equation in jaxpr.eqns:
        values, name = list(map(of, equation.invars)), equation.primitive.name
        inner = next((equation.params[one] for one in _INNER if one in equation.params), None)
        made: list[Any] = []
        program = getattr(inner, "jaxpr", inner)
        if inner is not None and name not in _LOOPS and len(program.invars) == len(values):
            yield from _walk(program, getattr(inner, "consts", ()), values, made)
        else:
            if name in _AT_ZERO:
                bad = np.asarray(_AT_ZERO[name](*map(jnp.asarray, values)))
                if bad.any():
                    yield Singular(_NAMES[name], int(bad.sum()), bad.size, _line(equation))
            answer = equation.primitive.bind(*values, **equation.params)
            made = list(answer) if equation.primitive.multiple_results else [answer]
        known |= dict(zip(equation.outvars, made, strict=True))
    results += map(of, jaxpr.outvars)


def _line(equation: Any) -> str:
    """The deepest line of the user's own code that made an equation; "" if it is not the user's."""
    traceback = equation.source_info.traceback
    for frame in () if traceback is None else traceback.frames:
        if frame.file_name.startswith(OWN):
            return ""  # what called kilter comes after
        if not frame.file_name.startswith(LIBRARIES):
            return f"{Path(frame.file_name).name}, line {frame.line_num}"
    return ""
