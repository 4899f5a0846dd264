"""Rows of the reported programs: images, series, tokens, pairs, ratings, masks and tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_wine,
    make_classification,
    make_friedman2,
    make_moons,
)

Data = tuple[Any, Any, Any, Any]
ROWS: Final = 900
HELD: Final = 300


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def divided(x: Any, y: Any, held: int = HELD) -> Data:
    """The last ``held`` rows are for validation; ``x`` and ``y`` may be tuples or dicts of arrays."""

    def part(value: Any, rows: slice) -> Any:
        if isinstance(value, dict):
            return {name: one[rows] for name, one in value.items()}
        return tuple(one[rows] for one in value) if isinstance(value, tuple) else value[rows]

    return (
        part(x, slice(-held)),
        part(y, slice(-held)),
        part(x, slice(-held, None)),
        part(y, slice(-held, None)),
    )


def _shape(kind: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A filled square, ring, cross or stripe somewhere in an image of 0 and 1."""
    grid = np.mgrid[:size, :size]
    radius = rng.uniform(3, 5)
    centre = rng.uniform(radius, size - radius, 2)
    away = grid - centre[:, None, None]
    far = np.sqrt((away**2).sum(0))
    if kind == 0:
        return (np.abs(away).max(0) < radius * 0.8).astype("float32")
    if kind == 1:
        return ((far < radius) & (far > radius * 0.55)).astype("float32")
    if kind == 2:
        return ((np.abs(away).min(0) < 1) & (far < radius)).astype("float32")
    return ((np.abs(away[0] - away[1]) < 1.5) & (far < radius)).astype("float32")


@cache
def shapes() -> Data:
    """16 x 16 grey images of four shapes, in noise; from 0 to 1."""
    rng = _rng(21)
    y = rng.integers(4, size=ROWS + HELD)
    x = np.stack([_shape(kind, 16, rng) for kind in y]) * rng.uniform(0.5, 1, (len(y), 1, 1))
    x = np.clip(x + rng.normal(0, 0.15, x.shape), 0, 1)[..., None].astype("float32")
    return divided(x, y)


@cache
def textures() -> Data:
    """20 x 20 colour images of five gratings that differ in direction, wave length and colour."""
    rng = _rng(22)
    y = rng.integers(5, size=ROWS + HELD)
    across, down = np.mgrid[:20, :20]
    angle = y * np.pi / 5 + rng.normal(0, 0.1, len(y))
    wave = np.sin(
        (across * np.cos(angle)[:, None, None] + down * np.sin(angle)[:, None, None]) * 1.1
        + rng.uniform(0, 6, (len(y), 1, 1))
    )
    colour = rng.uniform(0.3, 1, (len(y), 1, 1, 3))
    x = 0.5 + 0.3 * wave[..., None] * colour + rng.normal(0, 0.12, (len(y), 20, 20, 3))
    return divided(np.clip(x, 0, 1).astype("float32"), y)


@cache
def masks() -> Data:
    """16 x 16 images, and which of their pixels belong to a shape."""
    rng = _rng(23)
    y = np.stack([_shape(int(kind), 16, rng) for kind in rng.integers(2, size=ROWS + HELD)])[..., None]
    x = 0.6 * y + rng.normal(0.2, 0.25, y.shape)
    return divided(x.astype("float32"), y)


@cache
def waves() -> Data:
    """24 steps of a noisy sine; to tell is the next value."""
    rng = _rng(24)
    moments = rng.uniform(0, 6, (ROWS + HELD, 1)) + np.arange(25) * rng.uniform(0.2, 0.6, (ROWS + HELD, 1))
    series = np.sin(moments) + rng.normal(0, 0.05, moments.shape)
    return divided(series[:, :24, None].astype("float32"), series[:, 24:].astype("float32"))


@cache
def gestures() -> Data:
    """30 steps of two sensors; three classes by how they move together."""
    rng = _rng(25)
    y, time = rng.integers(3, size=ROWS + HELD), np.linspace(0, 6, 30)
    phase, speed = rng.uniform(0, 6, (len(y), 1)), rng.uniform(0.8, 1.4, (len(y), 1))
    lag = np.choose(y, [0.0, np.pi / 2, np.pi])[:, None]
    pair = np.stack([np.sin(time * speed + phase), np.sin(time * speed + phase + lag)], axis=-1)
    return divided((pair + rng.normal(0, 0.3, pair.shape)).astype("float32"), y)


@cache
def words() -> Data:
    """20 tokens of 200; whether more of them are from the first forty than from the second."""
    rng = _rng(26)
    x = rng.integers(1, 200, (ROWS + HELD + 600, 20))
    good, bad = (x < 40).sum(1), ((x >= 40) & (x < 80)).sum(1)
    kept = np.flatnonzero(good != bad)[: ROWS + HELD]
    return divided(x[kept], (good > bad)[kept].astype("int64"))


