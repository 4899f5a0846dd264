"""What a search for the number of layers to reuse found."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as graph_objects
from plotly.colors import qualitative

from kilter._compare.comparison import Comparison, Difference
from kilter._compare.words import verdicts
from kilter.runs.records import to_json


@dataclass(frozen=True)
class ReuseSearch:
    """The result of :func:`kilter.search_reuse`.

    ``kept`` are the numbers of layers tried; ``comparison`` has the same network with new weights as its
    baseline, and then one candidate for each of them, scored by the validation accuracy after the last epoch.
    """

    kept: tuple[int, ...]
    comparison: Comparison

    @property
    def scores(self) -> dict[int, tuple[float, ...]]:
        """The scores of each number of layers, in the order of the seeds."""
        tried = self.comparison.candidates[1:]
        return {keep: one.scores for keep, one in zip(self.kept, tried, strict=True)}

    @property
    def best(self) -> int:
        """The number of layers with the highest mean score; of equal ones the most layers.

        Where a run diverged its number of layers is not the best, unless one did for all.
        """
        means = {keep: statistics.fmean(scores) for keep, scores in self.scores.items()}
        return max(means, key=lambda keep: (np.nan_to_num(means[keep], nan=-np.inf), keep))

    @property
    def evidence(self) -> Difference:
        """The best number of layers against the network with new weights, corrected for the choice."""
        return self.comparison.differences[self.kept.index(self.best)]

    def verdicts(self) -> list[str]:
        """A sentence for each number of layers."""
        return verdicts(self.comparison)

    def table(self) -> list[dict[str, Any]]:
        """A row for new weights, and one for each number of layers."""
        return self.comparison.table()

    def plot(self) -> graph_objects.Figure:
        """Accuracy against the number of layers reused: each run, the mean, and that of new weights."""
        figure = graph_objects.Figure()
        color, grey = qualitative.D3[0], "grey"
        points = [(keep, score) for keep, scores in self.scores.items() for score in scores]
        figure.add_scatter(
            x=[keep for keep, _ in points],
            y=[score for _, score in points],
            mode="markers",
            marker={"color": color, "opacity": 0.4},
            name="runs",
        )
        figure.add_scatter(
            x=list(self.kept),
            y=[statistics.fmean(scores) for scores in self.scores.values()],
            mode="lines+markers",
            line={"color": color},
            name="mean",
        )
        scratch = statistics.fmean(self.comparison.baseline.scores)
        figure.add_hline(y=scratch, line_dash="dash", line_color=grey, annotation_text="new weights")
        return figure.update_layout(
            template="plotly_white",
            xaxis={"title": "layers reused", "tickvals": self.kept},
            yaxis={"title": "validation accuracy (share)"},
        )

    def to_json(self) -> str:
        """All of it as JSON text; numbers that are not finite are the strings "nan", "inf" and "-inf"."""
        return to_json({"best": self.best, **asdict(self)}, indent=2)
