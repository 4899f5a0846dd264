"""How good a trained program is, held against a sound reference network of like size and budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import keras
import numpy as np

import kilter
from programs.sketch import Program, Sketch, program, sound

# A treated program is repaired if it loses no more than this to its reference: of accuracy, or of R².
TOLERANCE = 0.02


def quality(model: keras.Model, x: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy for class numbers, R² for amounts; 0 for answers that are not finite.

    A single output says class 1 above 0.5, or above 0 where some outputs are negative.
    """
    outputs = np.asarray(kilter.predict(model, x), dtype=np.float64).reshape(len(truth), -1)
    if not np.isfinite(outputs).all():
        return 0.0
    if truth.dtype.kind == "f":
        wanted = truth.reshape(len(truth), -1).astype(np.float64)
        return 1 - float(np.mean((outputs - wanted) ** 2) / np.var(wanted))
    if outputs.shape[1] > 1:
        return float(np.mean(outputs.argmax(axis=1) == truth))
    middle = 0.5 if outputs.min() >= 0 else 0.0
    return float(np.mean((outputs[:, 0] > middle) == truth))


def reference(sketch: Sketch, seeds: int = 1) -> float:
    """The reference's mean quality over as many seeds; with the weights of its best validation loss."""
    return float(np.mean([_trained_quality(program(sound(sketch), seed)) for seed in range(seeds)]))


def _trained_quality(one: Program) -> float:
    stop = keras.callbacks.EarlyStopping(patience=1000, restore_best_weights=True)
    kilter.fit(
        one.model, one.x, one.y, validation_data=one.validation, callbacks=[stop], verbose=0, **one.options
    )
    assert one.validation is not None
    assert one.truth is not None
    return quality(one.model, one.validation[0], one.truth)


@dataclass(frozen=True)
class Spent:
    """Seconds that passed, and seconds of processor time, which a busy machine stretches less."""

    seconds: float
    processor: float

    @classmethod
    def since(cls, before: Spent) -> Spent:
        """From ``before`` to now."""
        now = cls.now()
        return cls(now.seconds - before.seconds, now.processor - before.processor)

    @classmethod
    def now(cls) -> Spent:
        """On clocks that began some time ago."""
        return cls(time.perf_counter(), time.process_time())


def keras_fit(one: Program) -> Spent:
    """What Keras's own fit takes for the program as it is, compiling included; NaN where Keras refuses it."""
    began = Spent.now()
    try:
        one.model.fit(one.x, one.y, validation_data=one.validation, verbose=0, **one.options)
    except (ValueError, TypeError):
        return Spent(math.nan, math.nan)
    return Spent.since(began)
