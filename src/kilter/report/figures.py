"""The figures behind the records' ``plot()``: one function for each kind of record, called through `drawn`.

Nothing is computed or trained here. Every function returns a plotly figure.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from plotly.colors import qualitative
from plotly.graph_objects import Figure, Image
from plotly.subplots import make_subplots

from kilter._text import counted

if TYPE_CHECKING:
    from kilter._compare.comparison import Candidate, Comparison
    from kilter._engine.history import History
    from kilter._infer.calibration import Calibration
    from kilter._studies.reuse_study import ReuseStudy
    from kilter._studies.search_reuse import ReuseSearch
    from kilter._tuning.clip_threshold import FoundClip
    from kilter._tuning.find_lr import FoundRate
    from kilter.nn.depth import DepthRecord

_BLUE: Final = "#2a6fc9"
_RED: Final = "#b3362b"
_GREEN: Final = "#23784a"
_PALE: Final = "#c5cdd8"
_GREY: Final = "grey"
_SHORT: Final = 30  # epochs; longer curves have no markers


def history(
    record: "History", *, stages: Mapping[float, str] | None = None, levels: Mapping[str, float] | None = None
) -> Figure:
    """Each logged number against the epoch; vertical lines at `stages`, horizontal ones at `levels`, named.

    Solid: training. Dotted: training rows in inference mode (``train_``). Dashed: validation.
    """
    figure = _figure(xaxis_title="epoch", legend_title_text="")
    names = [name for name in record.history if not name.startswith(("val_", "train_"))]
    for index, name in enumerate(names):
        for key, dash in ((name, "solid"), (f"train_{name}", "dot"), (f"val_{name}", "dash")):
            if key in record.history:
                line = {"color": _color(index), "dash": dash}
                _line(figure, key, record.epoch, record.history[key], "lines+markers", **line)
    for epoch, name in (stages or {}).items():
        line = {"dash": "dot", "color": "gray"}
        figure.add_vline(x=epoch, line=line, annotation_text=name, annotation_position="top right")
    for name, level in (levels or {}).items():
        figure.add_hline(y=level, line_dash="dot", line_color=_GREY, annotation_text=name)
    return figure


def schedule(times: np.ndarray, curves: Mapping[str, np.ndarray], unit: str) -> Figure:
    """A curve for each scheduled value, one below the other, against steps or epochs (`unit`)."""
    figure = make_subplots(rows=len(curves), cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for row, (name, values) in enumerate(curves.items(), start=1):
        figure.add_scatter(x=times, y=values, name=name, mode="lines", row=row, col=1)
        figure.update_yaxes(title_text=name, row=row, col=1)
    figure.update_xaxes(title_text=unit, row=len(curves), col=1)
    return figure.update_layout(template="plotly_white", showlegend=False)


def signal_through_depth(record: "DepthRecord") -> Figure:
    """Standard deviation (logarithmic) and mean of each layer: measured as lines, predicted as crosses."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    # By number: a layer that is called twice has two places.
    places = list(range(len(record.layers)))
    measured = {"mode": "lines+markers", "name": "measured", "line": {"color": "#1F77B4"}}
    marker = {"symbol": "x", "color": "#FF7F0E", "size": 9}
    predicted = {"mode": "markers", "name": "predicted", "marker": marker}
    for row, key in ((1, "deviation"), (2, "mean")):
        for prefix, style in (("", measured), ("predicted_", predicted)):
            values = [getattr(one, prefix + key) for one in record.layers]
            figure.add_scatter(x=places, y=values, showlegend=row == 1, row=row, col=1, **style)
    figure.update_xaxes(tickvals=places, ticktext=[one.layer for one in record.layers])
    figure.update_yaxes(title_text="standard deviation", type="log", dtick=1, row=1, col=1)
    figure.update_yaxes(title_text="mean", row=2, col=1)
    figure.update_xaxes(title_text="layer", row=2, col=1)
    return figure.update_layout(
        template="plotly_white", title=f"Layer outputs on {counted(record.rows, 'row')}"
    )


