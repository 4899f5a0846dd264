"""Compares two models: the difference of their outputs, and their speed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import jax
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._engine.inference import predict_unchanged
from kilter.errors import ModelError


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


def largest_difference(before: keras.Model, after: keras.Model, x: Arrays, *, batch_size: int = 256) -> float:
    """max |a − b| / max |a| over the rows of ``x``, with outputs a of ``before`` and b of ``after``.

    The largest over several outputs. 0.0 if both are zero everywhere, infinity if only a is.

    Raises:
        ModelError: if a is not finite.
    """
    pairs = zip(
        jax.tree.leaves(predict_unchanged(before, x, batch_size=batch_size)),
        jax.tree.leaves(predict_unchanged(after, x, batch_size=batch_size)),
        strict=True,
    )
    return max(_relative(*pair) for pair in pairs)


def measure_speed(
    before: keras.Model, after: keras.Model, x: Any, *, timings: int, batch_size: int = 256
) -> Speed:
    """Time :func:`kilter.predict` of both models on ``x``, ``timings`` times each.

    Alternately, so that both see the same load. Compilation is not timed: each model predicts once before.
    """
    turns = [[_seconds(model, x, batch_size) for model in (before, after)] for _ in range(timings + 1)]
    first, second = zip(*turns[1:], strict=True)
    return Speed(first, second, len(jax.tree.leaves(x)[0]))


def _seconds(model: keras.Model, x: Any, batch_size: int) -> float:
    began = time.perf_counter()
    predict_unchanged(model, x, batch_size=batch_size)
    return time.perf_counter() - began


def _relative(before: np.ndarray, after: np.ndarray) -> float:
    before, after = before.astype(np.float64), after.astype(np.float64)
    if not np.isfinite(before).all():
        raise ModelError(
            expected="a model whose outputs are finite on the data to check with",
            received=f"{np.count_nonzero(~np.isfinite(before))} of {before.size} outputs that are not finite",
            remedy="check its weights, or use other data",
        )
    largest, apart = np.abs(before).max(), np.abs(before - after).max()
    if apart == 0.0:
        return 0.0
    return float(apart / largest) if largest > 0.0 else float("inf")
