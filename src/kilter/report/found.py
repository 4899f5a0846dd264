"""Charts of what was measured before a training: the learning rate's curve, the gradients' norms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as graph_objects

from kilter._tuning.clip_threshold import FoundClip
from kilter._tuning.rate_curve import FoundRate
from kilter.errors import RunError
from kilter.report.charts import Chart
from kilter.runs.reading import FOUND_CLIP, FOUND_RATE, RunRecords


def found_charts(records: RunRecords) -> list[Chart]:
    """A chart of each measurement that the run holds; [] where its recipe had the numbers.

    Raises :class:`RunError` where such a file holds something else.
    """
    read = {FOUND_RATE: _rate, FOUND_CLIP: _clip}
    charts = []
    for name, fields in records.found.items():
        try:
            charts.append(read[name](fields))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                expected=f"{records.path / name} as kilter wrote it",
                received=f"{type(error).__name__}: {error}",
                remedy="take the file from a copy, or remove it: a run can be read without it",
            ) from error
    return charts


def _rate(fields: Mapping[str, Any]) -> Chart:
    found = FoundRate.from_dict(fields)
    end = "the loss never shot up" if found.diverged_at is None else f"it shot up at {found.diverged_at:.2g}"
    return _chart("Learning rate", f"{found.suggestion:.3g} was taken; {end}", found.plot())


def _clip(fields: Mapping[str, Any]) -> Chart:
    found = FoundClip.from_dict(fields)
    note = f"{found.threshold:.3g} was taken, above {found.percentile:g} % of {len(found.norms)} steps"
    return _chart("Clipping threshold", note, found.plot())


def _chart(title: str, note: str, figure: graph_objects.Figure) -> Chart:
    """The figure without its template: the page has its own."""
    drawn = json.loads(str(figure.to_json()))
    layout = {name: drawn["layout"][name] for name in ("xaxis", "yaxis")}
    # Above the plot, as the axis has a title where the page's other charts have their legend.
    layout["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    layout |= {"margin": {"l": 8, "r": 12, "t": 60, "b": 8}, "height": 320}
    return Chart(title, note, drawn["data"], layout)
