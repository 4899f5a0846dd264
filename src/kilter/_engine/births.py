"""Where the first number that is not finite was born: a training step run operation by operation."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from kilter._xla.equations import computed, interpreted

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


def first_birth(step: Any, *arguments: Any) -> tuple[Birth | None, bool]:
    """Where the first number that is not finite, among the results of ``step``, came from.

    Returns None if there is none, or if it was in the arguments; and whether it was.
    """
    closed, numbers = jax.make_jaxpr(step)(*arguments), itertools.count(1)

    def value(array: Any, maker: _Made | None = None) -> _Value:
        return _Value(array, next(numbers), maker)

    def one(equation: Any, given: list[_Value], within: tuple[Any, ...]) -> list[_Value]:
        stack = "/".join(str(each.source_info.name_stack) for each in (*within, equation))
        made = _Made(equation, stack, given)
        return [value(array, made) for array in computed(equation, [each.array for each in given])]

    given = [value(array) for array in (*closed.consts, *jax.tree.leaves(arguments))]
    found = interpreted(closed.jaxpr, given, one, value)
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
