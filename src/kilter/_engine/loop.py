"""The loop: run the compiled program block by block; :mod:`kilter._engine.session` runs the epochs.

Host and device meet once per chunk. A chunk is a whole block unless that takes longer than about
:data:`CHUNK_SECONDS`, or a callback acts on batches; where a block is cut changes no number.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.augmenting import augmented
from kilter._engine.batch_hooks import BatchHooks
from kilter._engine.devices import Kept, placement
from kilter._engine.divergence import DivergenceGuard
from kilter._engine.feed import Block, Feed, is_large
from kilter._engine.overrides import overrides
from kilter._engine.processes import agreed, count, lost, meet
from kilter._engine.program_cache import Programs, owners
from kilter._engine.scheduling import Schedule, scaled
from kilter._engine.step import Logs, Step, test_step, train_step
from kilter._engine.step_loop import eager_steps, located, looks_for_nan, runs_eagerly, steps_program
from kilter._models.keras_internals import pythonify_logs
from kilter._models.variables import State, assign, copied, fitting, is_lent, push
from kilter._xla.compilation import give_back
from kilter._xla.rewrite import rewriting
from kilter.data.augmentation import Augmentation
from kilter.errors import ModelError

CHUNK_SECONDS = 2.0
# Few: the speed is unknown yet, and Ctrl-C waits for the end of a chunk.
_FIRST_CHUNK = 16


class Chunk(NamedTuple):
    """One call of the program: steps ``first`` to ``last``, the state after them, the last logs."""

    first: int
    last: int
    state: State
    logs: Logs


Before = Callable[[int, State], State]
Between = Callable[[Chunk], State | None]


@dataclass
class Runner:
    """Runs a step of a model over a feed, one chunk at a time; ``steps_a_chunk`` adapts to the speed.

    ``name`` identifies the step among the model's, ``dependencies`` are objects that its trace depends on,
    ``given`` arrays beside the batch. If it ``donates``, it consumes the state that it is given. If it
    ``reads``, the step gets the weights beside the batch and leaves them out of the state that it returns.
    A chunk ends at least after ``every`` steps of the epoch. ``divergence`` watches the chunks, and lowers
    the learning rate of a schedule.
    """

    model: keras.Model
    name: Hashable
    step: Callable[[], Step]
    dependencies: tuple[Any, ...] = ()
    given: tuple[Any, ...] = ()
    donates: bool = True
    reads: bool = False
    steps_a_chunk: int = _FIRST_CHUNK
    every: int | None = None
    divergence: DivergenceGuard | None = None
    last: State | None = field(default=None, init=False)  # the state after the last call
    waited: float = field(default=0.0, init=False)  # seconds of the last run in which data were awaited
    _programs: Programs = field(init=False)
    _compiled: Any = field(init=False)  # Keras makes a new one at each compile()
    _running: Any = field(default=None, init=False)  # of the block, since a look-up costs as much as a step

    def __post_init__(self) -> None:
        self._programs = Programs(self.model)
        self._compiled = self.model._loss_tracker

    def run(
        self,
        feed: Feed,
        epoch: int,
        state: State,
        between: Between,
        before: Before = lambda first, state: state,
        first: int = 0,
    ) -> Chunk | None:
        """Run one epoch from step ``first`` on; returns its last chunk, None if there is none.

        ``between`` gets each chunk and returns the state to go on with, or None to stop. ``before`` gets the
        first step of each chunk and the state, and returns the state to begin with.
        """
        done, chunk, placed = 0, None, placement()
        self._compile_for(feed, state)
        for given in self._awaited(feed.blocks(epoch)):
            block = given if placed is None else placed.block(given)
            if placed is not None and given.steps > 1:
                placed.say_undivided(given.order.shape[1])
            steps, start = block.steps, max(0, min(first - done, block.steps))
            while start < steps:
                state = before(done + start, state)
                guard, every = self.divergence, self.every
                limit = block.steps if guard is None else guard.enter(block, (epoch, done), start, state)
                room = self.steps_a_chunk if every is None else every - (done + start) % every
                stop = min(start + room, limit)
                after, logs = self.call(state, block, start, stop)
                if (again := self._recovered(block, after, stop)) is not None:
                    state, start = again
                    continue
                chunk = Chunk(done + start, done + stop - 1, after, logs)
                goes_on = between(chunk)
                if goes_on is None:
                    return chunk
                state, start = goes_on, stop
            done += steps
        return chunk

    def _recovered(self, block: Block, state: State, stop: int) -> tuple[State, int] | None:
        """The state and step to go back to, if the training broke before step ``stop`` of the block."""
        guard = self.divergence
        if guard is None or (broke := guard.broke(state, stop)) is None:
            return None
        state, start = guard.recover(broke, stop, self.call, self.given)
        push(copied(state), self.model)  # for callbacks
        return state, start

    def _awaited(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The blocks; the time until each is there is kept, and decides nothing."""
        waiting, self.waited = iter(blocks), 0.0
        while True:
            began = time.perf_counter()
            block = next(waiting, None)
            self.waited += time.perf_counter() - began
            if block is None:
                return
            yield block

    def call(self, state: State, block: Block, start: int, stop: int) -> tuple[State, Logs]:
        """The state after steps ``start`` to ``stop`` of ``block``, and the last logs."""
        if (placed := placement()) is not None:
            state = placed.state(self.model, state)
        arguments = self._arguments(state, block, np.int32(start), np.int32(stop))
        if start == 0 or self.every is None or self._running is None:
            self._running = self._program(arguments, block)
        program = self._running
        if count() > 1:
            meet()
        began = time.perf_counter()
        with lost():
            result = program(*arguments)
            if self.reads:
                kept = {"trainable": state.trainable, "optimizer": state.optimizer}
                result = result[0]._replace(**kept), result[1]
            self.last = result[0]
            if self.every is not None:  # whoever reads the logs waits for them
                return result
            jax.block_until_ready(result)  # host and device meet
        rate = (stop - start) / max(time.perf_counter() - began, 1e-6)
        self.steps_a_chunk = max(1, int(rate * CHUNK_SECONDS))
        if count() > 1:  # each has its own clock, and all must run the same steps
            self.steps_a_chunk = int(agreed(self.steps_a_chunk).min())
        return result

    def _arguments(self, state: State, block: Block, start: Any, stop: Any) -> tuple[Any, ...]:
        if self.model._loss_tracker is not self._compiled:
            raise ModelError(
                expected=f"model {self.model.name!r} to stay as compiled until fit or evaluate returns",
                received="a model that a callback compiled again, as Keras does not allow either",
                remedy="call fit twice, with compile() between and initial_epoch= in the second; a learning "
                "rate or another variable can be set without compile()",
            )
        given = self.given
        if self.reads:
            state, given = State([], state.non_trainable, [], state.metrics), (state.trainable, *given)
        return state, block.data, block.order, start, stop, *given

    def _program(self, arguments: tuple[Any, ...], block: Block, *, waits: bool = True) -> Any:
        if runs_eagerly(self.model):
            return eager_steps(self.step())
        kept = Kept.of(placement(), arguments[0])
        checked = looks_for_nan()  # JAX then keeps what a program takes, to run it again
        # Rewriting a step that runs once an epoch takes longer than it saves, and so does transposing the
        # kernels for a single step that only reads them.
        once = block.partial or (self.reads and len(block.order) == 1)
        name = self._key(block, once)
        with fitting(self.model, arguments[1]), rewriting(not once):
            program = self._programs.get(
                name if kept is None else kept.named(name, block.split),
                owners(self.model, *self.dependencies),
                lambda: steps_program(self.step(), kept, split=block.split, padded=block.padded, once=once),
                arguments,
                donate=(0,) if self.donates and not checked else (),
                hoists=self.reads,  # transposed kernels, above all
                rare=block.partial and not self.reads,
                waits=waits,
            )
        return located(program, eager_steps(self.step())) if checked else program

    def _key(self, block: Block, once: bool) -> Hashable:
        """The name, the factor of the learning rate in it, and which kind of loop it is."""
        rate = 1.0 if self.divergence is None else self.divergence.rate
        parts = self.name if isinstance(self.name, tuple) else (self.name,)
        kinds = [*(["padded"] if block.padded else []), *(["once"] if once else [])]
        return (*parts, *([] if rate == 1 else [rate]), *kinds)

    def _compile_for(self, feed: Feed, state: State) -> None:
        """Trace all programs of the first epoch while they compile, the second also while the first one runs.

        Large rows go to the device only after that, and memory that compilation freed to the system.
        """
        awaited, bound = list(feed.awaited()), jax.ShapeDtypeStruct((), jnp.int32)
        large = bool(awaited) and is_large(awaited[0].data)
        # Small rows: batch hooks may change what is read, and several devices may get them split by batch.
        later = not large and (self.every is not None or placement() is not None)
        if not awaited or runs_eagerly(self.model) or later:
            return
        if (placed := placement()) is not None:
            state = placed.state(self.model, state)
        given = [(self._arguments(state, block, bound, bound), block) for block in awaited]
        for arguments, block in given:
            self._program(arguments, block, waits=False)
        if large:
            for arguments, block in given:
                self._program(arguments, block)
            give_back()


