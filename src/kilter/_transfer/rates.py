"""Optimisers of a stage: one rate for all layers, or one for each depth (discriminative fine-tuning)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras

from kilter._engine.optax_optimizer import OptaxOptimizer
from kilter._text import first_line
from kilter.errors import OptionError

# Keras's own numbers: a rate means the same with one rate and with many.
_EPSILON: Final = 1e-7


class _NadamState(NamedTuple):
    count: jax.Array
    product: jax.Array
    mean: Any
    square: Any


def _scale_by_nadam(
    b1: float = 0.9, b2: float = 0.999, eps: float = _EPSILON
) -> optax.GradientTransformation:
    """Nadam with Dozat's schedule of momenta, as Keras has it; optax's own keeps the momentum constant."""

    def init(params: Any) -> _NadamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _NadamState(jnp.zeros((), jnp.int32), jnp.ones(()), zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _NadamState]:
        count = state.count + 1
        now, then = (b1 * (1 - 0.5 * 0.96**step) for step in (count, count + 1))
        product = state.product * now
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, updates)

        def direction(m: jax.Array, v: jax.Array, g: jax.Array) -> jax.Array:
            ahead = then * m / (1 - product * then) + (1 - now) * g / (1 - product)
            return (ahead / (jnp.sqrt(v / (1 - b2**count)) + eps)).astype(g.dtype)

        steps = jax.tree.map(direction, mean, square, updates)
        return steps, _NadamState(count, product, mean, square)

    return optax.GradientTransformation(init, update)


RULES: Final[dict[str, Callable[[], optax.GradientTransformation]]] = {
    "sgd": optax.identity,
    "adam": lambda: optax.scale_by_adam(eps=_EPSILON),
    "nadam": _scale_by_nadam,
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
