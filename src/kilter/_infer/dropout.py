"""Which layers of a model drop, and how these alone are switched on while a trace is taken."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import jax
import keras

from kilter._models.keras_internals import DropoutRNNCell
from kilter._models.tracing import replace_attribute
from kilter._xla.random_bits import quick
from kilter.errors import ModelError

Layer = keras.layers.Layer

# Kinds of layers that drop (subclasses with them), and the attributes that hold their rates. GaussianNoise is
# none of them: it disturbs what passes at a strength of its own, and leaves no units out. LSTM and GRU are
# named beside their cells, because on a GPU they may run without calling the cell.
_RATES: Final[dict[Any, tuple[str, ...]]] = {
    keras.layers.Dropout: ("rate",),  # SpatialDropout1D, 2D and 3D are its subclasses
    keras.layers.AlphaDropout: ("rate",),
    keras.layers.GaussianDropout: ("rate",),
    keras.layers.Attention: ("dropout",),  # AdditiveAttention too; MultiHeadAttention holds a Dropout
    DropoutRNNCell: ("dropout", "recurrent_dropout"),
    keras.layers.LSTM: ("dropout", "recurrent_dropout"),
    keras.layers.GRU: ("dropout", "recurrent_dropout"),
}


def rates(layer: Layer) -> tuple[float, ...]:
    """The rates at which ``layer`` drops; () for a layer of no kind that drops."""
    for kind, names in _RATES.items():
        if isinstance(layer, kind):
            return tuple(float(getattr(layer, name)) for name in names)
    return ()


def dropout_layers(model: keras.Model) -> list[Layer]:
    """The layers of a built model, at any depth and each once, that drop at a rate above zero.

    Raises :class:`ModelError` where there is none.
    """
    kinds = [layer for layer in _layers(model) if rates(layer)]
    found = [layer for layer in kinds if any(rates(layer))]
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
def dropping(model: keras.Model, layers: Sequence[Layer], key: jax.Array) -> Iterator[None]:
    """While active, ``layers`` are called as in training, and every random number of the model is ``key``'s.

    All other layers are called as the caller says. The model's seed generators neither give nor change their
    state. Replaces attributes of instances and puts every one back, also on an error: use it around tracing
    only.
    """
    with contextlib.ExitStack() as stack:
        for layer in layers:
            replace_attribute(layer, "call", _in_training(layer.call), stack)
        for number, generator in enumerate(_seed_generators(model)):
            replace_attribute(generator, "next", _draws(jax.random.fold_in(key, number)), stack)
        yield


def _in_training(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` with ``training=True``, whatever it is given; a call without that argument stays as it is."""
    signature = inspect.signature(call)

    def called(*arguments: Any, **options: Any) -> Any:
        bound = signature.bind(*arguments, **options)
        bound.arguments["training"] = True
        return call(*bound.args, **bound.kwargs)

    return called


def _draws(key: jax.Array) -> Callable[..., jax.Array]:
    """What stands in for a seed generator's ``next``: another key at each call."""
    numbers = itertools.count()
    return lambda ordered=True: quick(jax.random.fold_in(key, next(numbers)))


def _layers(model: keras.Model) -> list[Layer]:
    return list({id(layer): layer for layer in model._flatten_layers()}.values())


def _seed_generators(model: keras.Model) -> list[Any]:
    found = (generator for layer in _layers(model) for generator in layer._seed_generators)
    return list({id(generator): generator for generator in found}.values())
