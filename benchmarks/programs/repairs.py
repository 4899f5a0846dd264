"""Repairs beyond the corpus: a seeded sample of faulty, sound and noise programs of every kind, treated.

Each program is trained as it came, treated, and held against the same network as it should have been.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np

import kilter
from kilter.errors import KilterError
from programs.calibration import quality
from programs.cases import cases
from programs.families import Case
from programs.judging import Spent, TreatmentAnswer, treatment_of
from programs.reported import Reported
from programs.reported_cases import reported
from programs.sketch import Program, program, sound

# Of accuracy, R² or IoU: repaired within the first of the reference, harmed if worse by the second.
TOLERANCE: Final = 0.02
HARM: Final = 0.01
FAULTY, SOUND, NOISE = 12, 4, 4


@dataclass(frozen=True, kw_only=True)
class Repair(TreatmentAnswer):
    """A program before and after its treatment.

    ``given``, ``score``, ``reference``: quality after the planned training; ``noise``: whether the
    diagnosis says that there is nothing to learn.
    """

    kind: str
    given: float
    noise: bool
    fit_seconds: float
    fit_processor_seconds: float


def sample(seed: int) -> list[Case | Reported]:
    """Of the corpus and of the reported programs 12 faulty and 4 sound ones each, and 4 on noise."""
    random = np.random.default_rng(seed)
    curable = [one for one in cases() if one.curable and one.sketch.rows != "cifar"]
    known: list[list[Any]] = [
        [one for one in curable if one.faulty],
        [one for one in reported() if one.kind == "faulty"],
        [one for one in curable if not one.faulty],
        [one for one in reported() if one.kind == "sound"],
        [one for one in reported() if one.kind == "noise"],
    ]
    found = []
    for group, count in zip(known, (FAULTY, FAULTY, SOUND, SOUND, NOISE), strict=True):
        found += [group[index] for index in sorted(random.permutation(len(group))[:count])]
    return found


def repaired(one: Case | Reported) -> Repair:
    """Treat a program, train it as it came with kilter, and train its reference."""
    kind = one.kind if isinstance(one, Reported) else "faulty" if one.faulty else "sound"
    wanted = math.nan if kind == "noise" else _reached(one, reference=True)[0]
    given, fit = _reached(one)
    made = _made(one)
    jax.clear_caches()
    found = treatment_of(made, lambda model: _quality(model, made))
    return Repair(
        case=one.name,
        kind=kind,
        given=given,
        reference=wanted,
        noise="shuffled-labels" in found.get("severe", ()),
        fit_seconds=fit.seconds,
        fit_processor_seconds=fit.processor,
        **found,
    )


def _made(one: Case | Reported, *, reference: bool = False) -> Program:
    if isinstance(one, Reported):
        return one.program(reference=reference)
    return program(sound(one.sketch) if reference else one.sketch)


def _reached(one: Case | Reported, *, reference: bool = False) -> tuple[float, Spent]:
    """The quality after the planned training, 0 if it cannot be trained; and what that took."""
    made, began = _made(one, reference=reference), Spent.now()
    try:
        kilter.fit(made.model, made.x, made.y, validation_data=made.validation, verbose=0, **made.options)
    except KilterError:
        return 0.0, Spent.since(began)
    return _quality(made.model, made), Spent.since(began)


def _quality(model: Any, made: Program) -> float:
    assert made.validation is not None
    outputs: Any = kilter.predict(model, made.validation[0], verbose=0)
    return quality(outputs["kind"] if isinstance(outputs, dict) else outputs, made.truth)


def figures(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Repaired, harmed, claims on noise, changes of the repaired, exceptions, cost."""
    listed = list(rows)
    kinds = {kind: [row for row in listed if row["kind"] == kind] for kind in ("faulty", "sound", "noise")}
    short = [row for row in kinds["faulty"] if row["given"] < row["reference"] - TOLERANCE]
    mended = [row for row in short if _number(row["score"]) >= row["reference"] - TOLERANCE]
    counts = [len(row["changes"]) for row in mended]
    cost = _cost(listed, "")
    return [
        f"repaired: {len(mended)} of {len(short)} that fall short; "
        f"{sum(_number(row['score']) >= row['reference'] - TOLERANCE for row in kinds['faulty'])} of "
        f"{len(kinds['faulty'])} faulty reach the reference",
        f"harmed: {sum(_number(row['score']) < row['given'] - HARM for row in listed)} of {len(listed)}",
        f"sound ones changed: {sum(bool(row['changes']) for row in kinds['sound'])} of {len(kinds['sound'])}",
        f"noise: changed {sum(bool(row['changes']) for row in kinds['noise'])}, "
        f"said {sum(bool(row['noise']) for row in kinds['noise'])} of {len(kinds['noise'])}",
        f"changes of a repaired program: median {np.median(counts) if counts else math.nan:g}, "
        f"most {max(counts, default=0)}",
        f"exceptions: {sum(bool(row['error']) for row in listed)}",
        f"seconds of treat: {_spread([row['seconds'] for row in listed])}",
        f"processor time of treat: {_spread([row['processor_seconds'] for row in listed])}",
        f"(treat - 10 s) / fit of the program as it came: {_spread(cost)}; "
        f"processor time {_spread(_cost(listed, 'processor_'))}",
    ]


def _number(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value


def _cost(rows: Sequence[Mapping[str, Any]], clock: str) -> list[float]:
    return [max(0.0, row[f"{clock}seconds"] - 10) / max(row[f"fit_{clock}seconds"], 1e-9) for row in rows]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    middle, high = np.quantile(values, (0.5, 0.95))
    return f"median {middle:.2f}, 95 % {high:.2f}"
