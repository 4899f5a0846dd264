"""Gradients that are NaN although the loss is finite: the operation whose derivative is infinite, such as √0.

Read from the traced program, as one-sided sigmoids are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks import training
from kilter._diagnosis.checks.endings import last_two
from kilter._diagnosis.checks.probe import check_finite
from kilter._diagnosis.context import Context
from kilter._engine.arrays import collect, pick
from kilter._engine.step import training_loss, without_optimizer
from kilter._models.causes import LIBRARIES, OWN
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.tracing import forward_program
from kilter._models.variables import fitting, pull
from kilter._records import Evidence, Finding
from kilter._xla.equations import computed, interpreted
from kilter.errors import KilterError

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


_ROWS: Final = 1_024
_FEW: Final = 8
_MAY_BE: Final = ("sigmoid", None)


def check_singular(context: Context) -> list[Finding]:
    """An operation with an infinite derivative, such as a root of 0, where gradients become NaN."""
    if context.probe is None or not len(context.probe) or check_finite(context):
        return []
    norms, gradients = (context.probe.values[name][0] for name in ("weight_norm", "weight_gradient_norm"))
    lost = np.isfinite(norms).any() and not np.isfinite(gradients[np.isfinite(norms)]).all()
    if not lost and not training.check_finite(context):
        return []
    found = _found(context)
    if found is None:
        return []
    evidence = [
        Evidence("inputs where its derivative is infinite", found.count, 0, f"of {found.size} numbers")
    ]
    words = {"name": found.name, "place": f" ({found.line})" if found.line else "", "count": found.count}
    return [finding("infinite-derivative", "severe", ["loss"], evidence, **words)]


def check_one_sided(context: Context) -> list[Finding]:
    """A sigmoid of a value that is never negative, such as a distance: the output cannot be 0."""
    if context.probe is None or all(one.activation not in _MAY_BE for one in context.outputs):
        return []
    try:
        batch = collect(pick(context.x, slice(min(_FEW, context.rows)))).data[0]
        with fitting(context.model, (batch, None, None)):
            sides = one_sided(forward_program(context.model, batch))
    except (KilterError, *FOREIGN_ERRORS):
        return []
    known = [last_two(context.layers, one)[1] is not None for one in context.outputs]
    if len(sides) != len(known):
        return []
    evidence = [Evidence("lowest possible output", 0.5, 0.0, "a sigmoid of values of either sign")]
    why = "The output never falls below 0.5, so it cannot predict 0. Put a Dense(1) between them"
    words = {"first": "a value that is never negative, such as a distance,", "last": "sigmoid", "why": why}
    return [
        finding("activation-before-softmax", "severe", [one.where], evidence, ("shift-logits",), **words)
        for one, half, reported in zip(context.outputs, sides, known, strict=True)
        if half and not reported
    ]


def _found(context: Context) -> Singular | None:
    """The operation, on the first rows; None if the loss cannot be traced on them."""
    rows = min(_ROWS, context.rows)
    try:
        batch = collect(*pick((context.x, context.y, context.row_weights), slice(rows))).data
        with fitting(context.model, batch):
            state = without_optimizer(context.model, pull(context.model))
            flat, structure = jax.tree.flatten((state, batch))

            def loss(*leaves: Any) -> Any:
                return training_loss(context.model, *jax.tree.unflatten(structure, leaves))[0]

            return singular(jax.make_jaxpr(loss)(*flat), *flat)
    except (KilterError, *FOREIGN_ERRORS):
        return None


PROBE = (check_one_sided,)
TRAINING = (check_singular,)
