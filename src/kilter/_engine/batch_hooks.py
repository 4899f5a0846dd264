"""Batch-level hooks of callbacks: who acts on batches, and when each hook is called.

A callback that acts on batches (a warm-up, a checkpoint every 100 batches) is called as in Keras: before and
after every execution of ``model.steps_per_execution`` steps. One that only reads, such as a progress bar, is
called at the ends of chunks and costs nothing.
"""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import jax.numpy as jnp
import keras

from kilter._engine.scheduling import RateGuard
from kilter._models.keras_internals import is_default
from kilter._models.variables import State, copied, lend, push, variables, view
from kilter._text import warn_once
from kilter.errors import OptionError

Mode = Literal["train", "test", "predict"]
_MOMENTS: Final = ("begin", "end")


@dataclass
class BatchHooks:
    """Calls the batch hooks of one pass over a feed.

    By execution, programs take the state's memory, so that a step costs what it costs in Keras: the model
    gets the state when a callback asks for ``self.model``, as in Keras. By chunk it always has it.

    Attributes:
        every: steps of an execution, if a callback acts on batches; None if hooks are called by chunk.
        told: whether any callback has such a hook.
        guard: checks the learning rate around the callbacks, if there is a schedule.
        changed: non-trainable variables that a callback assigned, by index.
    """

    model: keras.Model
    callbacks: keras.callbacks.CallbackList
    mode: Mode
    every: int | None
    told: bool
    guard: RateGuard | None = None
    changed: set[int] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        model: keras.Model,
        callbacks: keras.callbacks.CallbackList,
        mode: Mode,
        chunk: str = "exact",
        guard: RateGuard | None = None,
    ) -> "BatchHooks":
        """The hooks of these callbacks; ``chunk``: as in :func:`kilter.fit`."""
        exact = chunk == "exact" and bool(acting(callbacks, mode))
        every = int(model.steps_per_execution or 1) if exact else None
        told = any(_own_hooks(callback, mode) for callback in callbacks.callbacks)
        return cls(model, callbacks, mode, every, told, guard if guard and guard.schedule else None)

    @contextlib.contextmanager
    def running(self) -> Generator[State]:
        """The state to begin a pass with. At the end the model has the last one, also after an error."""
        model: Any = self.model
        self.changed = set()
        if self.every is None:
            yield lend(model) if self.mode == "train" and not self.told else view(model)
            return
        self._variables = variables(model)
        first = _values(self._variables)
        self._lend(copied(first))
        self._seen = first
        try:
            yield self._lent
        finally:
            if any(leaf.is_deleted() for leaf in _flat_of(self._lent)):
                push(first, model)  # the step itself failed
            else:
                model.jax_state_sync()
            vars(model)["_jax_state"] = None

    def before(self, first: int, state: State) -> State:
        """Call the begin hooks if step ``first`` begins an execution or chunk; returns the state then."""
        if not self.told or (self.every is not None and first % self.every):
            return state
        state = self._called("begin", first, state)
        if self.every is not None:
            return state
        return lend(self.model, references=1) if self.mode == "train" else view(self.model)

    def after(self, last: int, state: State, logs: Callable[[], Any]) -> State:
        """Call the end hooks if step ``last`` ends an execution or chunk; returns the state then."""
        if not self.told:
            return state
        if self.every is None:
            push(state, self.model)
        else:
            self._lend(state)
        if self.guard is not None:
            self.model.jax_state_sync()
            self.guard.seen()
        if self.every is None or (last + 1) % self.every == 0:
            return self._called("end", last, state, logs())
        return state

    def finish(self, last: int, state: State, logs: Any) -> None:
        """Call the end hooks of the pass's last execution, if it was shorter; numbered as in Keras."""
        if self.told and self.every is not None and (last + 1) % self.every:
            self._lend(self._called("end", last - last % self.every + self.every - 1, state, logs))

    def call(self, moment: str, *arguments: Any) -> None:
        """Call the hooks of all callbacks."""
        getattr(self.callbacks, f"on_{self.mode}_batch_{moment}")(*arguments)

    def _lend(self, state: State) -> None:
        """Let the model have the state as soon as a callback asks for the model."""
        names = [f"{name}_variables" for name in State._fields]
        self._lent = state
        # Not by setattr, which would track the dict as a part of the model.
        vars(self.model).update(_jax_state=dict(zip(names, state, strict=True)), _jax_state_synced=False)

    def _called(self, moment: str, batch: int, state: State, *logs: Any) -> State:
        model: Any = self.model
        kept = None if self.mode == "train" else [one.value for one in model.non_trainable_variables]
        had_state = self.every is None or model._jax_state_synced
        self.call(moment, batch, *logs)
        if self.guard is not None:
            self.guard.check()
        if self.every is None:
            if kept is not None:
                self._note(kept, [one.value for one in model.non_trainable_variables])
            return state
        got_state = model._jax_state_synced and not had_state
        seen, self._seen = state if got_state else self._seen, _values(self._variables)
        if all(one is other for one, other in zip(_flat_of(seen), _flat_of(self._seen), strict=True)):
            return state
        # A copy, since another model may hold the array that a callback assigned, and programs take it.
        new = State(*map(_taken, self._seen, seen, state))
        self._note(state.non_trainable, new.non_trainable)
        if not model._jax_state_synced:
            self._lend(new)
        return new

    def _note(self, before: list[Any], now: list[Any]) -> None:
        pairs = enumerate(zip(before, now, strict=True))
        self.changed |= {place for place, (one, other) in pairs if one is not other}


