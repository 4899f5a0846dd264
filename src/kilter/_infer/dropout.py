"""The dropout layers of a model, and how to switch on these alone during a trace."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import keras

from kilter._models.layers import drop_rates
from kilter._models.tracing import intercept_calls, replace_attribute
from kilter._xla.random_bits import quick
from kilter.errors import ModelError

Layer = keras.layers.Layer


def dropout_layers(model: keras.Model) -> list[Layer]:
    """The layers of a built model, at any depth and each once, that drop at a rate above zero.

    Raises:
        ModelError: if there is none.
    """
    kinds = [layer for layer in _layers(model) if drop_rates(layer)]
    found = [layer for layer in kinds if any(drop_rates(layer))]
    if found:
        return found
    idle = ", ".join(layer.name for layer in kinds)
    raise ModelError(
        expected="a model with dropout at a rate above zero, in any of its layers",
        received=f"model {model.name!r}, "
        + (f"whose dropout layers all have rate 0: {idle}" if idle else "which has no dropout layer"),
        remedy="train a model with dropout, or use kilter.predict: this one answers the same every time",
    )


@contextlib.contextmanager
def dropping(model: keras.Model, layers: Sequence[Layer], key: jax.Array) -> Generator[None]:
    """While active, ``layers`` are called as in training, and the model draws all random numbers from
    ``key``.

    All other layers are called as the caller says. The model's seed generators are neither read nor changed.
    Use it around tracing only.
    """
    with contextlib.ExitStack() as stack, intercept_calls(layers, _in_training):
        for number, generator in enumerate(_seed_generators(model)):
            replace_attribute(generator, "next", _draws(jax.random.fold_in(key, number)), stack)
        yield


def _in_training(_: Any, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """``call`` with ``training=True``, whatever it is given; a call without that argument is not changed."""
    bound = inspect.signature(call).bind(*arguments, **options)
    bound.arguments["training"] = True
    return call(*bound.args, **bound.kwargs)


def _draws(key: jax.Array) -> Callable[..., jax.Array]:
    """A replacement for a seed generator's ``next``: another key at each call."""
    numbers = itertools.count()
    return lambda ordered=True: quick(jax.random.fold_in(key, next(numbers)))


def _layers(model: keras.Model) -> list[Layer]:
    return list({id(layer): layer for layer in model._flatten_layers()}.values())


def _seed_generators(model: keras.Model) -> list[Any]:
    found = (generator for layer in _layers(model) for generator in layer._seed_generators)
    return list({id(generator): generator for generator in found}.values())
