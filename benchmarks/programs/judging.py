"""How good a trained program is, held against a sound reference network of like size and budget."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a call of kilter said of a program; ``error`` is the last line of what it raised, or ""."""

    case: str
    severe: tuple[str, ...] = ()
    seconds: float
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class DiagnosisAnswer(Answer):
    """The codes of :func:`kilter.diagnose`, and whether a severe one names the fault."""

    warnings: tuple[str, ...] = ()
    named: bool


@dataclass(frozen=True, kw_only=True)
class TreatmentAnswer(Answer):
    """The changes of :func:`kilter.treat`, and the quality of the treated model and of its reference."""

    changes: tuple[str, ...] = ()
    verdict: str = ""
    score: float = math.nan
    reference: float
    processor_seconds: float


def diagnosis_of(one: Program) -> Mapping[str, Any]:
    """The fields of an answer that :func:`kilter.diagnose` gives."""
    return _answer(
        kilter.diagnose,
        one,
        lambda found: {"severe": found.codes("severe"), "warnings": found.codes("warning")},
    )


def treatment_of(one: Program, score: Callable[[keras.Model], float]) -> Mapping[str, Any]:
    """The fields of an answer that :func:`kilter.treat` gives; ``score``: the quality of a model."""
    began = Spent.now()
    found = _answer(
        kilter.treat,
        one,
        lambda found: {
            "severe": found.diagnosis.codes("severe"),
            "changes": tuple(change.remedy for change in found.changes),
            "verdict": found.trials.verdict,
            "processor_seconds": Spent.since(began).processor,
            "score": score(found.model),
        },
    )
    return {"processor_seconds": Spent.since(began).processor} | found


def _answer(call: Any, one: Program, read: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        found = call(one.model, one.x, one.y, validation_data=one.validation, verbose=0, **one.options)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, **read(found)}
    except Exception:  # noqa: BLE001  (an exception is what is measured)
        error = traceback.format_exc().strip().splitlines()[-1]
    return {"seconds": time.perf_counter() - began, "error": error}
