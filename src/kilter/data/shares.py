"""Drawing a share of the rows: seeded, stratified, the same on every machine.

**The same everywhere.** NumPy promises that the raw 64-bit stream of a bit generator with a given seed never
changes (NEP 19), but not what ``Generator.permutation`` makes of it. So each row gets one raw PCG64 number
as its key, and a part is the rows with the smallest keys (ties: the earlier row). Nothing else is random;
shares are exact fractions, so no rounding of floats enters.

**Rounding.** A share s of n rows is s·n rows, halves rounded up, at least 1 and at most n - 1. In
classification each class first gives the whole part of s times its rows; what is missing to the total comes
from the classes with the largest fractions left (ties: the lower index). Then every class of two or more
rows is given at least one row in both parts, which may move the total by a few; a class of one row stays in
training.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def row_keys(rows: int, seed: int) -> np.ndarray:
    """A random key for each row, uint64 ``[rows]``: the raw stream of PCG64, see above."""
    return np.random.PCG64(seed).random_raw(rows)


def draw_share(labels: np.ndarray | None, keys: np.ndarray, share: Fraction) -> np.ndarray:
    """Positions (ascending) of a share of the rows, by the rules of this module.

    ``labels``: class indexes ``[n]``, or None to draw from all rows alike. ``keys``: uint64 ``[n]``.

    Example:
        >>> draw_share(None, np.array([5, 1, 9, 3], np.uint64), Fraction(1, 2))
        array([1, 3])
    """
    groups = (
        [np.arange(len(keys))] if labels is None else [np.flatnonzero(labels == c) for c in np.unique(labels)]
    )
    counts = share_counts([len(group) for group in groups], share, spare_single=labels is not None)
    taken = [
        group[np.argsort(keys[group], kind="stable")[:count]]
        for group, count in zip(groups, counts, strict=True)
    ]
    return np.sort(np.concatenate(taken)) if taken else np.zeros(0, np.int64)


def share_counts(sizes: list[int], share: Fraction, *, spare_single: bool = True) -> list[int]:
    """How many rows each class of the given size gives for a share, by the rounding rules of this module.

    Example:
        >>> share_counts([50, 30, 1], Fraction(1, 10))
        [5, 3, 0]
    """
    total = min(max(_round_half_up(share * sum(sizes)), 1), sum(sizes) - 1)
    exact = [share * size for size in sizes]
    counts = [int(part) for part in exact]
    by_fraction = sorted(range(len(sizes)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_fraction[: max(0, total - sum(counts))]:
        counts[i] += 1
    return [
        0 if size == 1 and spare_single else min(max(count, 1), size - 1)
        for size, count in zip(sizes, counts, strict=True)
    ]


def _round_half_up(value: Fraction) -> int:
    return int(value + Fraction(1, 2))
