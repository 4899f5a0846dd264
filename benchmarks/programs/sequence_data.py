"""Rows of the programs about sequences: series and ids whose answer depends on order, distance or padding."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from programs.reported_data import Data, divided

_ROWS: Final = 900
_HELD: Final = 300


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def recall() -> Data:
    """20 steps of noise; the sign of the sum of the first three is asked for at the end."""
    x = _rng(61).normal(size=(_ROWS + _HELD, 20, 2)).astype("float32")
    return divided(x, (x[:, :3, 0].sum(1) > 0).astype("int64"), _HELD)


@cache
def drift() -> Data:
    """25 steps of a random walk with a drift; to tell is how far it goes."""
    rng = _rng(62)
    slope = rng.normal(size=(_ROWS + _HELD, 1)).astype("float32")
    steps = slope * 0.3 + rng.normal(0, 0.4, (len(slope), 25))
    return divided(np.cumsum(steps, axis=1)[..., None].astype("float32") / 4, slope, _HELD)


@cache
def steps() -> Data:
    """15 steps of two sensors; for every step the running mean of the first so far."""
    x = _rng(63).normal(size=(_ROWS + _HELD, 15, 2)).astype("float32")
    mean = np.cumsum(x[..., :1], axis=1) / np.arange(1, 16)[:, None]
    return divided(x, (mean * 2).astype("float32"), _HELD)


@cache
def ordered() -> Data:
    """14 tokens of 24; whether the first is from the upper half and the last from the lower, or neither."""
    x = _rng(64).integers(1, 24, (_ROWS + _HELD + 600, 14))
    return divided(
        x[: _ROWS + _HELD], ((x[:, 0] > 12) == (x[:, -1] <= 12)).astype("int64")[: _ROWS + _HELD], _HELD
    )


@cache
def leading() -> Data:
    """16 tokens of 30; three classes by the first two tokens alone."""
    x = _rng(65).integers(1, 30, (_ROWS + _HELD, 16))
    return divided(x, (x[:, 0] + x[:, 1]) // 20, _HELD)


@cache
def padded() -> Data:
    """Texts of 3 to 13 tokens, ending in zeros; whether more than a third are from the first 13 of 39."""
    rng = _rng(66)
    x, length = rng.integers(1, 40, (_ROWS + _HELD, 30)), rng.integers(3, 14, _ROWS + _HELD)
    x[np.arange(30) >= length[:, None]] = 0
    share = ((x > 0) & (x < 14)).sum(1) / length
    return divided(x, (share > 0.34).astype("int64"), _HELD)


@cache
def language() -> Data:
    """Tokens of 12 that follow each other by a rule with some noise; the next is asked for at every step."""
    rng = _rng(67)
    x = np.zeros((_ROWS + _HELD, 13), int)
    x[:, 0] = rng.integers(1, 12, len(x))
    for step in range(1, 13):
        follows = (x[:, step - 1] * 5 + 3) % 11 + 1
        x[:, step] = np.where(rng.random(len(x)) < 0.8, follows, rng.integers(1, 12, len(x)))
    return divided(x[:, :-1], x[:, 1:], _HELD)
