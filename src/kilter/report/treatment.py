"""The page of a treatment: what was found, what was changed, how sure that is, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from kilter._compare.comparison import proof_in_words
from kilter._diagnosis.catalogue import CATALOGUE
from kilter._records import Finding
from kilter._text import duration
from kilter._treatment.result import Evaluation, Treatment
from kilter.report import words
from kilter.report.charts import Chart
from kilter.report.html import fill
from kilter.runs.atomic import write_text

_METHOD: Final = (
    "Short trainings on the same rows chose the changes. The proof trained the chosen set and the original "
    "model on paired seeds that the search did not use. p is that of the exact two-sided sign-flip test; the "
    "interval is a percentile bootstrap interval, too narrow for few pairs."
)
# Charts through depth: the measurement, its title, and what it shows.
_THROUGH_DEPTH: Final = (
    ("std", "Signal through depth", "standard deviation of each layer's output, at the first step"),
    ("gradient_std", "Gradient through depth", "standard deviation of the gradient by each layer's output"),
)
# Above the plot, since the title of the axis is below it.
_LEGEND: Final = {
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    "margin": {"l": 8, "r": 12, "t": 60, "b": 8},
    "height": 320,
}


def write_treatment(treatment: Treatment, path: Path | str) -> Path:
    """Write the page of a treatment; returns where it is.

    One file of about 5 MB, most of it plotly's script; it loads nothing from anywhere. Nothing is computed:
    the record has all the numbers. Raises :class:`~kilter.errors.RunError` if it cannot be written.
    """
    place = Path(path)
    write_text(place, fill("treatment.html", drawn=True, **_content(treatment)))
    return place


def _content(treatment: Treatment) -> dict[str, Any]:
    trials = treatment.trials
    return {
        "title": f"Treatment of {treatment.name}",
        "sentences": _sentences(treatment),
        "tiles": _tiles(treatment),
        "findings": [_finding(one) for one in treatment.diagnosis.findings],
        "remaining": [_finding(one) for one in treatment.after.diagnosis.findings],
        "changes": [
            (one.remedy, ", ".join(one.where), one.before, one.after, one.recipe) for one in treatment.changes
        ],
        "snippet": treatment.snippet(),
        "measure": trials.measure,
        "tried": [
            (", ".join(one.remedies) or "none", words.measure(trials.measure, one.score), one.outcome)
            for one in trials.tried
        ],
        "length": f"{words.count(trials.epochs, 'epoch')} on {words.count(trials.rows, 'row')}",
        "pairs": _pairs(treatment),
        "checks": [
            (one.measure, f"{one.given:.4g}", f"{one.other:.4g}", f"{one.error:.2g}", one.verdict)
            for one in treatment.checks
        ],
        "method": _METHOD,
        "charts": [*_curves(treatment), *_depth(treatment.before, treatment.after)],
    }


def _sentences(treatment: Treatment) -> list[str]:
    severe = treatment.diagnosis.codes("severe")
    found = f"{words.count(len(severe), 'severe finding')}." if severe else "Nothing severe was found."
    if not treatment.changes:
        kept = f"Kept the given model: {treatment.kept}." if treatment.kept else "Trained without changes."
        return [found, f"Nothing was changed. {kept}"]
    proof = treatment.trials.proof
    sure = f"Proof: {proof_in_words(proof)}." if proof is not None else ""
    return [found, f"{words.count(len(treatment.changes), 'change')}. {sure}".strip()]


def _tiles(treatment: Treatment) -> list[tuple[str, str, str]]:
    """(label, value, small print)."""
    measure, before = treatment.trials.measure, treatment.before.score
    tiles = [(f"{measure} after", words.measure(measure, treatment.after.score), "fully trained")]
    if math.isfinite(before):
        tiles.insert(0, (f"{measure} before", words.measure(measure, before), "in short trials"))
    remaining = len(treatment.after.diagnosis.codes("severe"))
    tiles.append(("severe findings", f"{len(treatment.diagnosis.codes('severe'))} → {remaining}", ""))
    tiles.append(("time", duration(treatment.seconds), "all trials and the training"))
    return tiles


def _finding(finding: Finding) -> dict[str, Any]:
    entry = CATALOGUE.get(finding.code)
    evidence = [
        f"{one.name}: {one.value:.4g}" if isinstance(one.value, float) else f"{one.name}: {one.value}"
        for one in finding.evidence
    ]
    return {
        "code": finding.code,
        "title": finding.code if entry is None else entry.title,
        "severity": finding.severity,
        "explanation": finding.explanation,
        "evidence": "; ".join(evidence),
        "reference": finding.reference,
    }


def _pairs(treatment: Treatment) -> dict[str, Any] | None:
    proof = treatment.trials.proof
    if proof is None:
        return None
    one, measure = proof.differences[0], proof.metric
    pairs = zip(*(candidate.runs for candidate in proof.candidates), strict=True)
    interval = f"{one.low:+.4g} to {one.high:+.4g}" if math.isfinite(one.low) else "–"
    return {
        "names": [candidate.name for candidate in proof.candidates],
        "rows": [
            (pair[0].seed, [words.measure(measure, run.score) for run in pair], f"{value:+.4g}")
            for pair, value in zip(pairs, one.differences, strict=True)
        ],
        "told": f"{proof_in_words(proof)}; interval {interval}"
        + (f"; refused: {treatment.trials.refused}" if treatment.trials.refused else ""),
    }


def _curves(treatment: Treatment) -> list[Chart]:
    """Loss and metrics of both models, those of the original one from its short trial."""
    before, after = treatment.before.history, treatment.after.history
    names = [name for name in after if not name.startswith("val_") and np.ndim(after[name]) == 1]
    charts = []
    for name in sorted(names, key=lambda one: (one != "loss", one)):
        traces = [
            _line(label, range(1, len(values) + 1), values, color, dash)
            for label, values, color, dash in (
                ("original", before.get(name, ()), "--bad", "solid"),
                ("treated", after[name], "--train", "solid"),
                ("treated, validation", after.get(f"val_{name}", ()), "--train", "dot"),
            )
            if len(values)
        ]
        layout = {"xaxis": {"title": {"text": "epoch"}}, **_LEGEND}
        charts.append(
            Chart(name.capitalize(), "by epoch; the original model in a short trial", traces, layout)
        )
    return charts


def _depth(before: Evaluation, after: Evaluation) -> list[Chart]:
    """Signal and gradient through the layers with weights before training, of both models."""
    read = [("original", "--bad", before.measurements)]
    if after.measurements is not before.measurements:
        read.append(("treated", "--train", after.measurements))
    charts = []
    for name, title, note in _THROUGH_DEPTH:
        traces = []
        for label, color, found in read:
            if found is None:
                continue
            places = np.flatnonzero(np.isfinite(found.values["weight_norm"][0]))
            values = found.values[name][0, places]
            traces.append(_line(label, range(1, len(values) + 1), values.tolist(), color, "solid"))
        layout = {
            "xaxis": {"title": {"text": "layer with weights"}},
            "yaxis": {"type": "log", "exponentformat": "power"},
            **_LEGEND,
        }
        if traces:
            charts.append(Chart(title, note, traces, layout))
    return charts


def _line(name: str, x: Sequence[int], y: Sequence[float], color: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(x) <= 30 else "lines",
        "name": name,
        "x": list(x),
        "y": [float(value) if math.isfinite(value) else None for value in y],
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "size": 5},
        "hovertemplate": "%{y:.4g}",
    }