def learning_rate_search(found: "FoundRate") -> Figure:
    """Loss against learning rate (logarithmic), for each batch and smoothed, with the suggested rate."""
    figure = _figure()
    for number, curve in enumerate(found.curves):
        name = "batch" if len(found.curves) == 1 else f"batch, search {number + 1}"
        _line(figure, name, found.lrs, curve, color=_PALE, width=1)
    _line(figure, "smoothed", found.lrs, found.smoothed, color=_BLUE, width=2.5)
    # From the lowest loss to as far above the first loss as the lowest is below it.
    lowest = float(np.min(found.smoothed))
    fall = found.first_loss - lowest
    shown = (lowest - 0.25 * fall, found.first_loss + fall)
    marks = [(f"suggestion {found.suggestion:.2g}", found.suggestion, _GREEN, "solid")]
    if found.diverged_at is not None:
        marks.append((f"diverged {found.diverged_at:.2g}", found.diverged_at, _RED, "dot"))
    for name, rate, color, dash in marks:
        _line(figure, name, [rate] * 2, shown, color=color, width=2, dash=dash)
    figure.update_xaxes(title="learning rate", type="log", exponentformat="power", dtick=1)
    return figure.update_yaxes(title="loss of a batch", range=shown)


def gradient_norms(found: "FoundClip") -> Figure:
    """The histogram of the gradient norms, with the clipping threshold as a line."""
    counts, edges = np.histogram(found.norms, bins="auto")
    middles = (edges[:-1] + edges[1:]) / 2
    figure = _figure(bargap=0, legend={"orientation": "h", "y": 1.1})
    figure.add_bar(x=middles, y=counts, width=np.diff(edges), name="steps", marker_color=_BLUE)
    name = f"threshold {found.threshold:.3g}: {found.percentile:g} % of the steps lie below"
    _line(figure, name, [found.threshold] * 2, [0, int(counts.max())], color=_RED, width=2)
    return figure.update_layout(xaxis_title="norm of all gradients", yaxis_title="steps")


def reliability(record: "Calibration") -> Figure:
    """The reliability diagram: accuracy against confidence, bin by bin."""
    width = np.diff(record.edges)
    figure = _figure(
        title=f"expected calibration error {record.expected_calibration_error:.4f}",
        xaxis={"title": "confidence (probability of the predicted class)", "range": [0, 1]},
        yaxis={"title": "accuracy (share of rows)", "range": [0, 1]},
    )
    figure.add_bar(
        x=record.edges[:-1] + width / 2,
        y=record.bin_accuracy,
        width=width,
        name="accuracy",
        customdata=np.stack([record.counts, record.bin_confidence], axis=1),
        hovertemplate="accuracy %{y:.3f}<br>confidence %{customdata[1]:.3f}<br>%{customdata[0]} rows",
    )
    _line(figure, "perfect", [0, 1], [0, 1], dash="dash", color=_GREY)
    return figure


def sparsity(shares: Sequence[float], values: Sequence[float], *, metric: str, scope: str) -> Figure:
    """A metric against the percentage of weights that are zero."""
    figure = _figure(xaxis_title=f"weights that are zero (%), {scope}", yaxis_title=metric)
    return figure.add_scatter(x=[100 * share for share in shares], y=values, mode="lines+markers")


def image_grid(images: np.ndarray, title: str) -> Figure:
    """Images [n², height, width, 1 or 3] in a grid of n by n, from the darkest to the brightest value."""
    side = int(len(images) ** 0.5)
    _, height, width, channels = images.shape
    low, high = float(images.min()), float(images.max())
    levels = np.uint8(255 * (images - low) / max(high - low, float(np.finfo(np.float32).tiny)))
    grid = levels.reshape(side, side, height, width, channels).swapaxes(1, 2)
    pixels = np.broadcast_to(grid, (*grid.shape[:-1], 3)).reshape(side * height, side * width, 3)
    return Figure(Image(z=pixels)).update_layout(
        template="plotly_white", xaxis={"visible": False}, yaxis={"visible": False}, title=title
    )