@cache
def topics() -> Data:
    """25 tokens of 120 from one of four mixtures of words."""
    rng = _rng(27)
    y = rng.integers(4, size=ROWS + HELD)
    shares = rng.dirichlet(np.full(120, 0.25), 4)
    return divided(np.stack([rng.choice(120, 25, p=0.6 * shares[kind] + 0.4 / 120) for kind in y]), y)


@cache
def tags() -> Data:
    """12 tokens of 30, each to be tagged by its own group of three and whether the token before was odd."""
    rng = _rng(28)
    x = rng.integers(1, 30, (ROWS + HELD, 12))
    before = np.concatenate([np.zeros((len(x), 1), int), x[:, :-1] % 2], axis=1)
    return divided(x, (x % 2) * 2 + before)


@cache
def pairs() -> Data:
    """Two vectors of 12 numbers; whether they are noisy views of the same thing."""
    rng = _rng(29)
    kinds = rng.normal(size=(8, 12)) * 1.5
    left, right, same = rng.integers(8, size=1200), rng.integers(8, size=1200), rng.random(1200) < 0.5
    right = np.where(same, left, right)
    views = [(kinds[one] + rng.normal(0, 0.7, (1200, 12))).astype("float32") for one in (left, right)]
    return divided(tuple(views), (left == right).astype("int64"))


@cache
def ratings() -> Data:
    """Users and things by their numbers; how much a user likes a thing."""
    rng = _rng(30)
    users, things = rng.integers(40, size=2400), rng.integers(30, size=2400)
    taste, kind = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    y = (taste[users] * kind[things]).sum(1) + 3 + rng.normal(0, 0.3, 2400)
    return divided((users, things), y.astype("float32"), 600)


@cache
def two_answers() -> Data:
    """Ten columns; a class of three and a price."""
    rng = _rng(31)
    x = rng.normal(size=(ROWS + HELD, 10)).astype("float32")
    kind = np.argmax(x[:, :3] + 0.8 * np.sin(2 * x[:, 3:6]), axis=1)
    price = (x[:, 6] * x[:, 7] + x[:, 8] + rng.normal(0, 0.1, len(x))).astype("float32")
    return divided(x, {"kind": kind, "price": price})


@cache
def labels_of() -> Data:
    """15 columns and five labels that a row may have or not."""
    rng = _rng(32)
    x = rng.normal(size=(ROWS + HELD, 15)).astype("float32")
    return divided(x, (np.tanh(x @ rng.normal(size=(15, 8))) @ rng.normal(size=(8, 5)) > 0).astype("float32"))


def _table(loaded: Any, held: int, *, amounts: bool = False) -> Data:
    x, y = loaded
    order = _rng(33).permutation(len(y))
    x, y = x[order].astype("float64"), y[order]
    x = ((x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)).astype("float32")
    return divided(x, ((y - y.mean()) / y.std()).astype("float32") if amounts else y.astype("int64"), held)


@cache
def wine() -> Data:
    """178 wines of three growers."""
    return _table(load_wine(return_X_y=True), 60)


@cache
def tumours() -> Data:
    """569 tumours, benign or not."""
    return _table(load_breast_cancer(return_X_y=True), 170)


@cache
def patients() -> Data:
    """442 patients and how their diabetes goes on."""
    return _table(load_diabetes(return_X_y=True), 130, amounts=True)


@cache
def moons() -> Data:
    """Two half moons."""
    return _table(make_moons(1000, noise=0.15, random_state=2), 300)


@cache
def spirals() -> Data:
    """Three spirals."""
    rng = _rng(34)
    y, far = rng.integers(3, size=1200), rng.uniform(0.2, 1, 1200)
    angle = far * 5 + y * 2 * np.pi / 3 + rng.normal(0, 0.12, 1200)
    return divided(np.stack([far * np.cos(angle), far * np.sin(angle)], 1).astype("float32") * 2, y)


@cache
def customers() -> Data:
    """25 columns, ten of which tell four classes."""
    found = make_classification(1400, 25, n_informative=10, n_classes=4, class_sep=1.5, random_state=3)
    return _table(found, 400)


@cache
def circuits() -> Data:
    """Impedances of circuits."""
    return _table(make_friedman2(1000, noise=5.0, random_state=4), 300, amounts=True)


def noise_of(data: Callable[[], Data], seed: int = 40) -> Callable[[], Data]:
    """The same inputs with the targets of other rows."""

    def shuffled() -> Data:
        x, y, x_val, y_val = data()
        rng = _rng(seed)
        return x, y[rng.permutation(len(y))], x_val, y_val[rng.permutation(len(y_val))]

    return shuffled
