"""What a training run returns: Keras's History, with the seconds and a picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras

from kilter._plotting import Figure, drawn
from kilter._records import Finding, Measurements


class History(keras.callbacks.History):
    """Keras's history (``.history``, ``.epoch``, ``.params``) and how long it took.

    ``seconds``: one float an epoch, validation included, compilation not. ``compile_seconds``: tracing and
    compiling, or loading from the cache; 0.0 when every program was compiled before. ``measurements``: what
    was measured in the layers after some of the epochs, None if nothing was. ``examine``: finds what is wrong
    in the measurements and the curves; it is called once.

    A pickle or a copy holds the numbers and the findings, but not the model.
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
        """Everything but the model, which may not be picklable; findings are made now, as they need it."""
        return vars(self) | {"findings": self.findings, "examine": tuple, "_model": None}

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the curves and measurements show to be wrong, most severe first."""
        return self.examine()

    def plot(self) -> Figure:
        """Each logged number against the epoch, one colour for each measure.

        Solid: training. Dotted: training rows in inference mode (``train_``). Dashed: validation.
        """
        return drawn("history", self)