def _taken(now: list[Any], seen: list[Any], state: list[Any]) -> list[Any]:
    found = zip(now, seen, state, strict=True)
    return [held if value is before else jnp.array(value, copy=True) for value, before, held in found]


def _values(variables: State) -> State:
    # Not ``.value``, which takes 2 µs: there are hundreds of variables, and this runs twice a step.
    return State(*([variable._value for variable in group] for group in variables))


def _flat_of(state: State) -> Iterator[Any]:
    return itertools.chain.from_iterable(state)


def acting(callbacks: keras.callbacks.CallbackList, mode: Mode) -> list[str]:
    """The names of the callbacks that may change the training by a batch hook."""
    return [
        type(callback).__name__
        for callback in callbacks.callbacks
        if not getattr(callback, "kilter_chunked", False)
        and any(not (_is_keras(hook) and _reads(callback)) for hook in _own_hooks(callback, mode))
    ]


def callback_list(
    model: keras.Model, callbacks: Any, verbose: Any, epochs: int, steps: int | None
) -> keras.callbacks.CallbackList:
    """Keras's list of these callbacks, single or in sequences, in order."""
    given = _flat(callbacks)
    check_callbacks(given)
    return keras.callbacks.CallbackList(
        given,
        add_progbar=False,  # kilter's own knows when programs are compiled
        verbose=verbose if isinstance(verbose, int | str) else 1,
        model=model,
        epochs=epochs,
        steps=steps,
    )


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Raise :class:`OptionError` unless each is a Keras callback."""
    strangers = [callback for callback in callbacks if not isinstance(callback, keras.callbacks.Callback)]
    if strangers:
        raise OptionError(
            expected="callbacks that derive from keras.callbacks.Callback",
            received=", ".join(map(repr, strangers)),
            remedy="pass instances, such as keras.callbacks.EarlyStopping()",
        )


def say_price(callbacks: keras.callbacks.CallbackList, chunk: str, *, validated: bool) -> None:
    """Warn, once for each kind of callback, that training runs at Keras's speed, and how to be faster.

    Raises :class:`OptionError` unless ``chunk`` is "exact" or "fast".
    """
    if chunk not in ("exact", "fast"):
        raise OptionError(
            expected='chunk as "exact" or "fast"',
            received=f"chunk={chunk!r}",
            remedy="leave it out: callbacks then act on batches as in Keras",
        )
    if chunk == "fast":
        return
    for name in dict.fromkeys(acting(callbacks, "train") + (acting(callbacks, "test") if validated else [])):
        warn_once(
            f"{name} acts on batches, so each step is a separate call, about as slow as in model.fit. "
            'Faster: schedule= or kilter.find_lr for learning rates; chunk="fast" to call batch hooks every '
            "2 s; kilter_chunked = True in a callback that only reads."
        )


def _flat(callbacks: Any) -> list[Any]:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return _flat(callbacks.callbacks)
    if isinstance(callbacks, Sequence) and not isinstance(callbacks, str):
        return [one for some in callbacks for one in _flat(some)]
    return [] if callbacks is None else [callbacks]


def _own_hooks(callback: keras.callbacks.Callback, mode: Mode) -> list[Any]:
    """The batch hooks that a callback overrides; a LambdaCallback has them as attributes."""
    names = [f"on_{mode}_batch_{moment}" for moment in _MOMENTS]
    if mode == "train":
        names += [f"on_batch_{moment}" for moment in _MOMENTS]  # called by Keras's default hooks
    return [hook for name in names if not is_default(hook := getattr(callback, name))]


def _is_keras(hook: Any) -> bool:
    return (getattr(hook, "__module__", None) or "").partition(".")[0] == "keras"


def _reads(callback: keras.callbacks.Callback) -> bool:
    """Whether Keras's own hooks of this callback do nothing within an epoch, or only show it."""
    if isinstance(callback, keras.callbacks.ProgbarLogger):
        return True
    if isinstance(callback, keras.callbacks.TensorBoard):
        writes = callback.update_freq != "epoch" or callback.write_steps_per_second
        return not writes and not getattr(callback, "_should_trace", False)
    # ModelCheckpoint and the like; False means only at the end of the training.
    return getattr(callback, "save_freq", None) in ("epoch", False)
