"""New weights for layers, from their own initialisers and a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from kilter._models.variables import assign
from kilter._xla.compilation import fast_compilation


def draw(initializer: Any, shape: Sequence[int], seed: int) -> np.ndarray:
    """Weights of ``shape`` from ``initializer`` (or its name), with ``seed`` if it is random."""
    known: Any = keras.initializers.get(initializer)
    config = known.get_config() if isinstance(known, keras.initializers.Initializer) else {}
    if "seed" in config:
        known = type(known).from_config({**config, "seed": seed})
    with fast_compilation():
        return np.asarray(known(tuple(shape), dtype=keras.config.floatx()))


def draw_weights(layers: Iterable[Any], seed: int) -> None:
    """Initialise ``layers`` again, in place, with ``seed``; statistics start again too.

    Variables without an initialiser of their own (``kernel_initializer`` and the like) do not change, and
    neither do normalisation layers that were adapted to data.
    """
    number = 0
    for layer in layers:
        own = getattr(layer, "_trainable_variables", []) + getattr(layer, "_non_trainable_variables", [])
        for variable in own:
            number += 1
            kind = variable.name.removesuffix("_kernel") if variable.name != "kernel" else "kernel"
            initializer = getattr(layer, f"{kind}_initializer", None)
            if initializer is not None:
                value = draw(initializer, variable.shape, (seed * 1_000_003 + number) % (2**31 - 1))
                assign([(variable, value)])
