"""Learning rate and momentum as traced values: a schedule reaches the optimiser in the compiled step.

The rate is a variable of the optimiser, and so is simply put into its place before each step. Momentum
(beta_1 in Adam's family) is a Python float that Keras reads when the step is traced: while tracing, the
optimiser holds the traced value instead.

- Adam, AdamW, Adamax and LAMB correct their bias by ``1 - beta_1(t) ** t``: the power of the momentum of this
  step, as if it had always been that (so does PyTorch). It matters in the first few dozen steps only.
- Nadam keeps the running product of the momenta. It multiplies what was really used at each step; for the
  step ahead, which its formula looks at too, it takes this step's ``beta_1``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
from keras import optimizers

from kilter import schedules
from kilter.errors import OptionError

Schedule = Callable[[jax.Array], Any]
"""The optimiser's iteration (int array, shape ()) -> the learning rate of that step; it is traced."""

_MOMENTUM: Final[dict[type[optimizers.Optimizer], str]] = {
    optimizers.SGD: "momentum",
    optimizers.RMSprop: "momentum",
    optimizers.Adam: "beta_1",  # AdamW too, which is one
    optimizers.Nadam: "beta_1",
    optimizers.Adamax: "beta_1",
    optimizers.Lion: "beta_1",
    optimizers.Lamb: "beta_1",
}


class TracedMomentum:
    """A traced number in the place of an optimiser's momentum.

    SGD and RMSprop ask ``momentum != 0`` and ``> 0`` to know whether they have a slot for it: that is
    answered by the number that the optimiser was made with. Arithmetic is on the traced value.
    """

    def __init__(self, value: jax.Array, made_with: float) -> None:
        self._value = value
        self._made_with = made_with

    def __jax_array__(self) -> jax.Array:
        return self._value

    def __ne__(self, other: object) -> bool:
        return self._made_with != other

    def __gt__(self, other: float) -> bool:
        return self._made_with > other

    __hash__ = None  # type: ignore[assignment]


def check_schedule(model: keras.Model, schedule: Any, *, validated: bool) -> None:
    """Raise :class:`~kilter.errors.OptionError` for what cannot schedule the model's optimiser."""
    if schedule is None:
        return
    if not callable(schedule) and not isinstance(schedule, schedules.Performance):
        raise OptionError(
            expected="schedule as a function of the step that gives its learning rate",
            received=f"schedule={schedule!r}",
            remedy="pass one of kilter.schedules, a function or a Keras LearningRateSchedule; a constant "
            "rate goes into the optimiser",
        )
    optimizer = getattr(model, "optimizer", None)
    if isinstance(optimizer, optimizers.MultiOptimizer):
        raise OptionError(
            expected="schedule= beside an optimiser with one learning rate",
            received="a MultiOptimizer, whose parts have a rate each",
            remedy="give each part a keras.optimizers.schedules.LearningRateSchedule of its own",
        )
    if optimizer is None:  # bridge.build says it better
        return
    _require_settable_rate(optimizer)
    if _momentum(schedule, 0) is not None:
        _require_momentum(_inner(optimizer))
    if isinstance(schedule, schedules.Performance) and schedule.monitor.startswith("val_") and not validated:
        raise OptionError(
            expected=f"validation data for a schedule that watches {schedule.monitor}",
            received="none",
            remedy="pass validation_data or validation_split, or monitor='loss'",
        )


def scheduler(
    model: keras.Model, schedule: Schedule | None
) -> Callable[[list[jax.Array]], tuple[list[jax.Array], jax.Array | None]]:
    """A function that puts the step's learning rate into the optimiser's values, and gives its momentum.

    The step is the optimiser's own count, as Keras gives it to a schedule: one a batch, also where gradients
    are accumulated. The momentum is None where the optimiser keeps its own. Without a schedule nothing is
    done.
    """
    if schedule is None:
        return lambda values: (values, None)
    optimizer = _inner(model.optimizer)
    _require_settable_rate(optimizer)
    places = {id(variable): index for index, variable in enumerate(model.optimizer.variables)}
    rate, count = places[id(optimizer._learning_rate)], places[id(optimizer._iterations)]

    def apply(values: list[jax.Array]) -> tuple[list[jax.Array], jax.Array | None]:
        new = jnp.asarray(schedule(values[count]), values[rate].dtype)
        scheduled = [new if index == rate else value for index, value in enumerate(values)]
        return scheduled, _momentum(schedule, values[count])

    return apply


@contextlib.contextmanager
def momentum_set(model: keras.Model, value: jax.Array | None) -> Iterator[None]:
    """While active, the optimiser's momentum (or beta_1) is ``value``; for a trace. None changes nothing."""
    if value is None:
        yield
        return
    optimizer = _inner(model.optimizer)
    name = _require_momentum(optimizer)
    own = getattr(optimizer, name)
    setattr(optimizer, name, TracedMomentum(value, own) if name == "momentum" else value)
    try:
        yield
    finally:
        setattr(optimizer, name, own)