def comparison(record: "Comparison") -> Figure:
    """The validation metric of all candidates by epoch: median over the pairs, lowest to highest."""
    name = "val_" + record.metric.removeprefix("val_").removeprefix("test_")
    figure = _figure(xaxis_title="epoch", yaxis_title=name)
    for index, candidate in enumerate(record.candidates):
        _add_curve(figure, candidate, name, _color(index))
    return figure


def reuse_study(record: "ReuseStudy") -> Figure:
    """Accuracy against the number of labels, a line for each way: mean, lowest and highest pair."""
    figure = _figure(
        xaxis={"title": "labelled rows", "type": "log", "tickvals": record.labels},
        yaxis={"title": f"accuracy on {record.tested} rows (share)"},
    )
    for index, name in enumerate(one.name for one in record.comparisons[0].candidates):
        scores = [each.candidates[index].scores for each in record.comparisons]
        means = [statistics.fmean(of) for of in scores]
        bars = {
            "type": "data",
            "array": [max(of) - mean for of, mean in zip(scores, means, strict=True)],
            "arrayminus": [mean - min(of) for of, mean in zip(scores, means, strict=True)],
        }
        line = {"color": _color(index)}
        figure.add_scatter(x=record.labels, y=means, name=name, mode="lines+markers", line=line, error_y=bars)
    return figure


def reuse_search(record: "ReuseSearch") -> Figure:
    """Accuracy against the number of layers reused: each run, the mean, and the mean with new weights."""
    figure = _figure(
        xaxis={"title": "layers reused", "tickvals": record.kept},
        yaxis={"title": "validation accuracy (share)"},
    )
    points = [(keep, score) for keep, scores in record.scores.items() for score in scores]
    keeps, scores = zip(*points, strict=True)
    marker = {"color": _color(0), "opacity": 0.4}
    figure.add_scatter(x=keeps, y=scores, mode="markers", marker=marker, name="runs")
    means = [statistics.fmean(scores) for scores in record.scores.values()]
    _line(figure, "mean", list(record.kept), means, "lines+markers", color=_color(0))
    scratch = statistics.fmean(record.comparison.baseline.scores)
    return figure.add_hline(y=scratch, line_dash="dash", line_color=_GREY, annotation_text="new weights")


def _figure(**layout: Any) -> Figure:
    return Figure().update_layout(template="plotly_white", **layout)


def _color(index: int) -> str:
    return qualitative.D3[index % len(qualitative.D3)]


def _line(figure: Figure, name: str, x: Any, y: Any, mode: str = "lines", **line: Any) -> None:
    figure.add_scatter(x=x, y=y, name=name, mode=mode, line=line)


def _add_curve(figure: Figure, candidate: "Candidate", name: str, color: str) -> None:
    """The median over the runs as a line, and their range as an area; only epochs with finite values."""
    longest = max((len(run.history) for run in candidate.runs), default=0)
    columns = {at + 1: values for at in range(longest) if (values := _finite(candidate, name, at))}
    epochs, mode = list(columns), "lines+markers" if longest <= _SHORT else "lines"
    same: dict[str, Any] = {"legendgroup": candidate.name}
    medians = [statistics.median(values) for values in columns.values()]
    figure.add_scatter(x=epochs, y=medians, name=candidate.name, line={"color": color}, mode=mode, **same)
    highest, lowest = [max(of) for of in columns.values()], [min(of) for of in columns.values()]
    area = {"fill": "toself", "fillcolor": color, "opacity": 0.15, "line": {"width": 0}, "mode": "lines"}
    around, values = [*epochs, *reversed(epochs)], [*highest, *reversed(lowest)]
    figure.add_scatter(x=around, y=values, **area, hoverinfo="skip", showlegend=False, **same)


def _finite(candidate: "Candidate", name: str, epoch: int) -> list[float]:
    logs = (run.history[epoch] for run in candidate.runs if epoch < len(run.history))
    return [value for line in logs if np.isfinite(value := line.get(name, np.nan))]
