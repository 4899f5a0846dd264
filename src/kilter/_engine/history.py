"""The result of a training: Keras's History with times, measurements, findings and a plot."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras
import plotly.graph_objects as graph_objects
from plotly.colors import qualitative

from kilter._records import Finding, Measurements


class History(keras.callbacks.History):
    """Keras's history (``.history``, ``.epoch``, ``.params``) with more.

    Attributes:
        seconds: one float per epoch, with validation and without compilation.
        compile_seconds: tracing and compiling, or loading from the cache; 0.0 if all programs existed.
        measurements: of the layers after some of the epochs; None if there are none.
        examine: makes the findings from measurements and curves; called once.

    A pickle or copy holds the numbers and the findings, but not the model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.seconds: list[float] = []
        self.compile_seconds = 0.0
        self.measurements: Measurements | None = None
        self.examine: Callable[[], tuple[Finding, ...]] = tuple

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the model, which may not be picklable; the findings, which need it, are made now."""
        return vars(self) | {"findings": self.findings, "examine": tuple, "_model": None}

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The problems that curves and measurements show, most severe first."""
        return self.examine()

    def plot(self) -> graph_objects.Figure:
        """Each metric against the epoch, in a colour of its own.

        Solid: while training. Dotted: training rows in inference mode (``train_``). Dashed: validation.
        """
        figure = graph_objects.Figure()
        names = [name for name in self.history if not name.startswith(("val_", "train_"))]
        colors = qualitative.D3
        for index, name in enumerate(names):
            color = colors[index % len(colors)]
            for key, dash in ((name, "solid"), (f"train_{name}", "dot"), (f"val_{name}", "dash")):
                if key in self.history:
                    line = {"color": color, "dash": dash}
                    figure.add_scatter(
                        x=self.epoch, y=self.history[key], name=key, line=line, mode="lines+markers"
                    )
        return figure.update_layout(xaxis_title="epoch", template="plotly_white", legend_title_text="")
