"""The divergence guard: a training run that breaks goes back to its last good state, at a lower rate.

A segment is a block of the feed, or :data:`SEGMENT_STEPS` steps of a longer one. After every chunk the guard
looks whether the loss and the weights are finite, and after every segment whether its mean loss has jumped.
If not, the first bad step is found by running the segment again in parts, kept for
:func:`kilter.runs.replay`, and the segment starts again at a tenth of the learning rate. Where chunks are cut
depends on the speed of the machine, segments do not: the same training breaks and recovers in the same way.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.feed import Block
from kilter._engine.processes import count
from kilter._engine.step_loop import batch_at
from kilter._models.optimizers import optimizer_slot, slot_index
from kilter._models.variables import State, copied, variables
from kilter.errors import ModelError

SEGMENT_STEPS: Final = 1000
SMALL_STATE: Final = 1 << 26  # bytes; to copy less than this would take longer than a short epoch may
ATTEMPTS: Final = 3
LOWER: Final = 0.1
# A jump: above the worst of the start, and above the median of the last losses by so many deviations. A loss
# that varies little would otherwise jump by rounding, so a deviation is at least this share of the median.
DEVIATIONS: Final = 10.0
LEAST_SHARE: Final = 0.5
REMEMBERED: Final = 20
ENOUGH: Final = 5


@dataclass(frozen=True)
class Event:
    """A step at which a training broke. `epoch` and `step` count from 0, `iteration` is the optimiser's.

    ``rows``: the numbers of the batch's rows, None for a source of batches. ``rate_before``, ``rate``: the
    factor of the learning rate in the step, and from now on. ``partial``: the batch was smaller than others.
    """

    kind: Literal["not finite", "spike"]
    epoch: int
    step: int
    iteration: int
    rows: tuple[int, ...] | None
    rate_before: float
    rate: float
    partial: bool = False

    @property
    def sentence(self) -> str:
        """What happened, for people, counted from 1."""
        what = "the loss or a weight was not finite" if self.kind == "not finite" else "the loss jumped"
        return (
            f"{what} after step {self.step + 1} of epoch {self.epoch + 1} (iteration {self.iteration}); "
            f"training went back and continued with {self.rate:g} times the learning rate"
        )


@dataclass(frozen=True, eq=False)
class Broken:
    """What a replay of the step needs: the state before it, its batch, and bits of the state after it."""

    event: Event
    before: State
    batch: Any
    after: State
    given: tuple[Any, ...]


@dataclass
class Segment:
    """Where the running segment began, and the state there."""

    block: Block
    epoch: int
    place: int  # of the block in the epoch, in steps
    start: int
    stop: int
    state: State

    @property
    def share(self) -> float:
        """Its steps as a share of those of a usual segment: below 1 at the end of an epoch."""
        steps = self.stop - self.start
        return steps / max(steps, min(SEGMENT_STEPS, self.place + self.start))


@dataclass
class DivergenceGuard:
    """Watches the chunks of a training run of ``model``; ``report`` gets every :class:`Broken` step.

    ``scheduled``: a schedule sets the learning rate, of which ``rate`` is a factor; else it is a number in
    the state. ``numbered``: blocks know the numbers of their rows.
    """

    model: keras.Model
    scheduled: bool
    numbered: bool
    report: Callable[[Broken], None]
    rate: float = 1.0
    attempts: int = 0
    losses: list[float] = field(default_factory=list)
    first: float = math.nan
    _segment: Segment | None = field(default=None, init=False)

    def record(self) -> dict[str, Any]:
        """What a checkpoint needs: numbers."""
        losses = [str(one) for one in self.losses]
        return {"rate": self.rate, "attempts": self.attempts, "losses": losses, "first": str(self.first)}

    def restore(self, record: dict[str, Any] | None) -> None:
        """Restore the numbers that :meth:`record` returned."""
        if record:
            self.rate, self.attempts = float(record["rate"]), int(record["attempts"])
            self.losses, self.first = list(map(float, record["losses"])), float(record["first"])

    def enter(self, block: Block, place: tuple[int, int], start: int, state: State) -> int:
        """The end of the segment that step ``start`` of ``block`` is in; remembers the state at its start.

        ``place``: the epoch, and the steps in it before the block.
        """
        held = self._segment
        if held is None or held.block is not block or not held.start <= start < held.stop:
            stop = min(block.steps, (start // SEGMENT_STEPS + 1) * SEGMENT_STEPS)
            kept = copied(state) if self.takes else state
            self._segment = held = Segment(block, *place, start, stop, kept)
        return held.stop

    def broke(self, state: State, stop: int) -> Literal["not finite", "spike"] | None:
        """What is wrong with the state after step ``stop`` - 1 of the segment's block, if anything."""
        held = self._segment
        assert held is not None  # enter() was called
        if not self._is_finite(state):  # host and device meet
            return "not finite"
        if stop < held.stop:
            return None
        mean = self._mean(held.state, state, fresh=held.place + held.start == 0)
        # One row with an unusual target can be most of the loss of an epoch. In a short segment it would look
        # like a jump, so the loss is spread over the steps of a usual one.
        if self._jumped(mean * held.share):
            return "spike"
        if held.share == 1.0:
            self._remember(mean)
        self._segment = None
        return None

    def recover(
        self,
        kind: Literal["not finite", "spike"],
        stop: int,
        call: Callable[[State, Block, int, int], tuple[State, Any]],
        given: tuple[Any, ...],
    ) -> tuple[State, int]:
        """The state and step to go on with, at a lower rate. ``call`` runs steps of a block.

        Raises :class:`ModelError` after :data:`ATTEMPTS` times, or if the rate cannot be lowered.
        """
        held = self._segment
        assert held is not None
        step, before = (self._first_bad if kind == "not finite" else self._worst)(held, stop, call)
        after, _ = call(copied(before), held.block, step, step + 1)
        rows = np.asarray(held.block.order[step])
        index = slot_index(self.model, "iterations")
        can_lower = self._can_lower()
        self.attempts += 1
        rate_before, self.rate = self.rate, self.rate * LOWER
        event = Event(
            kind,
            held.epoch,
            held.place + step,
            int(before.optimizer[index]),
            tuple(rows.tolist()) if self.numbered else None,
            rate_before,
            self.rate,
            held.block.partial,
        )
        batch = batch_at(held.block.data, held.block.order, step, split=held.block.split)
        self.report(Broken(event, before, batch, after, given))
        if self.attempts > ATTEMPTS or not can_lower:
            raise _given_up(event, self.attempts, can_lower=can_lower)
        state = copied(held.state)
        if not self.scheduled:
            index = slot_index(self.model, "learning_rate")
            lowered = jnp.asarray(state.optimizer[index] * LOWER, state.optimizer[index].dtype)
            slots = [*state.optimizer[:index], lowered, *state.optimizer[index + 1 :]]
            held.state = state._replace(optimizer=slots)
            state = copied(held.state)
        return state, held.start

    def _can_lower(self) -> bool:
        slot = optimizer_slot(self.model, "learning_rate")
        return self.scheduled or (slot is not None and slot.index is not None)

    def _first_bad(self, held: Segment, stop: int, call: Any) -> tuple[int, State]:
        """The first step after which a number is not finite, and the state before it."""
        low, high, before = held.start, stop, held.state  # good before ``low``, bad after ``high`` - 1
        while high - low > 1:
            middle = (low + high) // 2
            state, _ = call(copied(before), held.block, low, middle)
            if self._is_finite(state):
                low, before = middle, state
            else:
                high = middle
        return low, before

    def _worst(self, held: Segment, stop: int, call: Any) -> tuple[int, State]:
        """The step of the segment with the highest loss, and the state before it."""
        state, worst = held.state, (-math.inf, held.start, held.state)
        for step in range(held.start, stop):
            after, _ = call(copied(state), held.block, step, step + 1)
            loss = self._mean(state, after, fresh=held.place + step == 0)
            if loss > worst[0]:
                worst = loss, step, state
            state = after
        return worst[1], worst[2]

    @cached_property
    def takes(self) -> bool:
        """Whether programs take the memory of the state that they get, so that the guard needs a copy.

        Not of a small one: copying it would cost more than the third state that then exists for a moment.
        """
        size = sum(one.value.nbytes for group in variables(self.model) for one in group)
        return size > SMALL_STATE or count() > 1

    def _is_finite(self, state: State) -> bool:
        return _is_finite([*state.trainable, *(state.metrics[place] for place in self._loss_places)])

    def _mean(self, before: State, after: State, *, fresh: bool) -> float:
        """The mean loss between two moments of an epoch; NaN for a model that keeps no mean."""
        if len(self._loss_places) != 2:
            return math.nan
        total, weight = (
            np.asarray(after.metrics[place]).item()
            - (0.0 if fresh else np.asarray(before.metrics[place]).item())
            for place in self._loss_places
        )
        return total / weight if weight else math.nan

    @cached_property
    def _loss_places(self) -> list[int]:
        """Where the sum and the weight of the mean loss so far are in the metrics of a state."""
        tracker = getattr(self.model, "_loss_tracker", None)
        wanted = {id(one) for one in tracker.variables} if tracker is not None else set()
        return [place for place, one in enumerate(self.model.metrics_variables) if id(one) in wanted]

    def _jumped(self, mean: float) -> bool:
        if len(self.losses) < ENOUGH or not math.isfinite(mean):
            return False
        middle = median(self.losses)
        deviation = 1.4826 * median(abs(one - middle) for one in self.losses)
        limit = middle + DEVIATIONS * max(deviation, LEAST_SHARE * abs(middle))
        return mean > limit and mean > self.first

    def _remember(self, mean: float) -> None:
        if math.isfinite(mean):
            self.first = mean if math.isnan(self.first) else max(self.first, mean)
            self.losses = [*self.losses, mean][-REMEMBERED:]


