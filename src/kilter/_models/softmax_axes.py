"""Along which axis a model's softmaxes run, and how their weights are used: read from the traced program."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import jax.numpy as jnp
import numpy as np

from kilter._xla.equations import computed, interpreted

Problem = Literal["", "rows", "single", "other"]

# Operations that keep the meaning of each axis.
_ELEMENTWISE: Final = ("convert_element_type", "mul", "select_n", "stop_gradient", "copy", "max")


@dataclass(frozen=True, eq=False)
class Softmax:
    """A softmax over ``axes`` of an array of ``shape``; ``now`` are those axes after transpositions.

    ``variable``: what the program calls its result.
    """

    axes: tuple[int, ...]
    shape: tuple[int, ...]
    now: tuple[int, ...]
    variable: Any


@dataclass(frozen=True)
class Misused:
    """A softmax over an axis that makes its weights useless.

    ``problem``: "rows" if it runs over the rows of the batch, "single" over an axis of length 1 (all weights
    are then 1), "other" over another axis than the one that its weights are summed over.
    """

    problem: Problem
    axes: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """A step on the way to a softmax: the exponentials, or their sum over ``axes``."""

    origin: Any
    axes: tuple[int, ...] | None = None


def misused_softmaxes(program: Any, rows: int) -> tuple[Misused, ...]:
    """The misused softmaxes in a traced forward pass of ``rows`` rows (a closed jaxpr), each once.

    A softmax that is an output of the model is left out, and so is whatever runs in a loop.
    """
    found: list[tuple[Problem, Softmax]] = []
    ends = _walk(program.jaxpr, rows, found)
    last = [one.shape for one in ends if isinstance(one, Softmax)]
    used: list[tuple[Problem, Softmax]] = [
        (problem, one) for problem, one in found if problem == "other" or (problem and one.shape not in last)
    ]
    listed: dict[Misused, None] = {}
    for problem, one in used:
        listed[Misused(problem, one.axes, one.shape)] = None
    return tuple(listed)


def spreads(program: Any, rows: int, *arguments: Any) -> list[float]:
    """For each softmax inside a traced forward pass: its median entropy over that of equal weights."""
    found: list[tuple[Problem, Softmax]] = []
    ends = _walk(program.jaxpr, rows, found)
    last = {id(one.variable) for one in ends if isinstance(one, Softmax)}
    inside = {id(one.variable): one.axes for _, one in found if id(one.variable) not in last}
    made: list[float] = []

    def one(equation: Any, given: Sequence[Any], _: Any) -> list[Any]:
        results = computed(equation, given)
        axes = inside.get(id(equation.outvars[0]))
        length = 1 if axes is None else np.prod([results[0].shape[axis] for axis in axes])
        if length > 1:
            shares = jnp.asarray(results[0], jnp.float32)
            entropy = -jnp.sum(shares * jnp.log(jnp.maximum(shares, 1e-30)), axis=axes)
            made.append(float(jnp.median(entropy)) / float(np.log(length)))
        return results

    if inside:
        interpreted(program.jaxpr, [*program.consts, *arguments], one, lambda value: value)
    return made


def _walk(jaxpr: Any, rows: int, found: list[tuple[Problem, Softmax]]) -> list[Any]:
    """What is known of the outputs; the softmaxes are added to ``found``."""

    def after(equation: Any, given: list[Any], _: Any) -> list[Any]:
        return [_after(equation, given, rows, found), *[None] * (len(equation.outvars) - 1)]

    unknown: list[Any] = [None] * (len(jaxpr.constvars) + len(jaxpr.invars))
    return interpreted(jaxpr, unknown, after, lambda value: None)


def _after(
    equation: Any, given: Sequence[Any], rows: int, found: list[tuple[Problem, Softmax]]
) -> Softmax | _Part | None:
    """What is known of the equation's first output."""
    name, shape = equation.primitive.name, tuple(equation.outvars[0].aval.shape)
    if name == "exp":
        return _Part(equation.outvars[0])
    first = next((one for one in given if one is not None), None)
    if first is None:
        return None
    if isinstance(first, _Part):
        return _toward(equation, given, first, rows, found)
    if name == "dot_general":
        found.extend(_contracted(equation, given))
        return None
    if name == "transpose":
        order = list(equation.params["permutation"])
        return replace(first, now=tuple(order.index(axis) for axis in first.now))
    same = shape == tuple(equation.invars[given.index(first)].aval.shape)
    return first if same and name in _ELEMENTWISE else None


def _toward(
    equation: Any, given: Sequence[Any], part: _Part, rows: int, found: list[tuple[Problem, Softmax]]
) -> Softmax | _Part | None:
    name, shape = equation.primitive.name, tuple(equation.outvars[0].aval.shape)
    if name == "reduce_sum" and part.axes is None:
        return replace(part, axes=tuple(equation.params["axes"]))
    if name == "div" and len(given) == 2 and all(isinstance(one, _Part) for one in given):
        top, bottom = given
        if top.axes is None and bottom.axes is not None and top.origin is bottom.origin:
            made = Softmax(bottom.axes, shape, bottom.axes, equation.outvars[0])
            found.append(("", made))
            if len(shape) > 1 and 0 in bottom.axes and shape[0] == rows:
                found.append(("rows", made))
            elif len(shape) > 2 and all(shape[axis] == 1 for axis in bottom.axes):
                found.append(("single", made))
            return made
    if name in ("broadcast_in_dim", "reshape", "convert_element_type", "stop_gradient", "copy", "exp"):
        return part
    return None


def _contracted(equation: Any, given: Sequence[Any]) -> Iterator[tuple[Problem, Softmax]]:
    """A softmax over an axis that is not summed over where its weights are multiplied with values."""
    (contracted, batched) = equation.params["dimension_numbers"]
    for index, one in enumerate(given[:2]):
        if not isinstance(one, Softmax) or not batched[index] or 0 in one.axes:
            continue
        if not {*contracted[index]} & {*one.now}:
            yield "other", one
