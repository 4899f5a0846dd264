"""Mean and deviation of the signal, layer by layer: as measured in one forward pass, and as predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._models.arrays import some_rows
from kilter._models.tracing import LayerCall, forward, watch_calls
from kilter._models.variables import build_forward, fitting, values
from kilter._plotting import Figure, drawn
from kilter.nn.propagation import Signal, predict_layer


@dataclass(frozen=True)
class LayerSignal:
    """The output of one layer, over rows and units together.

    Attributes:
        layer: the layer's path, such as ``"block/dense_1"``.
        kind: its class, such as ``"Dense"``.
        mean, deviation: as measured; NaN if the output is not finite.
        predicted_mean, predicted_deviation: by mean-field theory; None if it makes no prediction.
    """

    layer: str
    kind: str
    mean: float
    deviation: float
    predicted_mean: float | None
    predicted_deviation: float | None


@dataclass(frozen=True)
class DepthRecord:
    """The signal through a model: ``layers`` in the order of their calls, measured on ``rows`` rows."""

    layers: tuple[LayerSignal, ...]
    rows: int

    def plot(self) -> Figure:
        """Standard deviation (logarithmic) and mean by layer: measured as lines, predicted as crosses."""
        return drawn("signal_through_depth", self)


def variance_through_depth(
    model: keras.Model, x: Arrays, *, training: bool = True, rows: int = 512, seed: int = 0
) -> DepthRecord:
    """Mean and standard deviation of each layer's output for the inputs ``x``.

    One compiled forward pass measures every layer that holds no other layers, in the order of the calls. A
    layer that is called twice has two entries; of several outputs the first counts. Calls inside a traced
    loop are left out. The prediction follows the signal through initialisers and activations, so it holds
    before the first training step. It starts from the model's inputs, and restarts from the measured numbers
    after a layer that it cannot predict.

    Args:
        model: any model; built on ``x`` if needed, otherwise unchanged.
        x: inputs as the model takes them: an array, or a list or dict of arrays.
        training: as in a training step (batch statistics, dropout active), or as at inference.
        rows: use at most this many rows of ``x``, sampled with ``seed``.
        seed: of the rows.

    Raises:
        DataError: if the inputs do not fit the model.
    """
    batch = some_rows(x, rows, seed)
    build_forward(model, batch)
    calls: list[LayerCall] = []

    def run(variables: Any, inputs: Any) -> Any:
        calls.clear()
        with watch_calls(model, record):
            forward(model, variables, inputs, training=training)
        return [
            [_statistics(_first_float(arrays)) for arrays in (call.inputs, call.outputs)] for call in calls
        ]

    def record(call: LayerCall, output: Any) -> Any:
        if _first_float(call.outputs) is not None:
            calls.append(call)
        return output

    with fitting(model):
        measured = jax.device_get(jax.jit(run)(values(model), batch))
    return DepthRecord(_with_predictions(calls, measured, training), len(jax.tree.leaves(batch)[0]))


def _first_float(arrays: Sequence[Any]) -> Any | None:
    return next((one for one in arrays if jnp.issubdtype(one.dtype, jnp.floating)), None)


def _statistics(array: Any | None) -> Any:
    if array is None:
        return jnp.full(3, jnp.nan)
    exact = array.astype("float32")
    return jnp.stack([jnp.mean(exact), jnp.mean(jnp.square(exact)), jnp.std(exact)])


def _with_predictions(calls: list[LayerCall], measured: list[Any], training: bool) -> tuple[LayerSignal, ...]:
    """The measured numbers beside the predicted ones."""
    first = [tuple(map(_first_float, (call.inputs, call.outputs))) for call in calls]
    signals: list[Signal] = []
    layers = []
    for index, (call, (entering, leaving)) in enumerate(zip(calls, measured, strict=True)):
        # By identity: an output that is changed on its way to the next layer comes from no layer.
        earlier = (i for i in range(index) if first[i][1] is first[index][0])
        source = next(earlier, None)
        before = Signal(float(entering[0]), float(entering[1])) if source is None else signals[source]
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
