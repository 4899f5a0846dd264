"""Charts of a run as plotly traces and layouts: plain data, ready for JSON.

Colours are names of the page's CSS variables (``--train``), which the page replaces for its light and dark
mode. Text is escaped here, because plotly interprets tags in labels.
"""

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kilter._text import duration
from kilter._tuning.clip_threshold import FoundClip
from kilter._tuning.find_lr import FoundRate
from kilter._validation import errors_as
from kilter.errors import RunError
from kilter.runs.reading import FOUND_CLIP, FOUND_RATE, RunRecords
from kilter.runs.records import EpochRecord, Evaluation

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# With more classes, cells are too small for numbers.
_NUMBERED_CLASSES = 12
_PREFIX = "val_"
# The curves of a measure: prefix of the log name, name of the curve, colour, dash.
_CURVES = (
    ("", "training", "--train", "solid"),
    ("train_", "training, in inference mode", "--train", "dot"),
    (_PREFIX, "validation", "--validation", "solid"),
)


# Logged with the measures, but set by a schedule.
SCHEDULED = frozenset({"learning_rate", "momentum"})


# For charts with an axis title that would otherwise collide with the legend.
LEGEND_ABOVE: Final[dict[str, Any]] = {
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    "margin": {"l": 8, "r": 12, "t": 60, "b": 8},
    "height": 320,
}


@dataclass(frozen=True)
class Chart:
    """A plot with its title and a note on what it shows."""

    title: str
    note: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]


def learning_curves(history: Sequence[EpochRecord], best_epoch: int | None) -> list[Chart]:
    """A chart for each measure, the loss first: training and validation, with the best epoch marked."""
    names = {name.removeprefix(_PREFIX).removeprefix("train_") for record in history for name in record.logs}
    ordered = sorted(names - SCHEDULED, key=lambda name: (name != "loss", name))
    return [_curve(name, history, best_epoch) for name in ordered]


def searches(records: RunRecords) -> list[Chart]:
    """A chart of each search that the run made before training; [] if the recipe gave the numbers.

    Raises :class:`RunError` for a damaged file.
    """
    read = {FOUND_RATE: _rate_search, FOUND_CLIP: _clip_search}
    drawn = []
    for name, fields in records.found.items():
        with errors_as(
            RunError,
            *(KeyError, TypeError, ValueError),
            expected=f"{records.path / name} as kilter wrote it",
            remedy="restore the file from a copy, or remove it: the run can be read without it",
        ):
            drawn.append(read[name](fields))
    return drawn


def _rate_search(fields: Mapping[str, Any]) -> Chart:
    found = FoundRate.from_dict(fields)
    end = "no divergence" if found.diverged_at is None else f"divergence at {found.diverged_at:.2g}"
    return _from_figure("Learning rate", f"{found.suggestion:.3g} was used; {end}", found.plot())


def _clip_search(fields: Mapping[str, Any]) -> Chart:
    found = FoundClip.from_dict(fields)
    note = f"{found.threshold:.3g} was used, above {found.percentile:g} % of {len(found.norms)} norms"
    return _from_figure("Clipping threshold", note, found.plot())


def _from_figure(title: str, note: str, figure: "Figure") -> Chart:
    """The figure without its template, because the page has its own."""
    content = json.loads(str(figure.to_json()))
    layout = {name: content["layout"][name] for name in ("xaxis", "yaxis")}
    return Chart(title, note, content["data"], layout | LEGEND_ABOVE)


def epoch_seconds(history: Sequence[EpochRecord]) -> Chart:
    """Seconds per epoch. Compilation can take far longer, so the note states it separately."""
    bars = {
        "type": "bar",
        "name": "seconds",
        "x": [record.epoch + 1 for record in history],
        "y": [record.seconds for record in history],
        "marker": {"color": "--train"},
        "hovertemplate": "%{y:.3g} s",
    }
    compiling = sum(record.compile_seconds for record in history)
    note = "including validation" + (f", excluding {duration(compiling)} of compilation" if compiling else "")
    return Chart("Seconds per epoch", note, [bars], {"yaxis": {"ticksuffix": " s", "rangemode": "tozero"}})


def scheduled(history: Sequence[EpochRecord]) -> list[Chart]:
    """Learning rate and momentum by epoch, if they change."""
    rates = [record.learning_rate for record in history]
    momenta = [record.logs.get("momentum") for record in history]
    epochs = [record.epoch + 1 for record in history]
    found: list[tuple[str, Sequence[float | None], dict[str, Any]]] = []
    if len(set(rates)) > 1 and any(rates):
        ticks = _round_numbers([rate for rate in rates if rate])
        axis = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
        found.append(("learning rate", rates, {"yaxis": axis}))
    if len(set(momenta)) > 1:
        found.append(("momentum", momenta, {}))
    return [
        Chart(titled(name), "at the end of each epoch", [line(name, epochs, values, "--train")], layout)
        for name, values, layout in found
    ]


