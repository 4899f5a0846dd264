"""Columns in which float32 would lose differences, such as unix times: centred and scaled in float64 first.

float32 has 24 binary digits: near 1,700,000,000 it represents only every 128th whole number. A column of unix
times would lose its differences before any standardisation. Such a column is stored as
``(value - center) / scale``; all others are unchanged.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kilter.data.paths import first_named, quote

EXACT: Final = 2**24  # whole numbers up to here are exact in float32
# A median this many typical distances from 0 leaves 14 of the 24 binary digits. Numbers above EXACT are
# centred as soon as that gains two digits.
_RATIO: Final = 1024.0
_WHOLE_RATIO: Final = 4.0
# A standardised column needs its variance in float32; Keras clips deviations at 1e-7.
_SMALLEST: Final = 1e-6
_LARGEST: Final = 1e15
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
# The remedies for lost differences.
SUBTRACT: Final = "subtract a number near its values from all of them, in float64, before training"
STANDARDIZE: Final = f"leave standardize on, or {SUBTRACT}"
_SAMPLE: Final = 2048  # rows that decide


@dataclass(frozen=True)
class Shift:
    """How one column is stored: ``(value - center) / scale``.

    ``scale`` is a power of two, to avoid rounding. ``center`` is a whole number for a column of whole numbers
    and is subtracted exactly, also beyond 2**53.
    """

    center: int | float = 0
    scale: float = 1.0

    @property
    def is_none(self) -> bool:
        """Whether values are unchanged."""
        return self.center == 0 and self.scale == 1.0

    def apply(self, values: np.ndarray) -> np.ndarray:
        """The stored values, float64, NaN where ``values`` are NaN.

        Example:
            >>> Shift(2**60).apply(np.array([2**60 + 1, 2**60 - 2]))
            array([ 1., -2.])
        """
        centered = difference(values, self.center)
        return centered if self.scale == 1.0 else centered / self.scale

    def undo(self, stored: float) -> float:
        """The value that is stored as ``stored``."""
        return stored * self.scale + self.center


NO_SHIFT: Final = Shift()


# From this many typical distances on, the extremes of a column would determine its mean and variance: a
# normal column of a million rows has 7, an exponential one of a thousand about 14, a log-normal one 40.
_LONG_TAIL: Final = 20.0
_FEWEST_OF_A_TAIL: Final = 20  # values; fewer do not show a tail
_NORMAL_RANGE: Final = 2.563  # deviations from the 10 % to the 90 % quantile of a normal distribution


def find_compression(values: np.ndarray) -> Shift | None:
    """The shift before ``asinh`` of a column with a long tail; None for others.

    ``asinh`` is linear near 0 and a logarithm far away. Columns from 0 upwards keep their 0 and are scaled by
    a small value (their 10 % quantile); others are centred and scaled by their typical distance from the
    median.
    """
    known = values if values.dtype.kind != "f" or (finite := np.isfinite(values)).all() else values[finite]
    if len(known) < _FEWEST_OF_A_TAIL:
        return None
    sample = known[:: len(known) // _SAMPLE | 1]
    half = (len(sample) - 1) // 2
    center = np.partition(sample, half)[half].item()
    distances = np.abs(difference(sample, center))
    distances = distances[distances > 0]
    typical = median(distances) if len(distances) else 0.0
    least, most = float(known.min()), float(known.max())
    if typical == 0 or max(abs(center), typical) > _FLOAT32_MAX:
        return None
    if max(most - center, center - least) <= _LONG_TAIL * typical:
        return None
    if least >= 0 and center <= _WHOLE_RATIO * typical:
        return Shift(0, float(np.quantile(sample[sample > 0], 0.1)))
    return Shift(center, typical)


@dataclass(frozen=True)
class TargetScale:
    """Center and deviation of one column of targets, of most rows if it has a long tail; 1 for constants."""

    center: float
    deviation: float
    has_tail: bool


def target_scales(targets: np.ndarray) -> tuple[TargetScale, ...]:
    """The scale of each column of targets ``[n]`` or ``[n, k]``.

    With a long tail these are the median, and the deviation of a normal distribution with the same 10 % and
    90 % quantiles; otherwise mean and standard deviation.
    """
    return tuple(map(_target_scale, targets.reshape(len(targets), -1).T.astype(np.float64)))


def _target_scale(values: np.ndarray) -> TargetScale:
    if find_compression(values) is not None:
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9]).tolist()
        if high > low:
            return TargetScale(middle, (high - low) / _NORMAL_RANGE, has_tail=True)
    return TargetScale(float(values.mean()), float(values.std()) or 1.0, has_tail=False)


def median(values: np.ndarray) -> float:
    """The median of ``[n]``, n of 1 or more; for 40 values several times as fast as NumPy's."""
    half = len(values) // 2
    ordered = np.partition(values, half)
    middle = float(ordered[half])
    return middle if len(values) % 2 else (middle + float(ordered[:half].max())) / 2