def _is_finite(arrays: list[Any]) -> bool:
    """Whether every number is finite; arrays of whole numbers pass.

    Memory of a CPU is read in place: a program for it would take seconds to compile for 200 arrays.
    """
    devices = arrays[0].devices() if arrays else set()  # of all, which one program has made
    if len(devices) > 1 or any(one.platform != "cpu" for one in devices):
        return bool(_all_finite(arrays))
    return all(np.isfinite(one).all() for one in arrays)


@jax.jit
def _all_finite(arrays: list[Any]) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(one)) for one in arrays]))


def _given_up(event: Event, attempts: int, *, can_lower: bool) -> ModelError:
    why = (
        f"{attempts} times, with the learning rate lowered to {event.rate_before:g} of its value"
        if can_lower
        else "with an optimiser whose learning rate cannot be lowered"
    )
    what = "a loss or weights that are not finite" if event.kind == "not finite" else "a loss that jumps"
    return ModelError(
        expected="a training run that does not diverge",
        received=f"{what} after step {event.step + 1} of epoch {event.epoch + 1}, {why}",
        remedy=f"kilter replay RUN --step {event.iteration} (for a run of kilter.fit: "
        f"kilter.runs.replay_with(RUN, model, {event.iteration})) names the layer and operation; check the "
        "data of that batch, lower the learning rate or clip the gradients",
    )
