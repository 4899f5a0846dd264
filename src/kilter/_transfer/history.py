"""What fine-tuning returns: one history over all its stages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as graph_objects

from kilter import _backend  # noqa: F401

# isort: split
from kilter._engine.history import History


class StagedHistory(History):
    """Keras's history of all stages, one after the other; epochs are counted through.

    ``stages``: the number of the stage, from 0, of each epoch. A measure that some epochs do not have is NaN
    there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[int] = []

    def add(self, number: int, stage: History) -> None:
        """Append the epochs of stage ``number``."""
        names = dict.fromkeys([*self.history, *stage.history])
        before, after = len(self.epoch), len(stage.epoch)
        for name in names:
            earlier = self.history.get(name, [math.nan] * before)
            self.history[name] = [*earlier, *stage.history.get(name, [math.nan] * after)]
        self.epoch += stage.epoch
        self.stages += [number] * after
        self.seconds += stage.seconds
        self.compile_seconds += stage.compile_seconds
        self.params = stage.params

    def plot(self) -> graph_objects.Figure:
        """Each recorded number against the epoch, with a line where a stage begins."""
        figure = super().plot()
        for place in _beginnings(self.stages):
            figure.add_vline(
                x=self.epoch[place] - 0.5,
                line={"dash": "dot", "color": "gray"},
                annotation_text=f"stage {self.stages[place] + 1}",
                annotation_position="top right",
            )
        return figure


def _beginnings(stages: Sequence[int]) -> list[int]:
    return [place for place in range(1, len(stages)) if stages[place] != stages[place - 1]]
