"""The page of a comparison: verdicts, scores, learning curves and differences."""

import math
from pathlib import Path
from typing import Any

from kilter._compare.comparison import Comparison, verdicts
from kilter._text import duration
from kilter.report import page
from kilter.report.charts import Chart, vertical_line
from kilter.runs.atomic import write_text

REPORT = "report.html"
_OF_RUNS = ("lowest", "highest", "diverged", "time")
_METHOD = (
    "“Better by” is the mean difference from the baseline over the pairs; positive means better. The "
    "interval is a percentile bootstrap interval, which is too narrow with few pairs. p comes from the exact "
    "two-sided sign-flip test on the pairs, with Holm's correction if there are several candidates. A "
    "diverged run counts as the worst score. Scores are from each run's best weights; time is the median "
    "over the runs and includes compilation."
)


def write_comparison(comparison: Comparison, path: Path | str | None = None) -> Path:
    """Write the page of a comparison, by default ``report.html`` in its folder; returns its path.

    It is a single file of about 5 MB, mostly plotly's script, that loads nothing else. Raises
    :class:`~kilter.errors.RunError` if it cannot be written.
    """
    place = Path(comparison.path) / REPORT if path is None else Path(path)
    write_text(place, page.fill("comparison.html", drawn=True, **_content(comparison)))
    return place


def _content(comparison: Comparison) -> dict[str, Any]:
    names = [candidate.name for candidate in comparison.candidates]
    metric, level = comparison.metric, comparison.level
    runs = zip(*(candidate.runs for candidate in comparison.candidates), strict=True)
    return {
        "title": f"{metric} of {', '.join(names)}",
        "sentences": verdicts(comparison),
        "baseline": comparison.baseline.name,
        "pairs": f"{len(comparison.baseline.runs)}, each with the same seed and rows for all candidates",
        "folder": comparison.path,
        "columns": ["", metric, *_OF_RUNS, "better by", f"{1 - level:.0%} interval", "p", "verdict"],
        "rows": [(row["name"], _cells(row, metric)) for row in comparison.table()],
        "method": _METHOD,
        "charts": [_curves(comparison), _differences(comparison)],
        "names": names,
        "by_pair": [
            (pair[0].seed, ["diverged" if run.diverged else page.measure(metric, run.score) for run in pair])
            for pair in runs
        ],
    }


def _cells(row: dict[str, Any], metric: str) -> list[str]:
    """The cells of a row of the table, without its name."""
    scores = [page.measure(metric, row[key]) for key in (metric, "lowest", "highest")]
    own = [*scores, str(row["diverged"] or "–"), duration(row["seconds"])]
    if row["verdict"] is None:
        return [*own, "–", "–", "–", "baseline"]
    mean, low, high = (page.difference(metric, row[key]) for key in ("difference", "low", "high"))
    interval = f"{low.removesuffix(' points')} to {high}" if math.isfinite(row["low"]) else "–"
    return [*own, mean, interval, f"{row['p_corrected']:.3f}", row["verdict"]]


def _curves(comparison: Comparison) -> Chart:
    figure = comparison.plot().to_plotly_json()
    name = figure["layout"]["yaxis"]["title"]["text"]
    return Chart(name, "by epoch: median over the pairs, lowest to highest", list(figure["data"]), {})


def _differences(comparison: Comparison) -> Chart:
    """A point for each pair of each candidate; pairs with a diverged run are left out."""
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": one.candidate,
            "x": [value for value in one.differences if math.isfinite(value)],
            "y": [one.candidate for value in one.differences if math.isfinite(value)],
            "marker": {"color": "--train", "size": 9, "opacity": 0.7},
            "hovertemplate": "%{x:+.4g}<extra></extra>",
        }
        for one in comparison.differences
    ]
    layout = {
        "showlegend": False,
        "xaxis": {"title": {"text": f"better than {comparison.baseline.name} by ({comparison.metric})"}},
        "yaxis": {"type": "category", "autorange": "reversed"},
        "shapes": [vertical_line(0)],
    }
    return Chart(
        "Differences", "one point per pair; points to the right of the line are better", traces, layout
    )
