"""What a traced program shows: operations with an infinite derivative, such as √0, and one-sided sigmoids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from kilter._models.causes import LIBRARIES, OWN
from kilter._xla.equations import computed, interpreted

_NAMES: Final = {
    "sqrt": "square root of 0", "rsqrt": "square root of 0", "cbrt": "cube root of 0", "pow": "power of 0",
    "log": "logarithm of 0", "log1p": "logarithm of 0", "acos": "arc cosine of 1", "asin": "arc sine of 1",
    "acosh": "inverse hyperbolic cosine of 1", "atanh": "inverse hyperbolic tangent of 1",
    "erf_inv": "inverse error function of 1",
}  # fmt: skip
_AT_ZERO: Final[dict[str, Callable[..., Any]]] = {
    "sqrt": lambda x: x <= 0,
    "rsqrt": lambda x: x <= 0,
    "cbrt": lambda x: x == 0,
    "log": lambda x: x <= 0,
    "log1p": lambda x: x <= -1,
    **dict.fromkeys(("acos", "asin", "atanh", "erf_inv"), lambda x: jnp.abs(x) >= 1),
    "acosh": lambda x: x <= 1,
    "pow": lambda x, y: (x <= 0) & (y < 1) & (y != 0),
}
# What is known of a value: never negative; the sigmoid of such a value, which is at least 0.5.
_POSITIVE: Final = 1
_HALF: Final = 2
_ALWAYS: Final = ("sqrt", "abs", "exp", "exp2", "square")
_IF_ALL: Final = ("add", "add_any", "mul", "div", "concatenate", "min")
_MOVING: Final = (
    *("reshape", "broadcast_in_dim", "squeeze", "transpose", "convert_element_type", "copy", "slice"),
    *("stop_gradient", "reduce_sum", "reduce_max", "reduce_min", "expand_dims"),
)


@dataclass(frozen=True)
class Singular:
    """A ``name``, such as "square root of 0", at ``count`` of ``size`` numbers.

    ``line``: where the user's code has it; "" if it is not there.
    """

    name: str
    count: int
    size: int
    line: str


def singular(program: Any, *arguments: Any) -> Singular | None:
    """The first operation of a program (a closed jaxpr) that has no finite derivative; None without one."""
    found: list[Singular] = []

    def one(equation: Any, given: Sequence[Any], _: Any) -> list[Any]:
        name = equation.primitive.name
        if name in _AT_ZERO and not found:
            bad = np.asarray(_AT_ZERO[name](*map(jnp.asarray, given)))
            if bad.any():
                found.append(Singular(_NAMES[name], int(bad.sum()), bad.size, _line_of(equation)))

        return computed(equation, given)

    interpreted(program.jaxpr, [*program.consts, *arguments], one, lambda value: value)
    return found[0] if found else None


def _line_of(equation: Any) -> str:
    """The deepest line of the user's own code that made an equation; "" if it is not the user's."""
    traceback = equation.source_info.traceback
    for frame in () if traceback is None else traceback.frames:
        if frame.file_name.startswith(OWN):
            return ""  # the frames after it called kilter
        if not frame.file_name.startswith(LIBRARIES):
            return f"{Path(frame.file_name).name}, line {frame.line_num}"
    return ""


def one_sided(program: Any) -> list[bool]:
    """For each output of a closed jaxpr, whether it is the sigmoid of a value that is never negative."""
    jaxpr = program.jaxpr

    def after(equation: Any, given: list[int], _: Any) -> list[int]:
        return [_after(equation, given)] * len(equation.outvars)

    unknown = [0] * (len(jaxpr.constvars) + len(jaxpr.invars))
    return [one == _HALF for one in interpreted(jaxpr, unknown, after, _sign)]


def _sign(value: Any) -> int:
    """What is known of a constant: of single numbers, not of arrays."""
    return _POSITIVE if not isinstance(value, jax.Array) and np.all(np.asarray(value) >= 0) else 0


def _after(equation: Any, given: Sequence[int]) -> int:
    name = equation.primitive.name
    if name == "logistic":
        return _HALF if given[0] else _POSITIVE
    if name in _MOVING:
        return min(given[0], _POSITIVE) if name.startswith("reduce") else given[0]
    if name == "select_n":
        return _POSITIVE if all(given[1:]) else 0  # the first one is the condition
    if name == "integer_pow":
        return _POSITIVE if equation.params["y"] % 2 == 0 or given[0] else 0
    if name == "max":
        return _POSITIVE if any(given) else 0
    same = name == "mul" and equation.invars[0] is equation.invars[1]
    return _POSITIVE if name in _ALWAYS or same or (name in _IF_ALL and all(given)) else 0
