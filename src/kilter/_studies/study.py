"""What a study of reuse found: every way against training from scratch, at each number of labels."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import plotly.graph_objects as graph_objects
from plotly.colors import qualitative

from kilter._compare.comparison import Comparison
from kilter._compare.words import verdicts
from kilter.runs.records import to_json


@dataclass(frozen=True)
class ReuseStudy:
    """The result of :func:`kilter.reuse_study`.

    ``comparisons`` has one for each of ``labels``, whose baseline is the training from scratch; their scores
    are the accuracy on ``tested`` rows after the last epoch. ``unlabelled`` rows were given to each way, and
    ``pretraining`` has the seconds that each spent on them, the median over the pairs.
    """

    labels: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    unlabelled: int
    tested: int
    pretraining: Mapping[str, float]

    def table(self) -> list[dict[str, Any]]:
        """A row for each number of labels and way: as in :meth:`kilter._treatment.Comparison.table`."""
        return [
            {"labels": count, **row, "pairs": len(one.baseline.runs)}
            for count, one in zip(self.labels, self.comparisons, strict=True)
            for row in one.table()
        ]

    def verdicts(self) -> list[str]:
        """A sentence for each number of labels and way."""
        return [
            f"{count} labels: {said}"
            for count, one in zip(self.labels, self.comparisons, strict=True)
            for said in verdicts(one)
        ]

    def plot(self) -> graph_objects.Figure:
        """Accuracy against the number of labels, a line a way: the mean, and from lowest to highest pair."""
        figure = graph_objects.Figure()
        for index, name in enumerate(one.name for one in self.comparisons[0].candidates):
            scores = [each.candidates[index].scores for each in self.comparisons]
            means = [statistics.fmean(of) for of in scores]
            figure.add_scatter(
                x=self.labels,
                y=means,
                name=name,
                mode="lines+markers",
                line={"color": qualitative.D3[index % len(qualitative.D3)]},
                error_y={
                    "type": "data",
                    "array": [max(of) - mean for of, mean in zip(scores, means, strict=True)],
                    "arrayminus": [mean - min(of) for of, mean in zip(scores, means, strict=True)],
                },
            )
        return figure.update_layout(
            template="plotly_white",
            xaxis={"title": "labelled rows", "type": "log", "tickvals": self.labels},
            yaxis={"title": f"accuracy on {self.tested} rows (share)"},
        )

    def to_json(self) -> str:
        """All of it as JSON text; numbers that are not finite are the strings "nan", "inf" and "-inf"."""
        return to_json(asdict(self), indent=2)
