"""Compiled optimisers: their slots and hyperparameters, inside a loss-scaling wrapper too, and fresh ones."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import keras
import numpy as np
from keras import optimizers

from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.duplicate import duplicate
from kilter._validation import errors_as
from kilter.errors import ModelError

SlotName = Literal["learning_rate", "iterations", "momentum"]

# Keras reads these as Python floats when a step is traced.
_MOMENTUM: Final[dict[type[optimizers.Optimizer], str]] = {
    optimizers.SGD: "momentum",
    optimizers.RMSprop: "momentum",
    optimizers.Adam: "beta_1",  # AdamW is a subclass
    optimizers.Nadam: "beta_1",
    optimizers.Adamax: "beta_1",
    optimizers.Lion: "beta_1",
    optimizers.Lamb: "beta_1",
}
# The arguments by which an optimiser clips gradients.
CLIPS: Final = ("clipnorm", "global_clipnorm", "clipvalue")
_AVERAGING: Final = ("use_ema", "ema_momentum", "ema_overwrite_frequency")
# Steps at which a schedule is evaluated: its warm-up is over by then, its decay has not ended.
_SAMPLED_STEPS: Final = (0, 10, 100, 1_000, 10_000)


@dataclass(frozen=True, eq=False)
class OptimizerSlot:
    """Where an optimiser keeps one of its numbers: in ``attribute`` of the inner ``optimizer``.

    ``value``: a Keras variable, a float, a ``LearningRateSchedule`` or a function. ``index``: position among
    the variables of the compiled optimiser, the wrapper's included; None if the value is not one of them.
    """

    optimizer: Any
    attribute: str
    value: Any
    index: int | None

    @property
    def is_scheduled(self) -> bool:
        """Whether the value is a schedule or function of the optimiser's own."""
        return callable(self.value) and not isinstance(self.value, keras.Variable)


def averaging_of(model: keras.Model) -> dict[str, Any]:
    """The arguments by which a model's optimiser, or the first part of one, averages weights; {} for none."""
    for optimizer in averaging_optimizers(model):
        return {name: getattr(optimizer, name) for name in _AVERAGING}
    return {}


def averaging_optimizers(model: keras.Model) -> list[Any]:
    """The optimisers with an average, those inside a ``MultiOptimizer`` or a ``LossScaleOptimizer`` too."""
    inner = inner_optimizer(model)
    return [one for one in getattr(inner, "optimizers", [inner]) if getattr(one, "use_ema", False)]


