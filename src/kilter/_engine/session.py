"""A training run: run the epochs, call the callbacks, stop on request."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from kilter._engine.batch_hooks import BatchHooks, Mode
from kilter._engine.cuts import Cut, Start, tell
from kilter._engine.divergence import DivergenceGuard
from kilter._engine.feed import Feed
from kilter._engine.history import History
from kilter._engine.interrupt import Interrupt
from kilter._engine.loop import (
    Chunk,
    Runner,
    evaluate_feed,
    hook_logs,
    one_pass,
    results,
    testing,
    training,
)
from kilter._engine.program_cache import shelf
from kilter._engine.scheduling import RateGuard
from kilter._engine.stable_losses import losses_used
from kilter._models.variables import State, push, view
from kilter._system import resident_memory
from kilter.data.augmentation import Augmentation
from kilter.errors import about

Pass = tuple[Runner, BatchHooks]
# A late Ctrl-C waits for their end, or part of the state would be lost.
WHOLE = frozenset(one.__code__ for one in (Runner.call, push))


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
    start: Start | None = None
    divergence: DivergenceGuard | None = None

    def run(self) -> History:
        """Run the epochs. After KeyboardInterrupt the model has the state of the last chunk."""
        model, callbacks = self.model, self.callbacks
        modes: tuple[Mode, ...] = ("train", "test")
        hooks, told = (BatchHooks.of(model, callbacks, mode, self.chunk, self.guard) for mode in modes)
        watch = self.divergence if hooks.every is None else None  # callbacks change the state between steps
        trainer = training(model, self.guard.schedule, self.augmentation, self.seed, hooks.every, watch)
        tester = testing(model, told.every)
        model.stop_training = False
        logs: dict[str, Any] = {}
        callbacks.on_train_begin()
        first = model._initial_epoch or self.initial_epoch  # keras.callbacks.BackupAndRestore sets it
        with Interrupt(WHOLE) as interrupt, losses_used() as losses:
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

    def _epoch(self, epoch: int, train: Pass, test: Pass, interrupt: Interrupt) -> dict[str, Any]:
        model = self.model
        began, compiled = time.perf_counter(), shelf(model).seconds
        model.reset_metrics()
        self.callbacks.on_epoch_begin(epoch)
        start = self._start_of(epoch)
        chunk = self._train(epoch, start, *train, interrupt)
        last = start if chunk is None else chunk
        logs = {} if last is None else results(model, last.logs)  # the callbacks get numbers
        if self.validates(epoch):
            for prefix, feed in (("train_", self.training_rows), ("val_", self.validation)):
                with about("validation_data" if prefix == "val_" else "the training rows"):
                    found = {} if feed is None else self._evaluate(feed, *test, interrupt)
                logs |= {f"{prefix}{name}": value for name, value in found.items()}
        compiling = shelf(model).seconds - compiled
        self.history.compile_seconds += compiling
        self.history.compiling.append(compiling)
        self.history.waiting.append(train[0].waited)
        self.history.memory.append(resident_memory())
        self.history.seconds.append(time.perf_counter() - began - compiling)
        self.callbacks.on_epoch_end(epoch, logs)
        return logs

    @property
    def _watched(self) -> dict[str, Any] | None:
        return None if self.divergence is None else self.divergence.record()

    def _start_of(self, epoch: int) -> Start | None:
        """Where the epoch begins, if it is the one that a resumed training continues in."""
        if self.start is None or self.start.metrics is None or epoch != self.initial_epoch:
            return None
        self.start.enter(self.model)
        return self.start

    def _train(
        self, epoch: int, start: Start | None, trainer: Runner, hooks: BatchHooks, interrupt: Interrupt
    ) -> Chunk | None:
        model = self.model
        self.guard.check()

        def between(chunk: Chunk) -> State | None:
            state = hooks.after(chunk.last, chunk.state, lambda: hook_logs(model, chunk))
            if interrupt.asked() or model.stop_training:
                return None
            tell(self.callbacks, Cut(epoch, chunk.last + 1, state, chunk.logs, True, self._watched))
            return state

        chunk = one_pass(trainer, self.feed, epoch, between, hooks, 0 if start is None else start.step)
        if chunk is not None:
            tell(self.callbacks, Cut(epoch, chunk.last + 1, view(model), chunk.logs, False, self._watched))
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
