"""The training loop: run the compiled program block by block, call the callbacks, stop on request.

Host and device meet once per chunk. A chunk is a whole block unless that takes longer than about
:data:`CHUNK_SECONDS`; where a block is cut changes no number.
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
from kilter._engine.feed import Block, Feed
from kilter._engine.history import History
from kilter._engine.interrupt import Interrupt
from kilter._engine.program_cache import Programs, owners, shelf, steps_program
from kilter._engine.scheduling import RateGuard, Schedule
from kilter._engine.step import Logs, Step, test_step, train_step
from kilter._models.variables import State, fitting, pull, push, view
from kilter._xla.compilation import give_back
from kilter.data.augmentation import Augmentation

CHUNK_SECONDS = 2.0
# Few: the speed is unknown yet, and Ctrl-C waits for the end of a chunk.
_FIRST_CHUNK = 16


class Chunk(NamedTuple):
    """One call of the program: steps ``first`` to ``last``, the state after them, the last logs."""

    first: int
    last: int
    state: State
    logs: Logs


Between = Callable[[Chunk], State | None]


@dataclass
class Runner:
    """Runs a step of a model over a feed, one chunk at a time; ``steps_a_chunk`` adapts to the speed.

    ``name`` identifies the step among the model's, ``dependencies`` are objects that its trace depends on,
    ``given`` arrays beside the batch. If it ``donates``, it consumes the state that it is given.
    """

    model: keras.Model
    name: Hashable
    step: Callable[[], Step]
    dependencies: tuple[Any, ...] = ()
    given: tuple[Any, ...] = ()
    donates: bool = True
    steps_a_chunk: int = _FIRST_CHUNK
    _programs: Programs = field(init=False)

    def __post_init__(self) -> None:
        self._programs = Programs(self.model)

    def run(self, feed: Feed, epoch: int, state: State, between: Between) -> Chunk | None:
        """Run one epoch; returns its last chunk, None if the feed is empty.

        ``between`` gets each chunk and returns the state to go on with, or None to stop.
        """
        done, chunk = 0, None
        self._compile_for(feed, state)
        for block in feed.blocks(epoch):
            steps, start = block.steps, 0
            while start < steps:
                stop = min(start + self.steps_a_chunk, steps)
                after, logs = self.call(state, block, start, stop)
                chunk = Chunk(done + start, done + stop - 1, after, logs)
                goes_on = between(chunk)
                if goes_on is None:
                    return chunk
                state, start = goes_on, stop
            done += steps
        return chunk

    def call(self, state: State, block: Block, start: int, stop: int) -> tuple[State, Logs]:
        """The state after steps ``start`` to ``stop`` of ``block``, and the last logs."""
        arguments = (state, block.data, block.order, jnp.int32(start), jnp.int32(stop), *self.given)
        program = self._program(arguments, rare=block.rare)
        began = time.perf_counter()
        result = jax.block_until_ready(program(*arguments))  # host and device meet
        if not block.rare:
            rate = (stop - start) / max(time.perf_counter() - began, 1e-6)
            self.steps_a_chunk = max(1, int(rate * CHUNK_SECONDS))
        return result

    def _program(self, arguments: tuple[Any, ...], *, rare: bool) -> Any:
        with fitting(self.model, arguments[1]):
            return self._programs.get(
                self.name,
                owners(self.model, *self.dependencies),
                lambda: steps_program(self.step()),
                arguments,
                donate=(0,) if self.donates else (),
                rare=rare,
            )

    def _compile_for(self, feed: Feed, state: State) -> None:
        """Compile before large rows go to the device, and return free memory to the system first."""
        awaited, bound = list(feed.awaited()), jax.ShapeDtypeStruct((), jnp.int32)
        for block in awaited:
            self._program((state, block.data, block.order, bound, bound, *self.given), rare=block.rare)
        if awaited:
            give_back()


def training(
    model: keras.Model,
    schedule: Schedule | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> Runner:
    """A runner of the model's training step; ``seed`` is for the augmentation."""
    if augmentation is None:
        return Runner(model, "train", lambda: train_step(model, schedule), (schedule,))
    # The seed is an argument of the program, so another seed needs no compilation.
    return Runner(
        model,
        ("train", augmentation),
        lambda: augmented(model, train_step(model, schedule), augmentation),
        (schedule,),
        (np.uint32(seed % 2**32),),
    )


def testing(model: keras.Model) -> Runner:
    """A runner of the model's evaluation step."""
    return Runner(model, "test", lambda: test_step(model), donates=False)