class RateKeeper(keras.callbacks.Callback):
    """Logs an epoch's last learning rate, and momentum if it is cycled; acts on a performance schedule.

    It comes first among the callbacks, so that the others see the logs, and a checkpoint the new rate.
    """

    def __init__(self, schedule: Schedule | schedules.Performance) -> None:
        super().__init__()
        self._schedule = schedule

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add to ``logs`` what the epoch was trained with, and set the next epoch's rate."""
        assert self.model is not None
        assert logs is not None
        optimizer = self.model.optimizer
        logs["learning_rate"] = rate = float(optimizer.learning_rate)
        last = max(int(_inner(optimizer)._iterations) - 1, 0)
        momentum = _momentum(self._schedule, last)
        if momentum is not None:
            logs["momentum"] = float(momentum)
        if isinstance(self._schedule, schedules.Performance):
            _require_logged(self._schedule.monitor, logs)
            self._schedule, new = self._schedule.saw(logs, rate)
            if new != rate:
                optimizer.learning_rate = new


# Keras's callbacks that set the learning rate.
_RATE_SETTERS: Final = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


class RateGuard:
    """Refuses callbacks that set the learning rate while ``schedule=`` does.

    Keras's own are refused at once. A traced schedule would silently overwrite any other callback's:
    :meth:`seen` remembers the rate when callbacks may act, :meth:`check` compares it when training goes on.
    ``schedule`` is the one that is traced into the steps; without one both methods do nothing.

    Raises :class:`OptionError` for ``LearningRateScheduler`` and ``ReduceLROnPlateau`` beside a schedule.
    """

    def __init__(
        self, model: keras.Model, schedule: Schedule | schedules.Performance | None, callbacks: Sequence[Any]
    ) -> None:
        found = [type(one).__name__ for one in callbacks if isinstance(one, _RATE_SETTERS)]
        if schedule is not None and found:
            raise _two_schedules(schedule, " and ".join(found))
        self.schedule = None if isinstance(schedule, schedules.Performance) else schedule
        self._model = model
        self._callbacks = callbacks
        self._rate: Any = None

    def seen(self) -> None:
        """Remember the rate as it is now."""
        if self.schedule is not None:
            self._rate = _inner(self._model.optimizer)._learning_rate.value

    def check(self) -> None:
        """Raise :class:`OptionError` if the rate has changed since :meth:`seen`."""
        if self.schedule is None or self._rate is None:
            return
        now = _inner(self._model.optimizer)._learning_rate.value
        if now is not self._rate and float(now) != float(self._rate):
            stock = (keras.callbacks.History, keras.callbacks.ProgbarLogger, RateKeeper)
            names = [type(one).__name__ for one in self._callbacks if not isinstance(one, stock)]
            raise _two_schedules(self.schedule, f"a callback that set {float(now):.4g}: {', '.join(names)}")


def _two_schedules(schedule: Any, other: str) -> OptionError:
    named = getattr(schedule, "__name__", type(schedule).__name__)
    return OptionError(
        expected="one source of the learning rate",
        received=f"schedule= ({named}) and {other}",
        remedy="leave out schedule=, or the callback",
    )


def _inner(optimizer: Any) -> Any:
    """The optimiser that makes the update, within one that scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _momentum(schedule: Any, step: Any) -> jax.Array | None:
    """The momentum that a schedule gives for a step; None where it cycles none."""
    return schedule.momentum(step) if isinstance(schedule, schedules.Schedule) else None


def _require_settable_rate(optimizer: Any) -> None:
    optimizer = _inner(optimizer)
    known = {id(variable) for variable in optimizer.variables}
    if id(optimizer._learning_rate) not in known:
        raise OptionError(
            expected="an optimiser with a constant learning rate, which schedule= then sets",
            received=f"{type(optimizer).__name__} that already has a schedule of its own, and schedule=",
            remedy="give the schedule once, either to the optimiser or to kilter.fit",
        )


def _require_momentum(optimizer: Any) -> str:
    """The name of the optimiser's momentum; an error where it has none to cycle."""
    name = next((name for kind, name in _MOMENTUM.items() if isinstance(optimizer, kind)), None)
    if name is None or not getattr(optimizer, name):
        has = "without" if name is None else f"with {name}={getattr(optimizer, name)}, so without"
        raise OptionError(
            expected="an optimiser whose momentum (SGD, RMSprop) or beta_1 (Adam's family) can be cycled",
            received=f"{type(optimizer).__name__} {has} a momentum",
            remedy="take SGD(momentum=0.9) or another that has one, or make the schedule with momentum=None",
        )
    return name


def _require_logged(monitor: str, logs: dict[str, Any]) -> None:
    validated = any(name.startswith("val_") for name in logs)
    if monitor not in logs and (validated or not monitor.startswith("val_")):
        raise OptionError(
            expected=f"a schedule that watches one of {', '.join(logs)}",
            received=f"monitor={monitor!r}",
            remedy="correct monitor",
        )
