"""The corpus put through kilter: what it finds, repairs, costs, and wrongly reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import keras
import numpy as np

from kilter._compare.comparison import PairedRun
from kilter._compare.looks import Spending
from kilter._engine.training_spec import TrainingSpec
from kilter._treatment.proof import prove
from kilter._treatment.scoring import Scoring, scoring_of
from kilter._treatment.subject import Subject
from kilter._treatment.trial_runner import TrialRunner
from programs.families import Case
from programs.judging import (
    TOLERANCE,
    DiagnosisAnswer,
    TreatmentAnswer,
    diagnosis_of,
    keras_fit,
    quality,
    reference,
    treatment_of,
)
from programs.sketch import Program, Sketch, program


@dataclass(frozen=True, kw_only=True)
class Diagnosed(DiagnosisAnswer):
    """The diagnosis of a case; ``named``: by a finding as severe as the case is."""

    family: str
    faulty: bool
    detected: bool


@dataclass(frozen=True, kw_only=True)
class Treated(TreatmentAnswer):
    """The treatment of a case, and what Keras's fit of the faulty program takes.

    ``score`` and ``reference`` are accuracies or R².
    """

    family: str
    faulty: bool
    repaired: bool
    keras_seconds: float
    keras_processor_seconds: float


def diagnosed(case: Case, seed: int = 0) -> Diagnosed:
    """Diagnose one case."""
    found = diagnosis_of(program(case.sketch, seed))
    severe, warnings = found.get("severe", ()), found.get("warnings", ())
    counted = severe if case.severity == "severe" else (*severe, *warnings)
    return Diagnosed(
        case=case.name,
        family=case.family,
        faulty=case.faulty,
        detected=bool(counted) if case.faulty else bool(severe),
        named=bool(case.causes & set(counted)),
        **found,
    )


def treated(case: Case, seed: int = 0) -> Treated:
    """Treat one case, and train it as it is with Keras, and its reference."""
    one = program(case.sketch, seed)
    assert one.validation is not None
    assert one.truth is not None
    x, truth = one.validation[0], one.truth
    wanted = reference(case.sketch)
    jax.clear_caches()  # nothing that was compiled for the reference may help
    found = treatment_of(one, lambda model: quality(model, x, truth))
    jax.clear_caches()
    usual = keras_fit(program(case.sketch, seed))
    return Treated(
        case=case.name,
        family=case.family,
        faulty=case.faulty,
        reference=wanted,
        repaired=found.get("score", math.nan) >= wanted - TOLERANCE,
        keras_seconds=usual.seconds,
        keras_processor_seconds=usual.processor,
        **found,
    )


def held_out(case: Case, seed: int) -> Case:
    """The case with another depth, width, optimiser and seed of weights, drawn with ``seed``; 0 leaves it."""
    if seed == 0:
        return case
    random = np.random.default_rng([seed, sum(map(ord, case.name))])
    depth = max(1, round(case.sketch.depth * random.uniform(0.7, 1.4)))
    return replace(
        case,
        name=f"{case.name}@{seed}",
        sketch=replace(case.sketch, depth=depth, units=int(random.integers(8, 65))),
    )


@dataclass(frozen=True)
class _OtherSeeds:
    """The same runner with seeds that no other trial has."""

    runner: TrialRunner

    @property
    def scoring(self) -> Scoring:
        return self.runner.scoring

    def runs(self, seeds: Sequence[int], epochs: int, begin: Callable[[], object]) -> list[PairedRun]:
        return self.runner.runs([seed + 1_000_000 for seed in seeds], epochs, begin)


def claims(trials: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The proof of a program against itself with other seeds: how often an effect is claimed."""
    one = program(Sketch(rows="blobs", units=8, epochs=1))
    subject = _subject(one)
    runner = TrialRunner(subject, scoring_of(subject), subject.rows)
    claimed = 0
    for number in range(trials):
        proof: Any = prove(runner, _OtherSeeds(runner), 1, 100 * number, Spending(6).take())
        claimed += proof.differences[0].verdict != "no evidence"
        if number % 20 == 19:
            say(f"{claimed} of {number + 1} claim an effect")
    return {"trials": trials, "claimed": claimed}


def _subject(one: Program) -> Subject:
    assert one.validation is not None
    options = {name: one.options[name] for name in ("epochs", "batch_size")}
    return Subject(one.model, one.x, one.y, TrainingSpec(**options, validation_data=one.validation))


def each(cases: Iterable[Case], measure: Callable[[Case], Any], say: Callable[[str, Any], None]) -> list[Any]:
    """The measure of every case, told as soon as it is known; memory is given back between them."""
    results = []
    for case in cases:
        results.append(measure(case))
        say(case.name, results[-1])
        keras.backend.clear_session()
        jax.clear_caches()
    return results


def to_rows(results: Iterable[Any]) -> list[dict[str, Any]]:
    """Results as plain JSON types; what is no number is null."""
    return [
        {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(one).items()
        }
        for one in results
    ]