def training(
    model: keras.Model,
    schedule: Schedule | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    every: int | None = None,
    divergence: DivergenceGuard | None = None,
) -> Runner:
    """A runner of the model's training step; ``seed`` is for the augmentation.

    ``every``: a chunk is so many steps, with the logs of its last one.
    """
    logged = every is not None

    def lowered() -> Schedule | None:
        return schedule if schedule is None or divergence is None else scaled(schedule, divergence.rate)

    donates = divergence is None or divergence.takes
    kind = ("train", *(["logged"] if logged else []), *([] if donates else ["kept"]))
    if augmentation is None:
        name, given = kind, ()

        def step() -> Step:
            return train_step(model, lowered(), logged=logged)
    else:
        # The seed is an argument of the program, so another seed needs no compilation.
        name, given = (*kind, augmentation), (np.uint32(seed % 2**32),)

        def step() -> Step:
            return augmented(model, train_step(model, lowered(), logged=logged), augmentation)

    return Runner(model, name, step, (schedule,), given, donates, every=every, divergence=divergence)


def testing(model: keras.Model, every: int | None) -> Runner:
    """A runner of the model's evaluation step; ``every``: as in :func:`training`."""
    logged = every is not None
    if logged or overrides(model, "test_step"):  # a step may return other weights
        name = ("test", "logged") if logged else ("test",)
        return Runner(model, name, lambda: test_step(model, logged=logged), donates=logged, every=every)
    return Runner(model, ("test",), lambda: _reading(model), donates=False, reads=True)


