"""The page of a treatment: what was found, what was changed, how certain the gain is, before and after."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from kilter._diagnosis.catalogue import CATALOGUE
from kilter._diagnosis.thresholds import in_words
from kilter._records import Finding
from kilter._text import as_number, counted, duration
from kilter._treatment.result import Evaluation, Treatment, failure, said
from kilter.report import page
from kilter.report.charts import LEGEND_ABOVE, Chart, line, titled
from kilter.runs.atomic import write_text

KERAS_CODE: Final = "These changes as Keras code"
_METHOD: Final = (
    "Short training runs on the same rows chose the changes. The proof then trained the original model and "
    "the changed one on paired seeds that the search had not used. p comes from the exact two-sided "
    "sign-flip test; the interval of the effect is a BCa bootstrap interval. After the proof, each change "
    "was removed in turn and the rest was tested on some of these seeds."
)
# Charts through depth: the measurement, its title, and what it shows.
_THROUGH_DEPTH: Final = (
    ("std", "Signal through depth", "standard deviation of each layer's output, at the first step"),
    ("gradient_std", "Gradient through depth", "standard deviation of the gradient by each layer's output"),
)


def write_treatment(treatment: Treatment, path: Path | str, *, code: Mapping[str, str] | None = None) -> Path:
    """Write the page of a treatment; returns its path.

    ``code``: how to make the changes, by title, such as the diff of a script; by default the Keras code of
    ``treatment.snippet()``.

    It is one file of about 5 MB, mostly plotly's script, that loads nothing else. Nothing is computed: the
    record has all the numbers.

    Raises :class:`~kilter.errors.RunError` if it cannot be written.
    """
    place = Path(path)
    shown = {KERAS_CODE: treatment.snippet()} if code is None else code
    written = {title: text for title, text in shown.items() if text}
    write_text(place, page.fill("treatment.html", drawn=True, code=written, **_content(treatment)))
    return place


def _content(treatment: Treatment) -> dict[str, Any]:
    trials = treatment.trials
    return {
        "title": f"Treatment of {treatment.name}",
        "sentences": _sentences(treatment),
        "tiles": _tiles(treatment),
        "findings": [_finding(one) for one in treatment.diagnosis.findings],
        "remaining": [_finding(one) for one in treatment.after.diagnosis.findings],
        "changes": [(one.remedy, ", ".join(one.where), one.before, one.after) for one in treatment.changes],
        "measure": trials.measure,
        "tried": [
            (", ".join(one.remedies) or "none", [_told(trials.measure, one.score), one.outcome])
            for one in trials.tried
        ],
        "parts": [
            (
                one.remedy,
                [
                    said(one),
                    _told(trials.measure, one.without),
                    "not tried" if math.isnan(one.alone) else _told(trials.measure, one.alone),
                ],
            )
            for one in trials.parts
        ],
        "length": trials.length,
        "pairs": _pairs(treatment),
        "checks": [
            (
                one.measure,
                [
                    _told(one.measure.partition(" of ")[0], one.given),
                    _told(one.measure.partition(" of ")[0], one.other),
                    f"{one.error:.2g}" if math.isfinite(one.error) else "–",
                    one.verdict,
                ],
            )
            for one in treatment.checks
        ],
        "method": _METHOD,
        "charts": [*_curves(treatment), *_depth(treatment.before, treatment.after)],
    }


def _told(measure: str, value: float) -> str:
    """A score as text; of a model that cannot be trained there is none."""
    return page.measure(measure, value) if math.isfinite(value) else as_number(value)


def _sentences(treatment: Treatment) -> list[str]:
    diagnosis = treatment.diagnosis
    counts = diagnosis.counts or "nothing"
    found = f"Nothing severe found; {counts}." if diagnosis.ok and diagnosis.findings else f"Found: {counts}."
    stopped = [f"Stopped early: {treatment.stopped}."] if treatment.stopped else []
    if treatment.noise:
        return [found, f"Nothing to learn here, so no remedy was tried. {treatment.noise}", *stopped]
    if not treatment.changes:
        kept = f"Kept the original model: {treatment.kept}." if treatment.kept else "Trained without changes."
        return [found, f"Nothing was changed. {kept}", *stopped]
    sure = f"Proof: {treatment.trials.in_words}." if treatment.trials.proof is not None else ""
    return [found, f"{counted(len(treatment.changes), 'change')}. {sure}".strip(), *stopped]


def _tiles(treatment: Treatment) -> list[tuple[str, str, str]]:
    """(label, value, small print)."""
    trials, proof = treatment.trials, treatment.trials.proof
    tiles = []
    if proof is not None:
        medians = [failure(one) or _told(trials.measure, one.median) for one in proof.candidates]
        tiles.append(
            (f"{trials.measure} in short training runs", " → ".join(medians), "medians of the proof")
        )
    full = "trained" if treatment.stopped else "fully trained"
    trained = full if treatment.after.history else "not trained"
    score = _told(trials.measure, treatment.after.score)
    tiles.append((f"{trials.measure} of the returned model", score, trained))
    remaining = len(treatment.after.diagnosis.codes("severe"))
    tiles.append(("severe findings", f"{len(treatment.diagnosis.codes('severe'))} → {remaining}", ""))
    return [*tiles, ("time", duration(treatment.seconds), "all trials and the full training")]


def _finding(finding: Finding) -> dict[str, Any]:
    entry = CATALOGUE.get(finding.code)
    return {
        "code": finding.code,
        "title": finding.code if entry is None else entry.title,
        "severity": finding.severity,
        "explanation": finding.explanation,
        "evidence": "; ".join(map(in_words, finding.evidence)),
        "reference": finding.reference,
    }


def _pairs(treatment: Treatment) -> dict[str, Any] | None:
    proof = treatment.trials.proof
    if proof is None:
        return None
    one, measure = proof.differences[0], proof.metric
    pairs = zip(*(candidate.runs for candidate in proof.candidates), strict=True)
    return {
        "columns": ["seed", *(candidate.name for candidate in proof.candidates), "better by"],
        "rows": [
            (
                pair[0].seed,
                [
                    *(_told(measure, run.score) for run in pair),
                    page.difference(measure, value),
                ],
            )
            for pair, value in zip(pairs, one.differences, strict=True)
        ],
        "words": treatment.trials.in_words,
    }


def _curves(treatment: Treatment) -> list[Chart]:
    """Loss and metrics of both models, those of the original one from its short trial."""
    before, after = treatment.before.history, treatment.after.history
    names = [name for name in after if not name.startswith("val_") and np.ndim(after[name]) == 1]
    charts = []
    for name in sorted(names, key=lambda one: (one != "loss", one)):
        traces = [
            line(label, range(1, len(values) + 1), values, color, dash)
            for label, values, color, dash in (
                ("original model, short training run", before.get(name, ()), "--bad", "solid"),
                ("returned model, full training", after[name], "--train", "solid"),
                ("returned model, validation", after.get(f"val_{name}", ()), "--train", "dot"),
            )
            if len(values)
        ]
        layout = {"xaxis": {"title": {"text": "epoch"}}, **LEGEND_ABOVE}
        charts.append(Chart(titled(name), "by epoch", traces, layout))
    return charts


def _depth(before: Evaluation, after: Evaluation) -> list[Chart]:
    """Signal and gradient through the layers with weights before training, of both models."""
    # The original is drawn last, and dotted, so that it is visible where both have the same values.
    read = [("original", "--bad", "dot", before.measurements)]
    if after.measurements is not before.measurements:
        read.insert(0, ("treated", "--train", "solid", after.measurements))
    charts = []
    for name, title, note in _THROUGH_DEPTH:
        traces = []
        for label, color, dash, found in read:
            if found is None:
                continue
            places = np.flatnonzero(np.isfinite(found.values["weight_norm"][0]))
            values = found.values[name][0, places]
            traces.append(line(label, range(1, len(values) + 1), values.tolist(), color, dash))
        layout = {
            "xaxis": {"title": {"text": "layer with weights"}},
            "yaxis": {"type": "log", "exponentformat": "power"},
            **LEGEND_ABOVE,
        }
        if traces:
            charts.append(Chart(title, note, traces, layout))
    return charts
