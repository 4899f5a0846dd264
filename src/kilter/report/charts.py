"""Charts of a run as plotly traces and layouts, plain data ready for JSON.

Colours are names of the page's CSS variables (``--train``): the page replaces them, in light and in dark.
Text is escaped here, because plotly reads tags in labels.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kilter._text import duration
from kilter.runs.records import EpochRecord, Evaluation

# More cells than this are too small to hold their number.
_NUMBERED_CLASSES = 12
_PREFIX = "val_"
# The curves of a measure: what its log's name begins with, the curve's name, its colour and its dash.
_CURVES = (
    ("", "training", "--train", "solid"),
    ("train_", "training, in inference mode", "--train", "dot"),
    (_PREFIX, "validation", "--validation", "solid"),
)


# Logged beside the measures, but set by a schedule: no measures.
SCHEDULED = frozenset({"learning_rate", "momentum"})


@dataclass(frozen=True)
class Chart:
    """A picture with its heading and, in words, what to see in it."""

    title: str
    note: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]


def learning_curves(history: Sequence[EpochRecord], best_epoch: int | None) -> list[Chart]:
    """A chart for each measure, the loss first: training against validation, the best epoch marked."""
    names = {name.removeprefix(_PREFIX).removeprefix("train_") for record in history for name in record.logs}
    ordered = sorted(names - SCHEDULED, key=lambda name: (name != "loss", name))
    return [_curve(name, history, best_epoch) for name in ordered]


def epoch_seconds(history: Sequence[EpochRecord]) -> Chart:
    """How long each epoch took. Compiling, which would dwarf a small model's epochs, is told in words."""
    bars = {
        "type": "bar",
        "name": "seconds",
        "x": [record.epoch + 1 for record in history],
        "y": [record.seconds for record in history],
        "marker": {"color": "--train"},
        "hovertemplate": "%{y:.3g} s",
    }
    compiling = sum(record.compile_seconds for record in history)
    note = f"with validation; {duration(compiling)} of compiling apart" if compiling else "with validation"
    return Chart("Seconds per epoch", note, [bars], {"yaxis": {"ticksuffix": " s", "rangemode": "tozero"}})


def scheduled(history: Sequence[EpochRecord]) -> list[Chart]:
    """The learning rate over the epochs, and the momentum; without those that never change."""
    rates = [record.learning_rate for record in history]
    momenta = [record.logs.get("momentum") for record in history]
    charts = []
    if len(set(rates)) > 1 and any(rates):
        charts.append(_learning_rates(history, rates))
    if len(set(momenta)) > 1:
        line = _line("momentum", [record.epoch + 1 for record in history], momenta, "--train")
        charts.append(Chart("Momentum", "at the end of each epoch", [line], {}))
    return charts


def _learning_rates(history: Sequence[EpochRecord], rates: Sequence[float | None]) -> Chart:
    line = _line("learning rate", [record.epoch + 1 for record in history], rates, "--train")
    ticks = _round_numbers([rate for rate in rates if rate])
    axis = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    return Chart("Learning rate", "at the end of each epoch", [line], {"yaxis": axis})


def confusion(name: str, evaluation: Evaluation, classes: Sequence[str]) -> Chart:
    """Which classes were taken for which: a row is a true class, shaded by its shares, numbered by counts."""
    counts = evaluation.confusion
    labels = [html.escape(label) for label in classes]
    shares = [[cell / max(sum(row), 1) for cell in row] for row in counts]
    heatmap = {
        "type": "heatmap",
        "x": list(range(len(labels))),
        "y": list(range(len(labels))),
        "z": shares,
        "customdata": [
            [[labels[true], labels[answer], cell] for answer, cell in enumerate(row)]
            for true, row in enumerate(counts)
        ],
        "hovertemplate": "true: %{customdata[0]}<br>answer: %{customdata[1]}<br>"
        "%{customdata[2]:,} rows, %{z:.1%}<extra></extra>",
        "colorscale": [[0, "--surface"], [1, "--train"]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }
    if len(labels) <= _NUMBERED_CLASSES:
        heatmap |= {"text": [[str(cell or "") for cell in row] for row in counts], "texttemplate": "%{text}"}
    ticks = {
        "tickvals": list(range(len(labels))),
        "ticktext": [html.escape(_short(label)) for label in classes],
    }
    layout = {
        "height": 420,
        "xaxis": {"showgrid": False, "tickangle": -45, **ticks},
        "yaxis": {"showgrid": False, "autorange": "reversed", **ticks},
    }
    note = f"{evaluation.rows:,} rows; down: true class, across: answer"
    return Chart(f"Confusion, {name}", note, [heatmap], layout)


def worst_confusions(
    evaluation: Evaluation, classes: Sequence[str], limit: int = 5
) -> list[tuple[str, str, int]]:
    """The most frequent mistakes: (true class, answer, rows), the most frequent first."""
    mistakes = [
        (classes[true], classes[answer], cell)
        for true, row in enumerate(evaluation.confusion)
        for answer, cell in enumerate(row)
        if true != answer and cell
    ]
    return sorted(mistakes, key=lambda mistake: -mistake[2])[:limit]


def _curve(name: str, history: Sequence[EpochRecord], best_epoch: int | None) -> Chart:
    traces, layout = [], {}
    for prefix, label, color, dash in _CURVES:
        seen = [record for record in history if prefix + name in record.logs]
        if seen:
            values = [record.logs[prefix + name] for record in seen]
            traces.append(_line(label, [record.epoch + 1 for record in seen], values, color, dash))
    if best_epoch is not None:
        layout = _mark(best_epoch + 1)
    return Chart(html.escape(name).capitalize(), "by epoch", traces, layout)


def _mark(epoch: int) -> dict[str, Any]:
    line = {"color": "--muted", "width": 1, "dash": "dot"}
    place = {"x": epoch, "xref": "x", "yref": "paper"}
    return {
        "shapes": [
            {"type": "line", "x0": epoch, "x1": epoch, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        ],
        "annotations": [{**place, "y": 1, "yanchor": "bottom", "text": f"best: {epoch}", "showarrow": False}],
    }


def _line(
    name: str, epochs: list[int], values: Sequence[float | None], color: str, dash: str = "solid"
) -> dict[str, Any]:
    return {
        "type": "scatter",
        # A lone point has no line to be seen by.
        "mode": "lines+markers" if len(epochs) <= 30 else "lines",
        "name": name,
        "x": epochs,
        "y": [_plotted(value) for value in values],
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "size": 5},
        "hovertemplate": "%{y:.5g}",
    }


def _round_numbers(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten around positive values; the powers alone over many decades.

    Plotly's own ticks on a logarithmic axis are bare digits.
    """
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    return [float(f"{factor}e{decade}") for decade in decades for factor in factors]


def _plotted(value: float | None) -> float | None:
    """JSON has no NaN; plotly leaves a gap for null."""
    return value if value is not None and math.isfinite(value) else None


def _short(label: str) -> str:
    return label if len(label) <= 14 else label[:13] + "…"