def inner_optimizer(model_or_optimizer: Any) -> Any:
    """The optimiser that makes the update, inside any ``LossScaleOptimizer``; None without one."""
    optimizer = model_or_optimizer
    if isinstance(optimizer, keras.Model):
        optimizer = getattr(optimizer, "optimizer", None)
    while isinstance(optimizer, optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer


def optimizer_slot(model_or_optimizer: Any, name: SlotName) -> OptimizerSlot | None:
    """The slot ``name`` of a model's optimiser, or of an optimiser; None if it has no such slot.

    ``"iterations"`` is the counter of batches, also with gradient accumulation (Keras's ``.iterations`` does
    not change between two updates). ``"momentum"`` is ``beta_1`` in Adam's family. A ``MultiOptimizer``
    itself has no rate and no momentum.

    Example:
        >>> slot = optimizer_slot(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "momentum")
        >>> slot.attribute, slot.value, slot.index
        ('beta_1', 0.9, None)
    """
    optimizer = inner_optimizer(model_or_optimizer)
    attribute: str | None = f"_{name}"
    if name == "momentum":
        attribute = next((slot for kind, slot in _MOMENTUM.items() if isinstance(optimizer, kind)), None)
    value = getattr(optimizer, attribute, None) if attribute else None
    if attribute is None or value is None or isinstance(optimizer, optimizers.MultiOptimizer):
        return None
    outer = (
        model_or_optimizer.optimizer if isinstance(model_or_optimizer, keras.Model) else model_or_optimizer
    )
    places = [index for index, variable in enumerate(outer.variables) if variable is value]
    return OptimizerSlot(optimizer, attribute, value, places[0] if places else None)


def slot_index(model: keras.Model, name: SlotName) -> int:
    """The position of the variable ``name`` among the optimiser's variables, as in ``State.optimizer``."""
    slot = optimizer_slot(model, name)
    if slot is None or slot.index is None:
        raise ModelError(
            expected=f"an optimiser that keeps {name} in a variable",
            received=f"{type(inner_optimizer(model)).__name__} without one",
            remedy="use an optimiser of Keras, with a constant learning rate",
        )
    return slot.index


@dataclass(frozen=True, eq=False)
class OptimizerFacts:
    """The compiled optimiser, without its loss-scaling wrapper.

    ``name``: its class in lower case, "" without an optimiser. ``learning_rate``: the largest sampled value
    if a schedule sets it; None if unknown.
    """

    name: str
    learning_rate: float | None
    scheduled: bool
    momentum: float
    iterations: int
    optimizer: Any


def optimizer_facts(model: keras.Model) -> OptimizerFacts:
    """The facts of the model's optimiser."""
    optimizer = inner_optimizer(model)
    if optimizer is None:
        return OptimizerFacts("", None, False, 0.0, 0, None)
    slot = optimizer_slot(model, "learning_rate")
    momentum = getattr(optimizer, "momentum", 0.0)
    return OptimizerFacts(
        name=type(optimizer).__name__.lower(),
        learning_rate=None if slot is None else _largest(slot),
        scheduled=slot is not None and slot.is_scheduled,
        momentum=float(momentum) if isinstance(momentum, int | float) else 0.0,
        iterations=int(np.asarray(optimizer.iterations)),
        optimizer=optimizer,
    )


def _largest(rate: OptimizerSlot) -> float:
    if isinstance(rate.value, optimizers.schedules.LearningRateSchedule):
        return max(float(np.asarray(rate.value(step))) for step in _SAMPLED_STEPS)
    return float(np.asarray(rate.value() if rate.is_scheduled else rate.value))


def compiled_like(like: keras.Model, model: keras.Model, **changes: Any) -> keras.Model:
    """``model``, compiled as ``like`` is, with its own optimiser in its initial state.

    ``changes``: other arguments of ``compile``: optimizer, loss, metrics or loss_weights.
    """
    given: Any = like._compile_config  # type: ignore[attr-defined]
    if "metrics" in changes:
        changes["weighted_metrics"] = None
    if "optimizer" not in changes:
        changes["optimizer"] = fresh_optimizer(like)
    config = {**given.config, **changes}
    # Metrics have state: two models may not share one.
    for name in ("metrics", "weighted_metrics"):
        config[name] = keras.tree.map_structure(_fresh_metric, config[name])
    # Keras's own compile(): a class that overrides it may need more arguments, and a copy has the result.
    keras.Model.compile(model, **config)
    return model


def _fresh_metric(metric: Any) -> Any:
    if not isinstance(metric, keras.Metric):
        return metric
    fresh = duplicate(metric)
    fresh.reset_state()
    return fresh


def fresh_optimizer(model: keras.Model, **changes: Any) -> keras.optimizers.Optimizer:
    """An optimiser like the model's in its initial state, with ``changes`` of its configuration.

    Raises :class:`ModelError` if its class cannot make one.
    """
    optimizer = inner_optimizer(model)  # compile() wraps it again
    rate = optimizer_slot(model, "learning_rate")
    if rate is not None and rate.is_scheduled:
        changes = {"learning_rate": rate.value, **changes}
    with errors_as(
        ModelError,
        *FOREIGN_ERRORS,
        expected="an optimiser that can be made from its configuration",
        received=type(optimizer).__name__,
        remedy="give its class get_config",
    ):
        config = {**optimizer.get_config(), **changes}
        try:
            return type(optimizer).from_config(config)
        except FOREIGN_ERRORS:
            return _as_keras_makes_it(optimizer, config)


def _as_keras_makes_it(optimizer: Any, config: dict[str, Any]) -> Any:
    """An optimiser whose own class does not take its configuration: made by Keras's class that it extends."""
    own = type(optimizer)
    fresh: Any = next(one for one in own.__mro__ if one.__module__.startswith("keras.")).from_config(config)
    fresh.__class__ = own
    made = set(vars(fresh))
    for name, value in vars(optimizer).items():
        # Slots, which hold variables, are made when it is built.
        if name not in made and not any(isinstance(one, keras.Variable) for one in keras.tree.flatten(value)):
            setattr(fresh, name, value)
    return fresh