def difference(values: np.ndarray, center: int | float) -> np.ndarray:
    """``values - center`` as float64; exact for whole numbers before the one rounding of the result."""
    if center == 0:
        return values.astype(np.float64)
    low, high = (0, 2**64 - 1) if values.dtype.kind == "u" else (-(2**63), 2**63 - 1)
    if values.dtype.kind not in "iu" or not isinstance(center, int) or not low <= center <= high:
        return values.astype(np.float64) - float(center)
    wide = values.astype(np.uint64 if low == 0 else np.int64)
    # Unsigned arithmetic wraps around, so larger minus smaller is right regardless of their signs.
    unsigned, least = wide.astype(np.uint64), np.uint64(center % 2**64)
    return np.where(
        wide >= center, (unsigned - least).astype(np.float64), -(least - unsigned).astype(np.float64)
    )


def find_shift(values: np.ndarray) -> Shift:
    """The shift that one column ``[n]`` needs; NO_SHIFT if float32 keeps its differences well enough."""
    whole = values.dtype.kind in "iu"
    if not (whole or values.dtype.kind == "f") or values.dtype.itemsize < 4 or not len(values):
        return NO_SHIFT
    least, most = values.min(), values.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        values = values[np.isfinite(values)]
        if not len(values):
            return NO_SHIFT
        least, most = values.min(), values.max()
    largest = max(abs(float(least)), abs(float(most)))
    if least == most or largest > _FLOAT32_MAX or (whole and largest <= EXACT):
        return NO_SHIFT
    sample = values[:: len(values) // _SAMPLE | 1]
    center, spread = _middle(sample)
    if spread == 0:
        center, spread = _middle(values)
    ratio = abs(float(center)) / spread
    rounded = whole or bool(np.any(sample.astype(np.float32) != sample))
    if not rounded or ratio <= (_WHOLE_RATIO if largest > EXACT else _RATIO):
        center = 0
    scale = 1.0 if _SMALLEST <= spread <= _LARGEST else float(2.0 ** np.round(np.log2(spread)))
    return Shift(center, scale)


def need_nothing(columns: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which of the float64 columns ``[k, n]``, n up to 2,048, surely need neither shift nor compression.

    ``low``, ``high``: the extremes of each. Those with infinity or NaN are not among them.
    """
    half = (columns.shape[1] - 1) // 2
    with np.errstate(all="ignore"):
        center = np.partition(columns, half, axis=1)[:, half]
        distances = np.abs(columns - center[:, np.newaxis])
        place = columns.shape[1] // 2
        spread = np.partition(distances, place, axis=1)[:, place]  # at most the median of those above 0
        largest = np.maximum(np.abs(low), np.abs(high))
        near = np.abs(center) <= np.where(largest > EXACT, _WHOLE_RATIO, _RATIO) * spread
        tail = np.maximum(high - center, center - low) > _LONG_TAIL * spread
    return (
        near & ~tail & (low < high) & (spread >= _SMALLEST) & (spread <= _LARGEST) & (largest <= _FLOAT32_MAX)
    )


def _middle(values: np.ndarray) -> tuple[int | float, float]:
    """The lower median, and the median distance from it, or the mean distance if that is 0."""
    half = (len(values) - 1) // 2
    center = np.partition(values, half)[half].item()
    distances = np.abs(difference(values, center))
    middle = float(np.partition(distances, len(values) // 2)[len(values) // 2])
    return center, middle or float(distances.mean())


def find_shifts(x: np.ndarray) -> tuple[Shift, ...]:
    """A shift for each entry of the last axis of ``x`` ``[n, ..., features]``; () if none is needed."""
    if x.ndim < 2 or not x.size or x.dtype.kind not in "iuf" or x.dtype.itemsize < 4 or x.dtype == np.float32:
        return ()
    if len(x) == 1 or (x.dtype.kind in "iu" and x.min() >= -EXACT and x.max() <= EXACT):
        return ()  # no differences, or none that float32 loses
    flat = x.reshape(-1, x.shape[-1])
    found = [NO_SHIFT] * flat.shape[1]
    for i in _suspects(flat[:: len(flat) // _SAMPLE | 1]):
        found[i] = find_shift(flat[:, i])
    return () if all(shift.is_none for shift in found) else tuple(found)


def _suspects(sample: np.ndarray) -> np.ndarray:
    """The indexes of the columns ``[n, features]`` that may need a shift."""
    rows = sample.astype(np.float64)
    rows[~np.isfinite(rows)] = 0.0
    center = np.median(rows, axis=0)
    spread = np.median(np.abs(rows - center), axis=0)
    narrow = np.abs(center) > _WHOLE_RATIO * spread
    extreme = (spread > 0) & ((spread < _SMALLEST) | (spread > _LARGEST))
    return np.flatnonzero(narrow | extreme)


def apply_shifts(x: np.ndarray, shifts: tuple[Shift, ...]) -> np.ndarray:
    """``x`` as float32 with its shifts, one for each entry of the last axis; () changes only the type."""
    with np.errstate(over="ignore"):  # overflow becomes infinity, which check() reports
        stored = x.astype(np.float32, copy=False)
        if shifts:
            stored = stored.copy() if stored is x else stored
            for i, shift in enumerate(shifts):
                if not shift.is_none:
                    stored[..., i] = shift.apply(x[..., i])
    return stored


def shift_note(shifted: Sequence[tuple[str, Shift]]) -> tuple[str, ...]:
    """A sentence on the columns, by name, that are shifted; none if no column is."""
    moved = [(name, shift) for name, shift in shifted if not shift.is_none]
    if not moved:
        return ()
    named = first_named(
        f"{quote(name)} - {shift.center}" if shift.center else quote(name) for name, shift in moved
    )
    return (
        "centred or scaled in float64, because float32 would lose the differences: column "
        f"{named}; new data are read the same way",
    )


def loss_note(what: str, named: Iterable[tuple[str, np.ndarray]], remedy: str) -> tuple[str, ...]:
    """A sentence on the columns, by name, in which float32 makes different values equal, if any."""
    found = [(name, lost) for name, values in named if (lost := lost_values(values))]
    if not found:
        return ()
    counts = first_named(
        f"{quote(name)} ({before} different values become {after})" for name, (before, after) in found
    )
    return (f"float32 cannot represent the differences in {what} {counts}: {remedy}",)


def lossy_columns(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Number and values of each column of ``x`` ``[n, ..., features]`` that needs a center."""
    for i, shift in enumerate(find_shifts(x)):
        if shift.center:
            yield str(i), x[..., i].ravel()


def lost_values(values: np.ndarray) -> tuple[int, int] | None:
    """(distinct values, distinct values in float32) of a column that needs a center; None without loss."""
    if find_shift(values).center == 0:
        return None
    before, after = len(np.unique(values)), len(np.unique(values.astype(np.float32)))
    return (before, after) if after < before else None


def require_usable(shift: Shift) -> None:
    """Raise ValueError unless the numbers of a shift are finite in float32, the scale above 0."""
    if not (-_FLOAT32_MAX <= shift.center <= _FLOAT32_MAX and 0 < shift.scale <= _FLOAT32_MAX):
        raise ValueError(f"center={shift.center!r}, scale={shift.scale!r} are not finite, the scale above 0")
