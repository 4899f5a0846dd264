"""The threshold to clip gradients at, read from the norms of a healthy stretch of training.

Needs neither Keras nor JAX, so that a report can be made of a measurement that was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as graph_objects

from kilter._tuning.rate_curve import divergence
from kilter.errors import ModelError

# Nine of ten healthy steps stay as they are, and the tail is cut. The percentile of the norms is AutoClip's
# (Seetharaman et al. 2020), which takes it anew at each step, and a lower one.
PERCENTILE = 90.0


@dataclass(frozen=True, eq=False)
class FoundClip:
    """What :func:`kilter.clip_threshold` found.

    ``norms``: the norm of all gradients together at each step, before clipping, float64 [steps].
    ``threshold``: their ``percentile``, for an optimiser's ``global_clipnorm``.
    """

    norms: np.ndarray
    threshold: float
    percentile: float

    def plot(self) -> graph_objects.Figure:
        """The histogram of the norms, with the threshold as a line."""
        figure = graph_objects.Figure()
        counts, edges = np.histogram(self.norms, bins="auto")
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=np.diff(edges),
            name="steps",
            marker_color="#2a6fc9",
        )
        name = f"threshold {self.threshold:.3g}: {self.percentile:g} % of the steps lie below"
        line = {"color": "#b3362b", "width": 2}
        top = [0, int(counts.max())]
        figure.add_scatter(x=[self.threshold] * 2, y=top, name=name, mode="lines", line=line)
        figure.update_layout(template="plotly_white", bargap=0, legend={"orientation": "h", "y": 1.1})
        return figure.update_layout(xaxis_title="norm of all gradients", yaxis_title="steps")

    def to_dict(self) -> dict[str, Any]:
        """Numbers and a list, for a file."""
        return {"norms": self.norms.tolist(), "threshold": self.threshold, "percentile": self.percentile}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> FoundClip:
        """The record of what :meth:`to_dict` gave; KeyError or ValueError where it is none."""
        return FoundClip(
            norms=np.asarray(fields["norms"], float),
            threshold=float(fields["threshold"]),
            percentile=float(fields["percentile"]),
        )


def read_norms(losses: np.ndarray, norms: np.ndarray, percentile: float) -> FoundClip:
    """The threshold of a stretch of training with these losses and gradient norms, [steps] each.

    Raises :class:`ModelError` where the stretch is not healthy: a norm or loss is not finite, the loss
    diverges (as in a search for the learning rate), or no gradient is other than zero.
    """
    wild = np.flatnonzero(~np.isfinite(norms))
    end = divergence(losses, len(losses))
    if len(wild) or end is not None:
        step = int(wild[0]) if len(wild) else end
        raise ModelError(
            expected="a healthy stretch of training to take the gradients' norms from",
            received=f"a loss or gradient that grows beyond measure at step {step}",
            remedy="take a smaller learning rate (kilter.find_lr finds one) before the clipping threshold",
        )
    threshold = float(np.percentile(norms, percentile))
    if threshold == 0:
        raise ModelError(
            expected="gradients other than zero",
            received=f"norms that are 0 up to their {percentile:g}th percentile",
            remedy="look at why nothing learns: saturated or dead units, frozen layers, weights all 0",
        )
    return FoundClip(norms, threshold, percentile)
