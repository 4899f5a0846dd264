"""Mean and deviation of the signal, layer by layer: as measured in one forward pass, and as predicted."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._models.tracing import build, fitting, forward, leaf_layers, replace_attribute, some_rows, values
from kilter._plotting import Figure, drawn
from kilter.nn.propagation import Signal, predict_layer


@dataclass(frozen=True)
class LayerSignal:
    """What leaves one layer, over rows and units together.

    Attributes:
        layer: the layer's path, such as ``"block/dense_1"``.
        kind: its class, such as ``"Dense"``.
        mean, deviation: as measured; NaN where the output is not finite.
        predicted_mean, predicted_deviation: by mean-field theory; None where it says nothing.
    """

    layer: str
    kind: str
    mean: float
    deviation: float
    predicted_mean: float | None
    predicted_deviation: float | None


@dataclass(frozen=True)
class DepthRecord:
    """The signal through a model: ``layers`` in the order of their calls, and how many ``rows`` were used."""

    layers: tuple[LayerSignal, ...]
    rows: int

    def plot(self) -> Figure:
        """Standard deviation (logarithmic) and mean by layer: measured as lines, predicted as crosses."""
        return drawn("signal_through_depth", self)


def variance_through_depth(
    model: keras.Model, x: Any, *, training: bool = True, rows: int = 512, seed: int = 0
) -> DepthRecord:
    """Mean and standard deviation of what leaves each layer of ``model`` for the inputs ``x``.

    One compiled forward pass measures them for every layer that holds no other layers, in the order of the
    calls; one called more than once has an entry for each call, one with several outputs shows the first.
    The prediction follows the signal from the layer's initialiser and activation
    (:mod:`kilter.nn.propagation`), so it is that of a model before its first step; it begins with what enters
    the model, and anew, with the measured numbers, after every layer it knows nothing about.

    Args:
        model: any model, built on ``x`` if it is not yet. Nothing of it changes.
        x: inputs as the model takes them: an array, or a list or dict of arrays.
        training: as in a training step (batch normalisation by the batch's statistics, dropout active), or as
            at inference.
        rows: at most so many rows of ``x``, drawn with ``seed``, are used.
        seed: of the rows.

    Raises :class:`~kilter.errors.DataError` for inputs that do not fit the model.
    """
    batch = some_rows(x, rows, seed)
    build(model, batch)
    calls: list[_Call] = []

    def run(variables: Any, inputs: Any) -> Any:
        calls.clear()
        with contextlib.ExitStack() as stack:
            for path, layer in leaf_layers(model):
                _watch(path, layer, calls, stack)
            forward(model, variables, inputs, training=training)
        return [(call.entering, call.leaving) for call in calls]

    with fitting(model):
        measured = jax.device_get(jax.jit(run)(values(model), batch))
    return DepthRecord(_beside(calls, measured, training), len(jax.tree.leaves(batch)[0]))


@dataclass(frozen=True)
class _Call:
    """One call in the trace: which call its input came from, and mean, E[x²] and deviation as traced."""

    path: str
    layer: keras.layers.Layer
    source: int | None
    entering: Any
    leaving: Any
    output: Any


def _watch(path: str, layer: Any, calls: list[_Call], stack: contextlib.ExitStack) -> None:
    """Note every call of ``layer`` in ``calls``, for as long as ``stack`` is open."""
    call = layer.call

    def watched(*arguments: Any, **options: Any) -> Any:
        output = call(*arguments, **options)
        entered, left = (_numbers(value) for value in ((arguments, options), output))
        if left is not None:
            # By identity: an output that is changed on its way to the next layer comes from no layer.
            source = next((index for index, one in enumerate(calls) if one.output is entered), None)
            calls.append(_Call(path, layer, source, _statistics(entered), _statistics(left), left))
        return output

    replace_attribute(layer, "call", watched, stack)


def _numbers(value: Any) -> Any | None:
    """The first array of floating-point numbers in ``value``."""
    arrays = (one for one in jax.tree.leaves(value) if hasattr(one, "dtype"))
    return next((one for one in arrays if jnp.issubdtype(one.dtype, jnp.floating)), None)


def _statistics(array: Any | None) -> Any:
    if array is None:
        return jnp.full(3, jnp.nan)
    exact = array.astype("float32")
    return jnp.stack([jnp.mean(exact), jnp.mean(jnp.square(exact)), jnp.std(exact)])


def _beside(calls: list[_Call], measured: list[Any], training: bool) -> tuple[LayerSignal, ...]:
    """The measured numbers with the predictions beside them."""
    signals: list[Signal] = []
    layers = []
    for call, (entering, leaving) in zip(calls, measured, strict=True):
        before = (
            Signal(float(entering[0]), float(entering[1])) if call.source is None else signals[call.source]
        )
        known = predict_layer(call.layer, before, training=training) if np.isfinite(before.second) else None
        after = known if known is not None and np.isfinite(known.second) else None
        signals.append(Signal(float(leaving[0]), float(leaving[1])) if after is None else after)
        layers.append(
            LayerSignal(
                layer=call.path,
                kind=type(call.layer).__name__,
                mean=float(leaving[0]),
                deviation=float(leaving[2]),
                predicted_mean=None if after is None else after.mean,
                predicted_deviation=None if after is None else after.deviation,
            )
        )
    return tuple(layers)
