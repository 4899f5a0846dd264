"""What folding and timing give back, as frozen records."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class NormFold:
    """What became of one batch normalisation.

    Attributes:
        layer: its path, the names of the models around it and its own, joined by slashes.
        into: the path of the layer that took it up; None where it was left alone.
        reason: why it was left alone; empty where it was folded.
    """

    layer: str
    into: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Speed:
    """Seconds of a prediction of the same rows, timed in turns: ``before`` and ``after``, n of each."""

    before: tuple[float, ...]
    after: tuple[float, ...]
    rows: int

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times faster, turn by turn."""
        return tuple(before / after for before, after in zip(self.before, self.after, strict=True))

    @property
    def ratio(self) -> float:
        """How many times faster: the median over the turns."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        before, after = (statistics.median(seconds) * 1e3 for seconds in (self.before, self.after))
        return (
            f"{self.ratio:.2f} times as fast ({before:.3g} ms, then {after:.3g} ms for {self.rows} rows; "
            f"medians of {len(self.ratios)} timings in turns, ratios from {min(self.ratios):.2f} to "
            f"{max(self.ratios):.2f})"
        )


@dataclass(frozen=True)
class FoldRecord:
    """What :func:`kilter.fold_batch_norm` did.

    Attributes:
        layers: every batch normalisation of the model, in the order in which they run.
        difference: the largest difference between the outputs before and after, relative to the largest
            output; see :func:`kilter.largest_difference`.
        tolerance: what the difference was not to exceed.
        parameters: numbers in the model, before and after.
        speed: how much faster the folded model predicts; None where it was not timed.
    """

    layers: tuple[NormFold, ...]
    difference: float
    tolerance: float
    parameters: tuple[int, int]
    speed: Speed | None = None

    @property
    def folded(self) -> tuple[NormFold, ...]:
        """Those that are gone from the model."""
        return tuple(layer for layer in self.layers if layer.into is not None)

    @property
    def left(self) -> tuple[NormFold, ...]:
        """Those left alone, with the reason."""
        return tuple(layer for layer in self.layers if layer.into is None)