def _reading(model: keras.Model) -> Step:
    """Keras's own evaluation step, which does not change weights: a loop would copy what it carries."""
    evaluated = test_step(model, logged=False)

    def step(state: State, batch: Any, trainable: list[Any]) -> tuple[State, Logs]:
        new, logs = evaluated(state._replace(trainable=trainable), batch)
        return new._replace(trainable=[]), logs

    return step


def evaluate_feed(
    model: keras.Model,
    runner: Runner,
    feed: Feed,
    between: Callable[[Chunk], None] = lambda chunk: None,
    hooks: BatchHooks | None = None,
    *,
    restores: bool,
) -> dict[str, Any]:
    """Loss and metrics of the model over a feed, in inference mode; sorted by name, as in Keras.

    The state that inference changes (random seeds, recurrent states) stays in the model, unless it
    ``restores``; what a callback changes stays.
    """
    model.stop_evaluating = False
    model.reset_metrics()
    hooks = hooks or BatchHooks.of(model, keras.callbacks.CallbackList(), "test")
    kept = [(one, one.value) for one in (model.non_trainable_variables if restores else ())]

    def after(chunk: Chunk) -> State | None:
        between(chunk)
        state = hooks.after(chunk.last, chunk.state, lambda: hook_logs(model, chunk))
        return None if model.stop_evaluating else state

    chunk = one_pass(runner, feed, 0, after, hooks)
    if chunk is None:
        return {}
    assign(pair for place, pair in enumerate(kept) if place not in hooks.changed)
    return metric_logs(model, chunk.logs)


def one_pass(
    runner: Runner, feed: Feed, epoch: int, between: Between, hooks: BatchHooks, first: int = 0
) -> Chunk | None:
    """Run one epoch with hooks, after which the model has its state; returns the last chunk."""
    with hooks.running() as state, _state_returned(runner):
        chunk = runner.run(feed, epoch, state, between, hooks.before, first)
        if chunk is not None and hooks.told:
            hooks.finish(chunk.last, chunk.state, chunk.logs)
    if chunk is not None and not hooks.told:
        push(chunk.state, runner.model)
    return chunk


@contextlib.contextmanager
def _state_returned(runner: Runner) -> Generator[None]:
    """After an error, give the model the state after the last call if a program has taken its own."""
    runner.last = None
    try:
        yield
    except BaseException:
        if runner.last is not None and is_lent(runner.model):
            push(runner.last, runner.model)
        raise
    finally:
        runner.last = None


def metric_logs(model: keras.Model, logs: Logs) -> dict[str, Any]:
    """:func:`results` as numbers, those in dicts beside the others; sorted by name, as in Keras."""
    return pythonify_logs(results(model, logs))


def results(model: keras.Model, logs: Logs) -> dict[str, Any]:
    """The results of the model's metrics, or the ``logs`` of a step that returns its own, as in Keras."""
    return dict(model.get_metrics_result() if logs is None else model._get_metrics_result_or_logs(logs))


def hook_logs(model: keras.Model, chunk: Chunk) -> Any:
    """The logs that a hook gets after a chunk: the step's own logs, if the program returns them."""
    return metric_logs(model, None) if chunk.logs is None else chunk.logs
