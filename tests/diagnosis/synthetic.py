"""Contexts made of numbers alone: what a probe, some steps or a history would have told of a dense stack."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kilter._diagnosis.context import Context
from kilter._models.layers import LayerFacts
from kilter._models.optimizers import OptimizerFacts
from kilter._records import Measurements

DENSE, NORM = keras.layers.Dense(4), keras.layers.BatchNormalization()
SOUND = {
    "mean": 0.0, "std": 1.0, "zeros": 0.5, "saturated": 0.0, "dead": 0.0,
    "gradient_norm": 0.1, "gradient_std": 0.01,
    "weight_norm": 4.0, "weight_gradient_norm": 0.2, "update_ratio": 1e-3,
}  # fmt: skip


def readings(
    loss: Any = (1.0,), after: Any = None, *, depth: int = 4, every: int = 9, **values: Any
) -> Measurements:
    """Readings of ``depth`` hidden layers and an output; values broadcast to [readings, layers].

    A value for each hidden layer is continued at the output with a sound one.
    """
    loss = np.asarray(loss, dtype=float)
    after = np.append(loss[1:], loss[-1]) if after is None else np.asarray(after, dtype=float)
    shape = (len(loss), depth + 1)
    arrays = {}
    for name, sound in SOUND.items():
        array = np.full(shape, sound)
        if name in values:
            given = np.asarray(values[name], dtype=float)
            given = given if given.ndim == 2 or given.ndim == 0 else given[None, :]
            array[:, :depth] = given
            if given.ndim == 0:
                array[:] = given
        arrays[name] = array
    arrays["gradient_std"][:, -1] = arrays["gradient_norm"][:, -1] = np.nan
    if len(loss) == 1:
        after = np.array([np.nan])
        arrays["update_ratio"][:] = np.nan
    paths = (*(f"hidden_{index}" for index in range(depth)), "output")
    return Measurements(np.arange(len(loss)) * every, loss, after, paths, ("Dense",) * (depth + 1), arrays)


def context(
    probe: Measurements | None = None,
    training: Measurements | None = None,
    history: Any = None,
    *,
    normalised: bool = False,
    activation: str = "relu",
) -> Context:
    """A context with the layers that were read, and nothing else that a signal's check looks at."""
    known = probe or training
    paths = known.layers if known is not None else ("output",)
    facts = [_facts(index, path, DENSE, path == "output", activation) for index, path in enumerate(paths)]
    if normalised:
        facts.append(_facts(len(facts), "norm", NORM, False))
    x = np.zeros((8, 2), "float32")
    nothing = OptimizerFacts("adam", 1e-3, False, 0.0, 0, None)
    return Context(
        model=keras.Model(),
        layers=tuple(facts),
        outputs=(),
        optimizer=nothing,
        inputs=(x,),
        x=x,
        y=None,
        probe=probe,
        training=training,
        history=history,
    )


def _facts(index: int, path: str, layer: Any, last: bool, activation: str = "relu") -> LayerFacts:
    return LayerFacts(
        index=index,
        path=path,
        kind=type(layer).__name__,
        layer=layer,
        activation=activation,
        activation_layer=path,
        sources=(index - 1,) if index else (),
        takes_input=not index,
        consumers=() if last else (index + 1,),
        is_output=last,
        repeated=False,
        shape=(2, 4),
    )