def evaluate_feed(
    model: keras.Model,
    runner: Runner,
    feed: Feed,
    between: Between = lambda chunk: chunk.state,
    *,
    restores: bool,
) -> dict[str, float]:
    """Loss and metrics of the model over a feed, in inference mode.

    The state that inference changes (random seeds, recurrent states) stays in the model, unless it
    ``restores``.
    """
    model.reset_metrics()
    kept = [variable.value for variable in model.non_trainable_variables]
    chunk = runner.run(feed, 0, view(model), between)
    if chunk is None:
        return {}
    push(chunk.state._replace(non_trainable=kept) if restores else chunk.state, model)
    return metric_logs(model, chunk.logs)


def metric_logs(model: keras.Model, logs: Logs) -> dict[str, float]:
    """The results of the model's metrics, or the ``logs`` of a step that returns its own."""
    return _numbers(model.get_metrics_result() if logs is None else model._get_metrics_result_or_logs(logs))


def _numbers(results: Any) -> dict[str, Any]:
    """Scalars as floats, nested results flattened, arrays unchanged."""
    found: dict[str, Any] = {}
    for name, value in results.items():
        if isinstance(value, dict):
            found |= _numbers(value)
        else:
            found[name] = float(value) if value is not None and jnp.ndim(value) == 0 else value
    return found


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
    validation_every: int
    augmentation: Augmentation | None
    seed: int
    tell_batches: bool
    guard: RateGuard

    def run(self) -> None:
        """Run the epochs. After KeyboardInterrupt the model has the state of the last chunk."""
        model, callbacks = self.model, self.callbacks
        trainer = training(model, self.guard.schedule, self.augmentation, self.seed)
        tester = testing(model)
        model.stop_training = False
        logs: dict[str, Any] = {}
        callbacks.on_train_begin()
        first = model._initial_epoch or self.initial_epoch  # keras.callbacks.BackupAndRestore sets it
        with Interrupt() as interrupt:
            for epoch in range(first, self.epochs):
                self.guard.seen()
                logs = self._epoch(epoch, trainer, tester, interrupt)
                self.guard.check()
                interrupt.check()
                if model.stop_training:
                    break
        if isinstance(model.optimizer, keras.optimizers.Optimizer) and self.epochs > first:
            model.optimizer.finalize_variable_values(model.trainable_weights)
        callbacks.on_train_end(logs)

    def _epoch(self, epoch: int, trainer: Runner, tester: Runner, interrupt: Interrupt) -> dict[str, Any]:
        model = self.model
        began, compiled = time.perf_counter(), shelf(model).seconds
        model.reset_metrics()
        self.callbacks.on_epoch_begin(epoch)
        chunk = self._train(epoch, trainer, interrupt)
        logs = {} if chunk is None else metric_logs(model, chunk.logs)
        if (epoch + 1) % self.validation_every == 0:
            for prefix, feed in (("train_", self.training_rows), ("val_", self.validation)):
                found = {} if feed is None else self._evaluate(feed, tester, interrupt)
                logs |= {f"{prefix}{name}": value for name, value in found.items()}
        compiling = shelf(model).seconds - compiled
        self.history.compile_seconds += compiling
        self.history.seconds.append(time.perf_counter() - began - compiling)
        self.callbacks.on_epoch_end(epoch, logs)
        return logs

    def _train(self, epoch: int, trainer: Runner, interrupt: Interrupt) -> Chunk | None:
        model, callbacks = self.model, self.callbacks
        if self.tell_batches:
            callbacks.on_train_batch_begin(0)
        self.guard.check()

        def between(chunk: Chunk) -> State | None:
            state = chunk.state
            if self.tell_batches:
                state = self._tell(
                    chunk, self.feed, callbacks.on_train_batch_begin, callbacks.on_train_batch_end
                )
            return None if interrupt.pending or model.stop_training else state

        chunk = trainer.run(self.feed, epoch, pull(model), between)
        if chunk is not None and not self.tell_batches:
            push(chunk.state, model)
            self.guard.seen()
        interrupt.check()
        return chunk

    def _evaluate(self, feed: Feed, tester: Runner, interrupt: Interrupt) -> dict[str, float]:
        callbacks = self.callbacks

        def between(chunk: Chunk) -> State:
            interrupt.check()  # the model has the training state
            if not self.tell_batches:
                return chunk.state
            return self._tell(chunk, feed, callbacks.on_test_batch_begin, callbacks.on_test_batch_end)

        callbacks.on_test_begin()
        if self.tell_batches:
            callbacks.on_test_batch_begin(0)
        found = evaluate_feed(self.model, tester, feed, between, restores=True)
        callbacks.on_test_end(found)
        return found

    def _tell(self, chunk: Chunk, feed: Feed, begin: Callable[..., None], end: Callable[..., None]) -> State:
        """Call the callbacks with the state of the chunk in the model; returns the state that they leave."""
        push(chunk.state, self.model)
        self.guard.seen()
        end(chunk.last, metric_logs(self.model, chunk.logs))
        if feed.steps is None or chunk.last + 1 < feed.steps:
            begin(chunk.last + 1)
        self.guard.check()
        return pull(self.model)
