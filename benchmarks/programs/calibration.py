"""Calibration: of the programs that carry a finding, how many really fall short of a sound reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

import kilter
from kilter.errors import KilterError
from programs.judging import DiagnosisAnswer, diagnosis_of
from programs.reported import Reported
from programs.reported_cases import half

# A program falls short if it ends further below its reference: in accuracy, R² or IoU.
SHORT: Final = 0.02
MEANT: Final = 0.05
SEVERE_SHARE: Final = 0.9
WARNING_SHARE: Final = 0.3
# These warn of a score that misleads, not of a training that falls short.
OF_SCORES: Final = ("shared-rows", "class-imbalance", "leakage")


@dataclass(frozen=True, kw_only=True)
class Judged(DiagnosisAnswer):
    """What diagnose said of a reported program, and what its training and its reference's reach.

    ``half``: 0 for the programs that thresholds were chosen on. ``reference`` is NaN for noise.
    """

    kind: str
    half: int
    score: float
    reference: float


def judged(one: Reported) -> Judged:
    """Diagnose a program, train it, and train its reference."""
    found = diagnosis_of(one.program())
    reference = math.nan if one.kind == "noise" else trained(one, reference=True)
    return Judged(
        case=one.name,
        kind=one.kind,
        half=half(one),
        score=trained(one),
        reference=reference,
        named=bool(one.causes & {*found.get("severe", ())}),
        **found,
    )


def trained(one: Reported, *, reference: bool = False) -> float:
    """The quality after the planned training, of the program or its sound network; 0 if it cannot train."""
    made = one.program(reference=reference)
    try:
        kilter.fit(made.model, made.x, made.y, verbose=0, **made.options)
    except KilterError:
        return 0.0
    assert made.validation is not None
    outputs: Any = kilter.predict(made.model, made.validation[0], verbose=0)
    return quality(outputs["kind"] if isinstance(outputs, dict) else outputs, made.truth)


def quality(outputs: Any, truth: Any) -> float:
    """Accuracy of classes and labels, IoU of masks, R² of numbers (0 if negative); 0 for NaN."""
    given, wanted = np.asarray(outputs, dtype=np.float64), np.asarray(truth)
    if not np.isfinite(given).all():
        return 0.0
    if wanted.dtype.kind != "f":
        if given.shape[-1] > 1:
            return float(np.mean(given.argmax(-1) == wanted)) if given.ndim == wanted.ndim + 1 else 0.0
        answers = given.ravel() > (0.5 if given.min() >= 0 else 0)
        return float(np.mean(answers == wanted.ravel()))
    if given.size != wanted.size:
        return 0.0
    wanted, binary = wanted.reshape(given.shape), set(np.unique(wanted)) == {0.0, 1.0}
    answers, right = given > (0.5 if given.min() >= 0 else 0), wanted > 0.5
    if binary and wanted.ndim > 2:
        return float((answers & right).sum() / max((answers | right).sum(), 1))
    if binary:
        return float(np.mean(answers == right))
    return max(0.0, 1 - float(np.mean(np.square(given - wanted)) / np.var(wanted)))


def table(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int, int]]:
    """(severity, code, programs that carry it, those of them that fall short), for every code."""
    counts: dict[tuple[str, str], list[bool]] = {}
    for row in rows:
        short = row["kind"] == "noise" or row["score"] < row["reference"] - SHORT
        for severity, codes in (("severe", row["severe"]), ("warning", row["warnings"])):
            for code in set(codes) - {*OF_SCORES}:
                counts.setdefault((severity, code), []).append(short)
    return [(*key, len(found), sum(found)) for key, found in sorted(counts.items())]


def figures(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Detected, named and alarms of each half and of both; then the calibration of every code."""
    listed, lines = list(rows), []
    for name, part in (("tuned half", (0,)), ("other half", (1,)), ("both", (0, 1))):
        chosen = [row for row in listed if row["half"] in part]
        faulty = [row for row in chosen if row["kind"] == "faulty"]
        short = [row for row in faulty if row["score"] < row["reference"] - SHORT]
        # Programs meant to be sound that end far from their reference are not.
        sound = [row for row in chosen if row["kind"] == "sound" and row["score"] > row["reference"] - MEANT]
        noise = [row for row in chosen if row["kind"] == "noise"]
        told = sum("shuffled-labels" in (*row["severe"], *row["warnings"]) for row in noise)
        severe = {kind: sum(bool(row["severe"]) for row in rows) for kind, rows in
                  (("short", short), ("faulty", faulty), ("sound", sound))}  # fmt: skip
        lines.append(
            f"{name}: detected {severe['short']} of {len(short)} that fall short, "
            f"{severe['faulty']} of {len(faulty)} faulty; "
            f"named {sum(row['named'] for row in faulty)}; "
            f"severe on {severe['sound']} of {len(sound)} sound; noise told {told} of {len(noise)}; "
            f"exceptions {sum(bool(row['error']) for row in chosen)}"
        )
    seconds = np.array([row["seconds"] for row in listed])
    lines.append(
        f"seconds of diagnose: median {np.median(seconds):.1f}, 95 % {np.quantile(seconds, 0.95):.1f}"
    )
    lines += [
        f"{severity} {code}: {short} of {count} fall short" for severity, code, count, short in table(listed)
    ]
    return lines
