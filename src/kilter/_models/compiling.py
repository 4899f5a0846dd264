"""Models compiled as others are: with the same loss and metrics, and a fresh optimiser."""

from __future__ import annotations

from typing import Any

import keras

from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.duplicate import duplicate
from kilter._models.optimizers import inner_optimizer, optimizer_slot
from kilter._validation import errors_as
from kilter.errors import ModelError


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
