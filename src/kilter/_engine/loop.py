"""The training loop: run the compiled program block by block, call the callbacks, stop on request.

Host and device meet once per chunk. A chunk is a whole block unless that takes longer than about
:data:`CHUNK_SECONDS`, or a callback acts on batches; where a block is cut changes no number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.augmenting import augmented
from kilter._engine.batch_hooks import BatchHooks, Mode
from kilter._engine.devices import Kept, placement
from kilter._engine.feed import Block, Feed
from kilter._engine.history import History
from kilter._engine.interrupt import Interrupt
from kilter._engine.processes import agreed, count, lost, meet
from kilter._engine.program_cache import Programs, eager_steps, owners, shelf, steps_program
from kilter._engine.scheduling import RateGuard, Schedule
from kilter._engine.stable_losses import losses_used
from kilter._engine.step import Logs, Step, test_step, train_step
from kilter._models.keras_internals import pythonify_logs
from kilter._models.variables import State, assign, fitting, push
from kilter._xla.compilation import give_back
from kilter.data.augmentation import Augmentation
from kilter.errors import about

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
    ``given`` arrays beside the batch. If it ``donates``, it consumes the state that it is given. A chunk ends
    at least after ``every`` steps of the epoch.
    """

    model: keras.Model
    name: Hashable
    step: Callable[[], Step]
    dependencies: tuple[Any, ...] = ()
    given: tuple[Any, ...] = ()
    donates: bool = True
    steps_a_chunk: int = _FIRST_CHUNK
    every: int | None = None
    _programs: Programs = field(init=False)
    _running: Any = field(default=None, init=False)  # of the block, since a look-up costs as much as a step

    def __post_init__(self) -> None:
        self._programs = Programs(self.model)

    def run(
        self,
        feed: Feed,
        epoch: int,
        state: State,
        between: Between,
        before: Before = lambda first, state: state,
    ) -> Chunk | None:
        """Run one epoch; returns its last chunk, None if the feed is empty.

        ``between`` gets each chunk and returns the state to go on with, or None to stop. ``before`` gets the
        first step of each chunk and the state, and returns the state to begin with.
        """
        done, chunk, placed = 0, None, placement()
        self._compile_for(feed, state)
        for given in feed.blocks(epoch):
            block = given if placed is None else placed.block(given)
            if placed is not None and given.steps > 1:
                placed.say_undivided(given.order.shape[1])
            steps, start = block.steps, 0
            while start < steps:
                stop = min(start + self._steps_from(done + start), steps)
                after, logs = self.call(before(done + start, state), block, start, stop)
                chunk = Chunk(done + start, done + stop - 1, after, logs)
                goes_on = between(chunk)
                if goes_on is None:
                    return chunk
                state, start = goes_on, stop
            done += steps
        return chunk

    def _steps_from(self, step: int) -> int:
        return self.steps_a_chunk if self.every is None else self.every - step % self.every

    def call(self, state: State, block: Block, start: int, stop: int) -> tuple[State, Logs]:
        """The state after steps ``start`` to ``stop`` of ``block``, and the last logs."""
        if (placed := placement()) is not None:
            state = placed.state(self.model, state)
        arguments = (state, block.data, block.order, np.int32(start), np.int32(stop), *self.given)
        if start == 0 or self.every is None:
            self._running = self._program(arguments, rare=block.rare, split=block.split)
        program = self._running
        if count() > 1:
            meet()
        began = time.perf_counter()
        with lost():
            result = program(*arguments)
            if self.every is not None:  # whoever reads the logs waits for them
                return result
            jax.block_until_ready(result)  # host and device meet
        if not block.rare:
            rate = (stop - start) / max(time.perf_counter() - began, 1e-6)
            self.steps_a_chunk = max(1, int(rate * CHUNK_SECONDS))
        if count() > 1:  # each has its own clock, and all must run the same steps
            self.steps_a_chunk = int(agreed(self.steps_a_chunk).min())
        return result

    def _program(self, arguments: tuple[Any, ...], *, rare: bool, split: bool = False) -> Any:
        if self.model.run_eagerly:
            return eager_steps(self.step())
        kept = Kept.of(placement(), arguments[0])
        with fitting(self.model, arguments[1]):
            return self._programs.get(
                self.name if kept is None else kept.named(self.name, split),
                owners(self.model, *self.dependencies),
                lambda: steps_program(self.step(), kept, split=split),
                arguments,
                donate=(0,) if self.donates else (),
                rare=rare,
            )

    def _compile_for(self, feed: Feed, state: State) -> None:
        """Compile before large rows go to the device, and return free memory to the system first."""
        awaited, bound = list(feed.awaited()), jax.ShapeDtypeStruct((), jnp.int32)
        if awaited and (placed := placement()) is not None:
            state = placed.state(self.model, state)
        for block in awaited:
            self._program((state, block.data, block.order, bound, bound, *self.given), rare=block.rare)
        if awaited:
            give_back()


def training(
    model: keras.Model,
    schedule: Schedule | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    every: int | None = None,
) -> Runner:
    """A runner of the model's training step; ``seed`` is for the augmentation.

    ``every``: a chunk is so many steps, with the logs of its last one.
    """
    logged = every is not None
    kind = ("train", "logged") if logged else ("train",)
    if augmentation is None:
        name, given = kind, ()

        def step() -> Step:
            return train_step(model, schedule, logged=logged)
    else:
        # The seed is an argument of the program, so another seed needs no compilation.
        name, given = (*kind, augmentation), (np.uint32(seed % 2**32),)

        def step() -> Step:
            return augmented(model, train_step(model, schedule, logged=logged), augmentation)

    return Runner(model, name, step, (schedule,), given, every=every)


