"""Moments within an epoch: what a checkpoint needs to go on there, and how a resumed training begins there.

A callback with a method ``kilter_cut(cut)`` is called after every compiled chunk, with the state as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kilter._models.variables import State, assign


@dataclass(frozen=True, eq=False)
class Cut:
    """The training after ``step`` batches of ``epoch``.

    ``taken``: the next chunk takes the memory of ``state``, so whoever keeps it needs a copy. ``logs``: of a
    step that returns its own, else None. ``divergence``: the numbers of the divergence guard.
    """

    epoch: int
    step: int
    state: State
    logs: Any = None
    taken: bool = False
    divergence: dict[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """Where the first epoch of a resumed training begins: after ``step`` batches, with these ``metrics``.

    ``metrics``: None for the beginning of an epoch. ``divergence``: the numbers of the divergence guard.
    """

    step: int = 0
    metrics: Sequence[Any] | None = None
    logs: Any = None
    divergence: dict[str, Any] | None = None

    def enter(self, model: keras.Model) -> None:
        """Give the metrics the values that they had."""
        if self.metrics is not None:
            assign(zip(model.metrics_variables, self.metrics, strict=True))


def tell(callbacks: keras.callbacks.CallbackList, cut: Cut) -> None:
    """Pass the cut to the callbacks that want it."""
    for callback in callbacks.callbacks:
        wants = getattr(callback, "kilter_cut", None)
        if wants is not None:
            wants(cut)
