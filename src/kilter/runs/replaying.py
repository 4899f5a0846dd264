"""``kilter replay``: the step that broke a training run, run again alone, operation by operation.

It finds the operation that made the first non-finite number.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.augmenting import Augment, as_augmentation
from kilter._engine.divergence import Event
from kilter._engine.feed import Block
from kilter._engine.loop import training
from kilter._engine.scheduling import Schedule, scaled
from kilter._models.variables import State, build, copied, push, variables
from kilter._transfer.fine_tuning import enter
from kilter._xla.equations import computed, interpreted
from kilter.errors import RunError
from kilter.runs.build import prepare
from kilter.runs.checksums import sha256_of_arrays
from kilter.runs.flights import Flight, batch_of, read_flight
from kilter.runs.reading import RECIPE, require_run
from kilter.runs.recipe_data import recipe_of_run
from kilter.schedules import Performance

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


@dataclass(frozen=True)
class Replay:
    """A recorded step, run again.

    ``same_bits``: whether it gave the same numbers as in the training. ``birth``: the operation that made the
    first number that is not finite, in ``layer``; None if none was made. ``in_data``: the batch has one.
    ``in_state``: the first weight or slot that had one before the step, "" if none had.
    """

    event: Event
    same_bits: bool
    birth: Birth | None
    layer: str
    in_data: bool
    in_state: str = ""

    @property
    def sentences(self) -> list[str]:
        """The result as text for the user."""
        event = self.event
        found = [
            f"Step {event.iteration}: step {event.step + 1} of epoch {event.epoch + 1}, "
            + ("the loss or a weight was not finite." if event.kind == "not finite" else "the loss jumped."),
            "The replay gave the same bits as the training."
            if self.same_bits
            else "The replay gave other bits than the training: another machine, device or version.",
        ]
        if event.rows is not None:
            shown = ", ".join(map(str, event.rows[:20]))
            found.append(f"Rows of the batch: {shown}{', …' if len(event.rows) > 20 else ''}.")
        if self.in_state:
            found.append(f"{self.in_state} was not finite before the step.")
        elif self.in_data:
            found.append("The batch itself has numbers that are not finite.")
        elif self.birth is None:
            found.append("Every number of the step is finite.")
        else:
            birth = self.birth
            ranges = " and ".join(f"{low:.3g} to {high:.3g}" for low, high in birth.inputs)
            found.append(
                f"The first {birth.made} was born in {self.layer or 'the step'}, "
                f"in the {birth.direction} pass: operation {birth.operation} of values from {ranges}."
            )
            if birth.operation == "convert_element_type" and not self.layer:
                found.append(
                    "The batch has values too large for the type that the model computes in: scale the input."
                )
        return found


def replay(path: Path | str, step: int | None = None, *, allow_code: bool = False) -> Replay:
    """Repeat one recorded step of the run at ``path``, alone.

    ``step`` is the optimiser's iteration, as the journal and the error name it; by default the last one.

    ``allow_code``: see :func:`kilter.runs.train`. Raises :class:`RunError` if no such step was recorded, or
    for a run of :func:`kilter.fit`, whose model only its caller has: see :func:`replay_with`.
    """
    path = Path(path)
    require_run(path)
    flight = read_flight(path, step)
    if not (path / RECIPE).is_file():
        raise RunError(
            expected=f"a run of a recipe in {path}",
            received="a run of kilter.fit, which does not store the model",
            remedy="use kilter.runs.replay_with(run, model), with the compiled model",
        )
    prepared = prepare(recipe_of_run(path), allow_code=allow_code)
    schedule: Any = prepared.spec.schedule
    for phase in prepared.phases:
        if phase.begin <= flight.event.epoch < phase.end:
            enter(prepared.model, phase, prepared.recompile)
            schedule = phase.schedule(prepared.batches)
    return _run(flight, prepared.model, schedule, prepared.spec.augment)


def replay_with(
    path: Path | str,
    model: keras.Model,
    step: int | None = None,
    *,
    schedule: Schedule | Performance | None = None,
    augment: Augment | None = None,
) -> Replay:
    """:func:`replay` for a run of :func:`kilter.fit`, whose model is not in the run directory.

    ``model``: compiled as it was then; its weights do not matter. ``schedule`` and ``augment``: as they were
    passed to :func:`kilter.fit`. ``path`` and ``step`` are as for :func:`replay`.
    """
    return _run(read_flight(Path(path), step), model, schedule, augment)


def _run(flight: Flight, model: keras.Model, schedule: Any, augment: Augment | None) -> Replay:
    batch = jax.tree.map(jnp.asarray, batch_of(flight))
    state = _fitting(flight, model, batch)
    driven = None if isinstance(schedule, Performance) else schedule
    driven = None if driven is None else scaled(driven, flight.event.rate_before)
    runner = training(model, driven, as_augmentation(augment), 0)
    runner.given = tuple(flight.given)
    rows = len(jax.tree.leaves(batch)[0])
    order = jnp.arange(rows, dtype=jnp.int32).reshape(1, -1)
    block = Block(batch, order, 1, partial=flight.event.partial)
    after, _ = runner.call(copied(state), block, 0, 1)
    birth, given = first_birth(runner.step(), state, batch, *map(jnp.asarray, flight.given))
    pairs = zip(variables(model), state, strict=True)
    held = ((one.path, value) for pair in pairs for one, value in zip(*pair, strict=True))
    broken = next((path for path, value in held if given and not is_finite(value)), "")
    names = [layer.name for layer in model._flatten_layers() if layer is not model]
    return Replay(
        flight.event,
        sha256_of_arrays(jax.tree.leaves(after)) == flight.after_sha256,
        birth,
        "" if birth is None else birth.layer(names),
        given and not broken,
        broken,
    )


def _fitting(flight: Flight, model: keras.Model, batch: Any) -> State:
    """The recorded state, put into the model too; :class:`RunError` if the model is another one."""
    build(model, tuple(batch))
    wanted = [tuple(one.shape) for group in variables(model) for one in group]
    found = [np.shape(one) for group in flight.before for one in group]
    if wanted != found:
        raise RunError(
            expected="the model that was trained, compiled as it was",
            received="a model whose variables have other shapes",
            remedy="pass the same model",
        )
    state = State(*([jnp.asarray(one) for one in group] for group in flight.before))
    push(copied(state), model)
    return state
