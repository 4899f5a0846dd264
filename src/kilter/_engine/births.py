"""Where the first number that is not finite was born: a training step run operation by operation."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from kilter._models.evaluation import inner_program

_SCOPE: Final = re.compile(r"[\w.-]+")
_NOT_NAMES: Final = "jvp transpose vmap jit pjit remat checkpoint while body cond"


@dataclass(frozen=True)
class Birth:
    """The operation that made a number that is not finite out of finite ones.

    ``operation``: JAX's name. ``scope``: the names around it, outermost first, such as layers and losses.
    ``direction``: "forward", or "backward" for a gradient. ``inputs``: least and largest value of each input.
    ``made``: "NaN" or "infinity".
    """

    operation: str
    scope: tuple[str, ...]
    direction: str
    inputs: tuple[tuple[float, float], ...]
    made: str

    def layer(self, names: Iterable[str]) -> str:
        """The innermost of ``names`` that the operation is in, else the innermost name, else ""."""
        known, inward = set(names), self.scope[::-1]
        return next((one for one in inward if one in known), next(iter(inward), ""))


@dataclass(eq=False)
class _Value:
    array: Any
    number: int  # in the order of computation; inputs come first
    maker: "_Made | None" = None

    def __post_init__(self) -> None:
        self.finite = is_finite(self.array)


@dataclass(eq=False)
class _Made:
    equation: Any
    stack: str
    inputs: list[_Value]


class _Interpreter:
    def __init__(self) -> None:
        self._count = 0

    def value(self, array: Any, maker: _Made | None = None) -> _Value:
        self._count += 1
        return _Value(array, self._count, maker)

    def run(
        self, jaxpr: Any, constants: Sequence[_Value], inputs: Sequence[_Value], outer: str = ""
    ) -> list[_Value]:
        held: dict[Any, _Value] = {}

        def of(variable: Any) -> _Value:
            return self.value(variable.val) if isinstance(variable, Literal) else held[variable]

        held.update(zip(jaxpr.constvars, constants, strict=True))
        held.update(zip(jaxpr.invars, inputs, strict=True))
        for equation in jaxpr.eqns:
            given = [of(one) for one in equation.invars]
            stack = f"{outer}/{equation.source_info.name_stack}"
            held.update(zip(equation.outvars, self._outputs(equation, given, stack), strict=True))
        return [of(one) for one in jaxpr.outvars]

    def _outputs(self, equation: Any, given: list[_Value], stack: str) -> list[_Value]:
        inner = inner_program(equation)
        if inner is not None:
            body, constants = inner
            return self.run(body, [self.value(one) for one in constants], given, stack)
        made = _Made(equation, stack, given)
        primitive = equation.primitive
        found = primitive.bind(*(one.array for one in given), **equation.params)
        return [self.value(one, made) for one in (found if primitive.multiple_results else [found])]


def first_birth(step: Any, *arguments: Any) -> tuple[Birth | None, bool]:
    """Where the first number that is not finite, among the results of ``step``, came from.

    Returns None if there is none, or if it was in the arguments; and whether it was.
    """
    closed = jax.make_jaxpr(step)(*arguments)
    interpreter = _Interpreter()
    inputs = [interpreter.value(one) for one in jax.tree.leaves(arguments)]
    constants = [interpreter.value(one) for one in closed.consts]
    found = interpreter.run(closed.jaxpr, constants, inputs)
    broken = [one for one in found if not one.finite]
    if not broken:
        return None, False
    first = min(broken, key=lambda one: one.number)
    while first.maker is not None:
        causes = [one for one in first.maker.inputs if not one.finite]
        if not causes:
            return _birth(first, backward=first not in _forward(found)), False
        first = min(causes, key=lambda one: one.number)
    return None, True


def _forward(found: Sequence[_Value]) -> set[_Value]:
    """What reaches a result without a gradient: JAX computes parts of derivatives within the forward pass."""
    reached, left = set[_Value](), list(found)
    while left:
        value = left.pop()
        if value not in reached and (value.maker is None or "transpose(" not in value.maker.stack):
            reached.add(value)
            left += [] if value.maker is None else value.maker.inputs
    return reached


def _birth(value: _Value, *, backward: bool) -> Birth:
    made = value.maker
    assert made is not None
    scope = tuple(one for one in _SCOPE.findall(made.stack) if one not in _NOT_NAMES.split())
    return Birth(
        operation=made.equation.primitive.name,
        scope=scope,
        direction="backward" if backward else "forward",
        inputs=tuple(_range(one.array) for one in made.inputs if np.size(one.array)),
        made="NaN" if bool(jnp.any(jnp.isnan(value.array))) else "infinity",
    )


def _range(array: Any) -> tuple[float, float]:
    try:
        return float(jnp.min(array)), float(jnp.max(array))
    except (TypeError, ValueError):  # a key of random numbers
        return 0.0, 0.0


def is_finite(array: Any) -> bool:
    """Whether every number of an array is finite; True for whole numbers and keys of random numbers."""
    kind = getattr(array, "dtype", None) or np.asarray(array).dtype
    return not jnp.issubdtype(kind, jnp.inexact) or bool(jnp.all(jnp.isfinite(jnp.asarray(array))))