def confusion(name: str, evaluation: Evaluation, classes: Sequence[str]) -> Chart:
    """The confusion matrix: rows are true classes, shaded by share and labelled with counts."""
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
        "hovertemplate": "true: %{customdata[0]}<br>predicted: %{customdata[1]}<br>"
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
        "ticktext": [html.escape(label if len(label) <= 14 else label[:13] + "…") for label in classes],
    }
    layout = {
        "height": 420,
        "xaxis": {"showgrid": False, "tickangle": -45, **ticks},
        "yaxis": {"showgrid": False, "autorange": "reversed", **ticks},
    }
    note = f"{evaluation.rows:,} rows; vertical: true class, horizontal: predicted class"
    return Chart(f"Confusion matrix, {name}", note, [heatmap], layout)


def compared(part: str, evaluation: Evaluation, output: int) -> Chart:
    """Predictions of a regression's output against the true values, with the line of exact predictions."""
    pairs = [pair for pair in evaluation.compared[output] if all(map(math.isfinite, pair))]
    ends = [min(map(min, pairs)), max(map(max, pairs))] if pairs else []
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": "rows",
        "x": [true for true, _ in pairs],
        "y": [given for _, given in pairs],
        "marker": {"color": "--train", "size": 5, "opacity": 0.6},
        "hovertemplate": "true: %{x:.5g}<br>predicted: %{y:.5g}<extra></extra>",
    }
    exact = {
        "type": "scatter",
        "mode": "lines",
        "name": "exact",
        "x": ends,
        "y": ends,
        "line": {"color": "--muted", "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
    }
    outputs = len(evaluation.compared)
    title = f"Predictions, {part}" + (f", output {output + 1}" if outputs > 1 else "")
    rows = (
        f"{evaluation.rows:,} rows"
        if len(pairs) == evaluation.rows
        else (f"{len(pairs):,} of {evaluation.rows:,} rows")
    )
    axes = {"xaxis": {"title": {"text": "true value"}}, "yaxis": {"title": {"text": "prediction"}}}
    layout = {"height": 380, "showlegend": False, **axes}
    return Chart(title, f"{rows}; on the dotted line, predictions are exact", [points, exact], layout)


def worst_confusions(evaluation: Evaluation, classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """The five most frequent mistakes, most frequent first: (true class, predicted class, rows)."""
    mistakes = [
        (classes[true], classes[answer], cell)
        for true, row in enumerate(evaluation.confusion)
        for answer, cell in enumerate(row)
        if true != answer and cell
    ]
    return sorted(mistakes, key=lambda mistake: -mistake[2])[:5]


def _curve(name: str, history: Sequence[EpochRecord], best_epoch: int | None) -> Chart:
    traces, layout = [], {}
    for prefix, label, color, dash in _CURVES:
        seen = [record for record in history if prefix + name in record.logs]
        if seen:
            values = [record.logs[prefix + name] for record in seen]
            traces.append(line(label, [record.epoch + 1 for record in seen], values, color, dash))
    if best_epoch is not None:
        layout = _mark(best_epoch + 1)
    return Chart(titled(html.escape(name)), "by epoch", traces, layout)


def titled(name: str) -> str:
    """The title of a measure's chart.

    Example:
        >>> titled("average_precision"), titled("roc_auc"), titled("rmse")
        ('Average precision', 'ROC AUC', 'RMSE')
    """
    words = name.replace("_", " ").capitalize().split(" ")
    return " ".join(word.upper() if word.lower() in _ACRONYMS else word for word in words)


_ACRONYMS: Final = {"auc", "f1", "iou", "mae", "mape", "mse", "r2", "rmse", "roc"}


def _mark(epoch: int) -> dict[str, Any]:
    place = {"x": epoch, "xref": "x", "yref": "paper"}
    return {
        "shapes": [vertical_line(epoch, width=1, dash="dot")],
        "annotations": [{**place, "y": 1, "yanchor": "bottom", "text": f"best: {epoch}", "showarrow": False}],
    }


def vertical_line(x: float, **style: Any) -> dict[str, Any]:
    """A line over the whole height of a plot."""
    ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "line", **ends, "line": {"color": "--muted", **style}}


def line(
    name: str, x: Sequence[int], values: Sequence[float | None], color: str, dash: str = "solid"
) -> dict[str, Any]:
    """A curve, with markers if it is short: a single point has no line."""
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(x) <= 30 else "lines",
        "name": name,
        "x": list(x),
        # JSON has no NaN and infinity; plotly leaves a gap for None.
        "y": [value if value is not None and math.isfinite(value) else None for value in values],
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "size": 5},
        "hovertemplate": "%{y:.5g}",
    }


def _round_numbers(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten around positive values; only the powers over many decades.

    Plotly labels the ticks of a logarithmic axis with single digits.
    """
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    return [float(f"{factor}e{decade}") for decade in decades for factor in factors]