def testing(model: keras.Model, every: int | None) -> Runner:
    """A runner of the model's evaluation step; ``every``: as in :func:`training`."""
    logged = every is not None
    name = ("test", "logged") if logged else ("test",)
    return Runner(model, name, lambda: test_step(model, logged=logged), donates=logged, every=every)


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
    kept = [(variable, variable.value) for variable in model.non_trainable_variables]

    def after(chunk: Chunk) -> State | None:
        between(chunk)
        state = hooks.after(chunk.last, chunk.state, lambda: _logs(model, chunk))
        return None if model.stop_evaluating else state

    chunk = _pass(runner, feed, 0, after, hooks)
    if chunk is None:
        return {}
    if restores:
        assign(pair for place, pair in enumerate(kept) if place not in hooks.changed)
    return metric_logs(model, chunk.logs)


def _pass(runner: Runner, feed: Feed, epoch: int, between: Between, hooks: BatchHooks) -> Chunk | None:
    """Run one epoch with hooks, after which the model has its state; returns the last chunk."""
    with hooks.running() as state:
        chunk = runner.run(feed, epoch, state, between, hooks.before)
        if chunk is not None and hooks.told:
            hooks.finish(chunk.last, chunk.state, chunk.logs)
    if chunk is not None and not hooks.told:
        push(chunk.state, runner.model)
    return chunk


def metric_logs(model: keras.Model, logs: Logs) -> dict[str, Any]:
    """The results of the model's metrics, or the ``logs`` of a step that returns its own, as in Keras."""
    found = model.get_metrics_result() if logs is None else model._get_metrics_result_or_logs(logs)
    return pythonify_logs(found)


def _logs(model: keras.Model, chunk: Chunk) -> Any:
    """What a hook is told after a chunk: the step's own logs, if the program returns them."""
    return metric_logs(model, None) if chunk.logs is None else chunk.logs


Pass = tuple[Runner, BatchHooks]


@dataclass(frozen=True)
class Session:
    """One call of fit."""

    model: keras.Model
    feed: Feed
    callbacks: keras.callbacks.CallbackList
    history: History
    epochs: int
    initial_epoch: int
    training_rows: Feed | None
    validation: Feed | None
    validates: Callable[[int], bool]
    augmentation: Augmentation | None
    seed: int
    chunk: str
    guard: RateGuard

    def run(self) -> History:
        """Run the epochs. After KeyboardInterrupt the model has the state of the last chunk."""
        model, callbacks = self.model, self.callbacks
        hooks, told = self._hooks("train"), self._hooks("test")
        trainer = training(model, self.guard.schedule, self.augmentation, self.seed, hooks.every)
        tester = testing(model, told.every)
        model.stop_training = False
        logs: dict[str, Any] = {}
        callbacks.on_train_begin()
        first = model._initial_epoch or self.initial_epoch  # keras.callbacks.BackupAndRestore sets it
        with Interrupt() as interrupt, losses_used() as losses:
            for epoch in range(first, self.epochs):
                self.guard.seen()
                logs = self._epoch(epoch, (trainer, hooks), (tester, told), interrupt)
                self.guard.check()
                interrupt.check()
                if model.stop_training:
                    break
        if isinstance(model.optimizer, keras.optimizers.Optimizer) and self.epochs > first:
            model.optimizer.finalize_variable_values(model.trainable_weights)
        self.history.stable_loss = bool(losses) or shelf(model).uses_logits("train")
        callbacks.on_train_end(logs)
        return self.history

    def _hooks(self, mode: Mode) -> BatchHooks:
        return BatchHooks.of(self.model, self.callbacks, mode, self.chunk, self.guard)

    def _epoch(self, epoch: int, train: Pass, test: Pass, interrupt: Interrupt) -> dict[str, Any]:
        model = self.model
        began, compiled = time.perf_counter(), shelf(model).seconds
        model.reset_metrics()
        self.callbacks.on_epoch_begin(epoch)
        chunk = self._train(epoch, *train, interrupt)
        logs = {} if chunk is None else metric_logs(model, chunk.logs)
        if self.validates(epoch):
            for prefix, feed in (("train_", self.training_rows), ("val_", self.validation)):
                with about("validation_data" if prefix == "val_" else "the training rows"):
                    found = {} if feed is None else self._evaluate(feed, *test, interrupt)
                logs |= {f"{prefix}{name}": value for name, value in found.items()}
        compiling = shelf(model).seconds - compiled
        self.history.compile_seconds += compiling
        self.history.seconds.append(time.perf_counter() - began - compiling)
        self.callbacks.on_epoch_end(epoch, logs)
        return logs

    def _train(self, epoch: int, trainer: Runner, hooks: BatchHooks, interrupt: Interrupt) -> Chunk | None:
        model = self.model
        self.guard.check()

        def between(chunk: Chunk) -> State | None:
            state = hooks.after(chunk.last, chunk.state, lambda: _logs(model, chunk))
            if count() > 1:
                interrupt.pending = bool(agreed(interrupt.pending).any())
            return None if interrupt.pending or model.stop_training else state

        chunk = _pass(trainer, self.feed, epoch, between, hooks)
        self.guard.seen()
        interrupt.check()
        return chunk

    def _evaluate(
        self, feed: Feed, tester: Runner, hooks: BatchHooks, interrupt: Interrupt
    ) -> dict[str, float]:
        self.callbacks.on_test_begin()
        # After an interrupt the model has the training state.
        found = evaluate_feed(self.model, tester, feed, lambda chunk: interrupt.check(), hooks, restores=True)
        self.callbacks.on_test_end(found)
        return found
