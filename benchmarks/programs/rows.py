"""The rows that the programs learn from: six sets, scaled as they should be and as they come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from sklearn.datasets import load_digits, make_blobs, make_circles, make_friedman1

import kilter

SETS: Final = ("blobs", "circles", "digits", "fashion", "cifar", "table")
# Of the large sets so many rows are trained on, and as many are held out: a share of 1 % is then 20 rows.
SAMPLE: Final = 2_000


@dataclass(frozen=True, eq=False)
class Rows:
    """Training and validation rows: ``x`` float32, flat or images; ``y`` class numbers, or float32 amounts.

    ``raw`` are the inputs as they come: pixels from 0 to 255, columns in their own units.
    """

    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    raw: np.ndarray
    raw_val: np.ndarray

    @property
    def classes(self) -> int:
        """How many classes there are; 0 for amounts."""
        return int(self.y.max()) + 1 if self.y.dtype.kind == "i" else 0


@cache
def rows(name: str) -> Rows:
    """A set by its name, with flat inputs; ``<name>-images`` keeps the shape of images."""
    base, _, images = name.partition("-")
    found = {
        "blobs": _blobs,
        "circles": _circles,
        "digits": _digits,
        "fashion": lambda: _pictures("fashion-mnist"),
        "cifar": lambda: _pictures("cifar10"),
        "table": _table,
    }[base]()
    if images or found.x.ndim == 2:
        return found
    flat = {part: getattr(found, part).reshape(len(getattr(found, part)), -1) for part in ("x", "x_val")}
    raw = {part: getattr(found, part).reshape(len(getattr(found, part)), -1) for part in ("raw", "raw_val")}
    return replace(found, **flat, **raw)


def _blobs() -> Rows:
    x, y = make_blobs(1200, 6, centers=4, cluster_std=2.5, random_state=1)
    return _of_columns(x, y.astype("int64"), factor=25.0)


def _circles() -> Rows:
    x, y = make_circles(1200, noise=0.08, factor=0.4, random_state=1)
    return _of_columns(x, y.astype("int64"), factor=100.0)


def _table() -> Rows:
    x, y = make_friedman1(1200, 8, noise=0.5, random_state=1)
    y = ((y - y.mean()) / y.std()).astype("float32")
    return _of_columns(x, y, factor=500.0)


def _of_columns(x: np.ndarray, y: np.ndarray, factor: float, held: int = 400) -> Rows:
    """Standardised columns; as they come each is larger and away from 0."""
    scaled = ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32")
    raw = (factor * (scaled + 3)).astype("float32")
    return _divided(scaled, y, raw, held)


def _digits() -> Rows:
    found = load_digits()
    order = np.random.default_rng(1).permutation(len(found.target))
    pixels = found.images[order].astype("float32")[..., None]
    y = found.target[order].astype("int64")
    return _divided(pixels / 16, y, np.round(pixels * (255 / 16)), held=400)


def _pictures(name: str) -> Rows:
    source = kilter.data.load(name)
    x, y = np.asarray(source.train.x), np.asarray(source.train.y)
    chosen = np.random.default_rng(1).permutation(len(y))[: 2 * SAMPLE]
    pixels = x[chosen].astype("float32")
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    return _divided(pixels / 255, y[chosen].astype("int64"), pixels, held=SAMPLE)


def _divided(x: np.ndarray, y: np.ndarray, raw: np.ndarray, held: int) -> Rows:
    return Rows(x[held:], y[held:], x[:held], y[:held], raw[held:], raw[:held])
