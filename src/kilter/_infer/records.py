"""Records of folding and timing."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class NormFold:
    """What happened to one batch normalisation.

    Attributes:
        layer: its path, such as ``"block/norm_1"``.
        into: the path of the layer that it was folded into; None if it was not folded.
        reason: why it was not folded; empty if it was.
    """

    layer: str
    into: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Speed:
    """Seconds per prediction of the same rows, timed alternately: n times ``before`` and ``after``."""

    before: tuple[float, ...]
    after: tuple[float, ...]
    rows: int

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times faster, per pair of timings."""
        return tuple(before / after for before, after in zip(self.before, self.after, strict=True))

    @property
    def ratio(self) -> float:
        """How many times faster, as the median over the pairs."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        before, after = (statistics.median(seconds) * 1e3 for seconds in (self.before, self.after))
        return (
            f"{self.ratio:.2f} times as fast ({before:.3g} ms, then {after:.3g} ms for {self.rows} rows; "
            f"medians of {len(self.ratios)} alternating timings, ratios from {min(self.ratios):.2f} to "
            f"{max(self.ratios):.2f})"
        )


@dataclass(frozen=True)
class FoldRecord:
    """What :func:`kilter.fold_batch_norm` did.

    Attributes:
        layers: every batch normalisation of the model, in execution order.
        difference: the largest difference between the outputs before and after, relative to the largest
            output; see :func:`kilter.largest_difference`.
        tolerance: the largest allowed difference.
        parameters: numbers in the model, before and after.
        speed: how much faster the folded model predicts; None if it was not timed.
    """

    layers: tuple[NormFold, ...]
    difference: float
    tolerance: float
    parameters: tuple[int, int]
    speed: Speed | None = None

    @property
    def folded(self) -> tuple[NormFold, ...]:
        """The batch normalisations that were folded."""
        return tuple(layer for layer in self.layers if layer.into is not None)

    @property
    def left(self) -> tuple[NormFold, ...]:
        """The others, with the reason."""
        return tuple(layer for layer in self.layers if layer.into is None)
