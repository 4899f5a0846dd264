"""What pretraining gives: an encoder ready for reuse, and figures that say whether it learnt anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as graph_objects

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._engine.history import History
from kilter.runs.records import DataRecord


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretrained encoder.

    Attributes:
        task: what it was trained for, such as "denoising autoencoder" or "rotation".
        encoder: the trained copy of the encoder that was given, uncompiled, ready for :func:`kilter.reuse`.
        decoder: from codes to rows in the data's own units, for tasks that reconstruct; else None.
        history: the epochs; a greedy stack has those of all its stages in order.
        figures: what was measured at the end, on validation rows where there are any, else on training rows.
            For tasks that reconstruct ``error`` is the mean squared error, ``baseline`` that of the mean row,
            both in the units of the loss's targets, and ``explained`` is 1 - error / baseline. For tasks with
            an answer to choose ``accuracy`` and ``chance``, the accuracy of guessing. ``rows``: how many rows
            were measured. A sparse autoencoder has ``activity``, the mean of its codes.
        notes: sentences about what is wrong; empty where nothing is.
        learnt: whether the encoder is better at its task than one that looks at nothing.
        data: how the rows were read, for a recipe; it goes into the encoder's file. None for arrays.
    """

    task: str
    encoder: keras.Model
    decoder: keras.Model | None
    history: History
    figures: Mapping[str, float]
    notes: tuple[str, ...]
    learnt: bool
    data: DataRecord | None = field(default=None, kw_only=True)

    @property
    def seconds(self) -> float:
        """How long the epochs took, without compilation."""
        return sum(self.history.seconds)

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON object, without the models."""
        return {
            "task": self.task,
            "learnt": self.learnt,
            "figures": dict(self.figures),
            "notes": list(self.notes),
            "epochs": len(self.history.epoch),
            "seconds": self.seconds,
            "compile_seconds": self.history.compile_seconds,
        }

    def plot(self) -> graph_objects.Figure:
        """The history, with a dotted line where looking at nothing would be: the baseline, or chance."""
        figure = self.history.plot()
        for name in ("baseline", "chance"):
            if name in self.figures:
                level = self.figures[name]
                figure.add_hline(y=level, line_dash="dot", line_color="grey", annotation_text=name)
        return figure
