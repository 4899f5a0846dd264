"""Optimisers of a stage: one rate for all layers, or one for each depth (discriminative fine-tuning)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import optax

from kilter import backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras

from kilter.engine.optax_optimizer import OptaxOptimizer
from kilter.errors import OptionError
from kilter.words import first_line

# Keras's own numbers: a rate means the same with one rate and with many.
_EPSILON: Final = 1e-7

RULES: Final[dict[str, Callable[[], optax.GradientTransformation]]] = {
    "sgd": optax.identity,
    "adam": lambda: optax.scale_by_adam(eps=_EPSILON),
    "nadam": lambda: optax.scale_by_adam(eps=_EPSILON, nesterov=True),
    "adamw": lambda: optax.chain(optax.scale_by_adam(eps=_EPSILON), optax.add_decayed_weights(0.004)),
    "adamax": lambda: optax.scale_by_adamax(eps=_EPSILON),
    "rmsprop": lambda: optax.scale_by_rms(decay=0.9, eps=_EPSILON),
    "adagrad": lambda: optax.scale_by_rss(initial_accumulator_value=0.1, eps=_EPSILON),
    "lion": lambda: optax.scale_by_lion(b1=0.9, b2=0.99),
}
"""The direction of a step, before its rate, of the optimisers that can have a rate for each depth."""


def one_rate(name: str, learning_rate: float) -> keras.optimizers.Optimizer:
    """The Keras optimiser ``name`` with that rate; :class:`~kilter.errors.OptionError` for no name."""
    try:
        return keras.optimizers.get({"class_name": name, "config": {"learning_rate": learning_rate}})
    except (TypeError, ValueError) as problem:
        raise OptionError(
            expected="the name of a Keras optimiser, such as " + ", ".join(RULES),
            received=f"optimizer={name!r} ({first_line(problem)})",
            remedy="correct the name",
        ) from problem


def many_rates(
    name: str, learning_rate: float, decay: float, depths: Mapping[str, int], variables: Any
) -> OptaxOptimizer:
    """An optimiser whose rate is ``learning_rate / decay ** depth``, by the ``depths`` of paths of variables.

    The direction of a step is that of ``name`` in :data:`RULES`. Keras's ``learning_rate`` is the rate at
    depth 0: callbacks and schedules move all rates together.
    """
    labels = {path: str(depths[path]) for path in (variable.path for variable in variables)}
    shares: dict[Any, optax.GradientTransformation] = {
        label: optax.scale(-(decay ** -int(label))) for label in set(labels.values())
    }
    transformation = optax.chain(RULES[name](), optax.multi_transform(shares, labels))
    optimizer = OptaxOptimizer(transformation, name=f"{name}_by_depth")
    optimizer.learning_rate = learning_rate
    return optimizer
