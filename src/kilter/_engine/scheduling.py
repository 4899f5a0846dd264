"""Learning rate and momentum as traced values: a schedule reaches the optimiser in the compiled step.

The rate is a variable of the optimiser, so it is set before each step. Momentum (beta_1 in Adam's family) is
a Python float that Keras reads when the step is traced, so the optimiser holds the traced value during the
trace.

- Adam, AdamW, Adamax and LAMB correct their bias by ``1 - beta_1(t) ** t``, a power of this step's momentum,
  as if it had never changed (PyTorch does the same). It matters only in the first few dozen steps.
- Nadam keeps the running product of the momenta, so it uses the true momentum of each step. For the next
  step, which is in its formula too, it uses this step's ``beta_1``.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras

from kilter import schedules
from kilter._models.optimizers import OptimizerSlot, inner_optimizer, optimizer_slot, slot_index
from kilter.errors import OptionError

Schedule = Callable[[jax.Array], Any]
"""Maps the optimiser's iteration (int array, shape ()) to that step's learning rate; must be traceable."""


class TracedMomentum:
    """A traced number in place of an optimiser's momentum.

    Keras's tests for a momentum other than 0 see the one the optimiser was made with; arithmetic the traced.
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
    """Raise :class:`~kilter.errors.OptionError` if ``schedule`` cannot drive the model's optimiser."""
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
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        raise OptionError(
            expected="schedule= with an optimiser that has one learning rate",
            received="a MultiOptimizer, each part of which has its own rate",
            remedy="give each part its own keras.optimizers.schedules.LearningRateSchedule",
        )
    if optimizer is None:  # _models.variables.build has a better message
        return
    _rate(optimizer)
    if _momentum(schedule, 0) is not None:
        _momentum_slot(optimizer)
    if isinstance(schedule, schedules.Performance) and schedule.monitor.startswith("val_") and not validated:
        raise OptionError(
            expected=f"validation data for a schedule that watches {schedule.monitor}",
            received="none",
            remedy="pass validation_data or validation_split, or monitor='loss'",
        )


def scheduler(
    model: keras.Model, schedule: Schedule | None
) -> Callable[[list[jax.Array]], tuple[list[jax.Array], jax.Array | None]]:
    """A function that sets the step's rate in the optimiser's values, and returns the momentum or None.

    The step is the optimiser's own counter: one per batch, also with gradient accumulation.
    """
    if schedule is None:
        return lambda values: (values, None)
    _rate(model)  # raises the better error
    rate, count = slot_index(model, "learning_rate"), slot_index(model, "iterations")

    def apply(values: list[jax.Array]) -> tuple[list[jax.Array], jax.Array | None]:
        new = jnp.asarray(schedule(values[count]), values[rate].dtype)
        scheduled = [new if index == rate else value for index, value in enumerate(values)]
        return scheduled, _momentum(schedule, values[count])

    return apply


@contextlib.contextmanager
def momentum_set(model: keras.Model, value: jax.Array | None) -> Generator[None]:
    """During a trace: the optimiser's momentum (or beta_1) is ``value``; None changes nothing."""
    if value is None:
        yield
        return
    slot = _momentum_slot(model)
    traced = TracedMomentum(value, slot.value) if slot.attribute == "momentum" else value
    setattr(slot.optimizer, slot.attribute, traced)
    try:
        yield
    finally:
        setattr(slot.optimizer, slot.attribute, slot.value)


def scaled(schedule: Schedule, factor: float) -> Schedule:
    """The schedule with its learning rates times ``factor``, and its momentum."""

    class Scaled(schedules.Schedule):
        def __call__(self, step: Any) -> Any:
            return schedule(step) * factor

        def momentum(self, step: Any) -> Any:
            return _momentum(schedule, step)

    return schedule if factor == 1 else Scaled()


class RateKeeper(keras.callbacks.Callback):
    """Logs an epoch's last learning rate, and its momentum if scheduled; applies a performance schedule.

    The first of the callbacks: the others see these logs, and checkpoints hold the new rate.
    """

    def __init__(self, schedule: Schedule | schedules.Performance) -> None:
        super().__init__()
        self._schedule = schedule

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's rate and momentum to ``logs``, and set the next epoch's rate."""
        assert self.model is not None
        assert logs is not None
        optimizer = self.model.optimizer
        logs["learning_rate"] = rate = float(optimizer.learning_rate)
        counter = optimizer_slot(optimizer, "iterations")
        last = max(int(counter.value) - 1, 0) if counter is not None else 0
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
    """Refuses callbacks that set the learning rate while ``schedule=`` does: Keras's own at once.

    A traced schedule would silently overwrite the rate of any other, so :meth:`seen` remembers the rate
    before callbacks run, and :meth:`check` compares it afterwards.
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
        """Remember the current rate."""
        if self.schedule is not None:
            self._rate = _rate(self._model).value.value

    def check(self) -> None:
        """Raise :class:`OptionError` if the rate has changed since :meth:`seen`."""
        if self.schedule is None or self._rate is None:
            return
        now = _rate(self._model).value.value
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


def _momentum(schedule: Any, step: Any) -> jax.Array | None:
    return schedule.momentum(step) if isinstance(schedule, schedules.Schedule) else None


def _rate(model_or_optimizer: Any) -> OptimizerSlot:
    """The optimiser's learning rate, which must be a variable that can be set."""
    slot = optimizer_slot(model_or_optimizer, "learning_rate")
    if slot is None or slot.index is None:
        raise OptionError(
            expected="an optimiser with a constant learning rate, which schedule= then sets",
            received=f"{_class_name(model_or_optimizer)} with its own schedule, and schedule=",
            remedy="give the schedule once, either to the optimiser or to kilter.fit",
        )
    return slot


def _momentum_slot(model_or_optimizer: Any) -> OptimizerSlot:
    """The optimiser's momentum, which must not be zero."""
    slot = optimizer_slot(model_or_optimizer, "momentum")
    if slot is None or not slot.value:
        has = "without" if slot is None else f"with {slot.attribute}={slot.value}, so without"
        raise OptionError(
            expected="an optimiser with a momentum (SGD, RMSprop) or beta_1 (Adam's family) to cycle",
            received=f"{_class_name(model_or_optimizer)} {has} a momentum",
            remedy="take SGD(momentum=0.9) or another that has one, or make the schedule with momentum=None",
        )
    return slot


def _class_name(model_or_optimizer: Any) -> str:
    return type(inner_optimizer(model_or_optimizer)).__name__


def _require_logged(monitor: str, logs: dict[str, Any]) -> None:
    validated = any(name.startswith("val_") for name in logs)
    if monitor not in logs and (validated or not monitor.startswith("val_")):
        raise OptionError(
            expected=f"a schedule that watches one of {', '.join(logs)}",
            received=f"monitor={monitor!r}",
            remedy="correct monitor",
        )
