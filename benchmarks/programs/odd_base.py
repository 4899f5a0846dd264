"""How odd programs are made, and where they are listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
import numpy as np

from programs.rows import rows
from programs.sketch import Program

layers = keras.layers
Make = Callable[[], Program]

ODD: Final[dict[str, Make]] = {}


def odd(make: Make) -> Make:
    """Put a program among the odd ones, by its function's name."""
    ODD[make.__name__.strip("_").replace("_", "-")] = make
    return make


def chain(
    shape: Sequence[int], *stack: Any, loss: Any, optimizer: Any = "adam", **compiled: Any
) -> keras.Model:
    """A compiled stack of layers."""
    model = keras.Sequential([keras.Input(tuple(shape)), *stack])
    model.compile(optimizer, loss, **compiled)
    return model


def program_of(model: keras.Model, x: Any, y: Any, validation: Any = None, **options: Any) -> Program:
    """The program, trained for three epochs where nothing else is said."""
    return Program(model, x, y, validation, options={"epochs": 3, **options})


def dense(units: int, activation: str | None = "relu", **options: Any) -> Any:
    """A dense layer."""
    return layers.Dense(units, activation=activation, **options)


def circles() -> tuple[np.ndarray, np.ndarray]:
    """Two rings, standardised."""
    known = rows("circles")
    return known.x, known.y
