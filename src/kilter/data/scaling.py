"""Mean and variance of the features, for a Normalization layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kilter.errors import DataError, OptionError

if TYPE_CHECKING:
    from kilter._array_types import Kept, Numbers

# Values converted to float64 at once: they stay in the processor's cache.
CHUNK_VALUES = 1 << 17


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and population variance, float32, with the shape of the kept axes."""

    mean: "Kept"
    variance: "Kept"


def moments(x: "Numbers", *, axis: int | Sequence[int] | None = -1) -> Moments:
    """Mean and population variance of ``x`` over all axes but ``axis``.

    Args:
        x: rows first, any numeric type; ``[n, ...]``.
        axis: the axes kept, as in ``keras.layers.Normalization``: -1 is a table's features or an image's
            channels, ``(1, 2, 3)`` every pixel and channel on its own, None one mean for all.

    Computed in float64, chunk by chunk, combined by Chan, Golub and LeVeque (1983), which avoids cancellation
    for large offsets. A constant feature has variance 0; NaN and infinite values give NaN. Raises DataError
    for no rows, OptionError for the row axis or one that does not exist.

    Example:
        >>> moments(np.array([[1.0, 10.0], [3.0, 10.0]])).variance
        array([1., 0.], dtype=float32)
    """
    if x.ndim == 0 or x.size == 0:
        raise DataError(
            expected="rows to take moments of", received=f"shape {x.shape}", remedy="give at least one row"
        )
    kept = _kept_axes(x.ndim, axis)
    dropped = tuple(i for i in range(x.ndim) if i not in kept)
    rows_at_once = max(1, CHUNK_VALUES // math.prod(x.shape[1:]))
    mean = squares = np.zeros(tuple(x.shape[i] for i in kept))
    count = 0
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are documented results
        for start in range(0, len(x), rows_at_once):
            chunk = x[start : start + rows_at_once].astype(np.float64)
            added = math.prod(chunk.shape[i] for i in dropped)
            chunk_mean = chunk.mean(axis=dropped, keepdims=True)
            chunk -= chunk_mean
            chunk_squares = np.square(chunk, out=chunk).sum(axis=dropped)
            difference = chunk_mean.squeeze(dropped) - mean
            total = count + added
            mean = mean + difference * (added / total)
            squares = squares + chunk_squares + difference**2 * (count * added / total)
            count = total
        return Moments(mean.astype(np.float32), (squares / count).astype(np.float32))


def _kept_axes(axes: int, kept: int | Sequence[int] | None) -> tuple[int, ...]:
    wanted = () if kept is None else (kept,) if isinstance(kept, int | np.integer) else tuple(kept)
    normal = tuple(sorted({axis % axes for axis in wanted if -axes <= axis < axes}))
    if len(normal) != len(wanted) or 0 in normal:
        raise OptionError(
            expected=f"different axes from 1 to {axes - 1} (or negative ones) of {axes}",
            received=f"axis={kept!r}",
            remedy="axis 0 is the rows; use -1 for features or channels",
        )
    return normal
