"""Weights drawn anew, from a seed, by the initialisers that layers were made with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from kilter._xla.compilation import hasty_compilation


def draw(initializer: Any, shape: Sequence[int], seed: int) -> np.ndarray:
    """Weights of ``shape`` from ``initializer`` (or its name), drawn with ``seed`` where it draws."""
    known: Any = keras.initializers.get(initializer)
    config = known.get_config() if isinstance(known, keras.initializers.Initializer) else {}
    if "seed" in config:
        known = type(known).from_config({**config, "seed": seed})
    with hasty_compilation():
        return np.asarray(known(tuple(shape), dtype=keras.config.floatx()))


def draw_weights(layers: Iterable[Any], seed: int) -> None:
    """Give ``layers``, in place, weights that their initialisers draw with ``seed``; statistics begin anew.

    Layers that are not built by initialisers of their own (``kernel_initializer`` and the like) stay as they
    are, and so do normalisation layers that were adapted to data.
    """
    number = 0
    for layer in layers:
        for variable in getattr(layer, "_trainable_variables", []) + getattr(
            layer, "_non_trainable_variables", []
        ):
            number += 1
            kind = variable.name.removesuffix("_kernel") if variable.name != "kernel" else "kernel"
            initializer = getattr(layer, f"{kind}_initializer", None)
            if initializer is not None:
                value = draw(initializer, variable.shape, (seed * 1_000_003 + number) % (2**31 - 1))
                variable.assign(value)
