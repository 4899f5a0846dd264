"""How varied a generator's samples are beside the data: whether it makes all kinds of rows, or a few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2, vq

CLUSTERS = 20
_MOST_ROWS = 2_000


@dataclass(frozen=True)
class Diversity:
    """Samples against data.

    ``spread``: the ratio of their mean squared distances, which is that of their summed variances: 1 where
    samples differ as much as rows do, 0 where all are the same. ``modes``: the effective number of kinds that
    the samples are of, and ``data_modes`` that of the data: the exponential of the entropy (in nats) of the
    shares that fall to each of the data's :data:`CLUSTERS` k-means centres; 1 where all fall to one.
    """

    spread: float
    modes: float
    data_modes: float

    @property
    def share(self) -> float:
        """The samples' modes over the data's."""
        return self.modes / self.data_modes


def measure_diversity(samples: np.ndarray, data: np.ndarray, *, seed: int = 0) -> Diversity:
    """Measure samples against rows of data, both of shape (rows, ...), of which 2,000 at most are looked at.

    Data without variance (one row, or equal rows) have one mode; the spread is then NaN. Few samples have
    fewer modes than there are: give as many as there are rows.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((500, 2))
        >>> same = measure_diversity(rows, rows)
        >>> same.spread, same.share
        (1.0, 1.0)
        >>> measure_diversity(np.zeros((500, 2)), rows).modes
        1.0
    """
    made, real = (_some(rows, seed) for rows in (samples, data))
    variance = float(real.var(axis=0).sum())
    spread = float(made.var(axis=0).sum()) / variance if variance > 0 else float("nan")
    distinct = np.unique(real, axis=0)
    if len(distinct) <= CLUSTERS:
        centres = distinct
    else:
        centres, _ = kmeans2(real, CLUSTERS, minit="++", rng=np.random.default_rng(seed))
    return Diversity(spread, _effective_modes(made, centres), _effective_modes(real, centres))


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    flat = np.asarray(rows).reshape(len(rows), -1)
    if len(flat) > _MOST_ROWS:
        flat = flat[np.random.default_rng(seed).choice(len(flat), _MOST_ROWS, replace=False)]
    return flat.astype(np.float64)


def _effective_modes(rows: np.ndarray, centres: np.ndarray) -> float:
    nearest, _ = vq(rows, centres)
    shares = np.bincount(nearest, minlength=len(centres)) / len(rows)
    present = shares[shares > 0]
    return float(np.exp(-(present * np.log(present)).sum()))
