"""Rows for the programs: bundled sets, parts of two image sets, and generated tables and sequences."""

from __future__ import annotations

import gzip
import io
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets

Rows = tuple[Any, Any, Any, Any]


def rng(seed: int = 0) -> np.random.Generator:
    """Return a generator."""
    return np.random.default_rng(seed)


def take(x: Any, index: Any) -> Any:
    """Return rows of an array, or of each array in a list."""
    return [a[index] for a in x] if isinstance(x, list) else x[index]


def split(x: Any, y: Any, held: float = 0.25, seed: int = 0) -> Rows:
    """Shuffle rows and hold some out."""
    n = len(x[0] if isinstance(x, list) else x)
    order = rng(seed).permutation(n)
    cut = int(n * (1 - held))
    return take(x, order[:cut]), take(y, order[:cut]), take(x, order[cut:]), take(y, order[cut:])


def scaled(x: np.ndarray) -> np.ndarray:
    """Standardise columns."""
    return ((x - x.mean(0)) / (x.std(0) + 1e-9)).astype("float32")


@cache
def bundled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a set that scikit-learn brings, raw."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return x.astype("float32"), y


def onehot(y: np.ndarray, k: int) -> np.ndarray:
    """Return one column for each class."""
    return np.eye(k, dtype="float32")[y]


@cache
def _fashion() -> tuple[np.ndarray, np.ndarray]:
    folder = Path(os.environ.get("KILTER_DATA", "shared/data")) / "fashion-mnist"
    x = np.frombuffer(
        gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
    )
    y = np.frombuffer(
        gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8
    )
    return x.reshape(-1, 28, 28), y.astype("int64")


def fashion(n: int, start: int = 0, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Return grey images, 0 to 255, of 28 or 14 pixels a side."""
    x, y = _fashion()
    x, y = x[start : start + n].astype("float32"), y[start : start + n]
    return (x if size == 28 else x.reshape(-1, 14, 2, 14, 2).mean((2, 4)))[..., None], y


def clothes(n: int, scale: float = 255.0) -> Rows:
    """Return 14 by 14 grey images over ``scale``, split."""
    x, y = fashion(n, size=14)
    return split(x / scale, y)


@cache
def cifar(n: int, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return colour images, 0 to 255."""
    import polars
    from PIL import Image

    folder = Path(os.environ.get("KILTER_DATA", "shared/data")) / "cifar10"
    rows = polars.read_parquet(folder / "train-00000-of-00001.parquet", n_rows=n)
    images = [Image.open(io.BytesIO(row["bytes"])).resize((size, size)) for row in rows["image"]]
    return np.stack([np.asarray(i, dtype="float32") for i in images]), rows["label"].to_numpy()


@cache
def shapes(
    n: int, size: int = 16, seed: int = 0, blur: float = 0.3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return noisy images of a disc, a square, a cross or a ring, their class, and their mask."""
    g = rng(seed)
    r, c = np.mgrid[:size, :size]
    kind = g.integers(0, 4, n)
    masks = np.zeros((n, size, size), bool)
    for i, k in enumerate(kind):
        h = g.uniform(size * 0.16, size * 0.26)
        a, b = g.uniform(h, size - h, 2)
        dr, dc = np.abs(r - a), np.abs(c - b)
        d = np.hypot(dr, dc)
        cross = (np.minimum(dr, dc) < h / 3) & (np.maximum(dr, dc) < h)
        masks[i] = [d < h, np.maximum(dr, dc) < h * 0.85, cross, (d < h) & (d > h * 0.55)][k]
    x = masks * g.uniform(0.6, 1.0, (n, 1, 1)) + g.normal(0, blur, masks.shape)
    return x[..., None].astype("float32"), kind, masks[..., None].astype("float32")


def figures(n: int) -> Rows:
    """Return images of :func:`shapes` and their class, split."""
    x, y, _ = shapes(n)
    return split(x, y)


@cache
def places(n: int, size: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images with one bright spot, and where it is, row and column, in pixels."""
    g = rng(seed)
    at = g.uniform(2, size - 3, (n, 2)).astype("float32")
    r, c = np.mgrid[:size, :size]
    d = (r - at[:, :1, None]) ** 2 + (c - at[:, 1:, None]) ** 2
    return (np.exp(-d / 3) + g.normal(0, 0.1, d.shape))[..., None].astype("float32"), at


@cache
def dots(n: int, size: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images with 1 to 9 dots, and how many."""
    g = rng(seed)
    count = g.integers(1, 10, n)
    x = g.normal(0, 0.05, (n, size, size)).astype("float32")
    grid = [(i, j) for i in range(1, size - 1, 3) for j in range(1, size - 1, 3)]
    for i, k in enumerate(count):
        for p in g.permutation(len(grid))[:k]:
            x[i, grid[p][0] : grid[p][0] + 2, grid[p][1] : grid[p][1] + 2] += 1
    return x[..., None], count.astype("float32")


@cache
def waves(n: int, steps: int = 32, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy sine, square or saw waves with random phase and period, and which."""
    g = rng(seed)
    y = g.integers(0, classes, n)
    t = np.arange(steps) / g.uniform(6, 12, (n, 1)) + g.uniform(0, 1, (n, 1))
    forms = np.stack([np.sin(2 * np.pi * t), np.sign(np.sin(2 * np.pi * t)), 2 * (t % 1) - 1])
    return (forms[y, np.arange(n)] + g.normal(0, 0.2, t.shape))[..., None].astype("float32"), y


@cache
def series(n: int, steps: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return windows of a sum of two sines, and the value three steps later."""
    g = rng(seed)
    t = np.arange(n + steps + 3)
    s = np.sin(t / 3.1) + 0.6 * np.sin(t / 7.7 + 1) + g.normal(0, 0.08, len(t))
    x = np.stack([s[i : i + steps] for i in range(n)])
    return x[..., None].astype("float32"), s[steps + 2 : steps + 2 + n].astype("float32")


@cache
def first_token(n: int, steps: int, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens; the class is the first one."""
    g = rng(seed)
    x = g.integers(classes, classes + 6, (n, steps))
    x[:, 0] = g.integers(0, classes, n)
    return x.astype("int32"), x[:, 0].copy()


@cache
def which_first(n: int, steps: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens with one 1 and one 2 among others; the class is whether the 1 comes first."""
    g = rng(seed)
    x = g.integers(3, 12, (n, steps))
    at = np.stack([g.permutation(steps)[:2] for _ in range(n)])
    x[np.arange(n), at[:, 0]], x[np.arange(n), at[:, 1]] = 1, 2
    return x.astype("int32"), (at[:, 0] < at[:, 1]).astype("int64")


@cache
def reviews(n: int, steps: int = 40, seed: int = 0, short: int = 4, long: int = 12) -> tuple[Any, np.ndarray]:
    """Return texts of word numbers, then zeros; the class is which of two word groups prevails."""
    g = rng(seed)
    x = np.zeros((n, steps), "int32")
    y = np.zeros(n, "int64")
    for i in range(n):
        k = int(g.integers(short, long + 1))
        words = g.integers(1, 200, k)
        good, bad = (words < 40).sum(), ((words >= 40) & (words < 80)).sum()
        while good == bad:
            words[g.integers(0, k)] = g.integers(1, 80)
            good, bad = (words < 40).sum(), ((words >= 40) & (words < 80)).sum()
        x[i, :k], y[i] = words, good > bad
    return x, y


@cache
def tags(n: int, steps: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens and tags: 2 if larger than the last token, else 1 if both are odd or even, else 0."""
    g = rng(seed)
    x = g.integers(1, 20, (n, steps))
    y = np.zeros((n, steps), "int64")
    for t in range(1, steps):
        y[:, t] = np.where(x[:, t] > x[:, t - 1], 2, np.where(x[:, t] % 2 == x[:, t - 1] % 2, 1, 0))
    return x.astype("int32"), y


@cache
def grammar(n: int, steps: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return walks over 12 tokens, nine in ten of which follow from the two before; and the next tokens."""
    g = rng(seed)
    x = np.zeros((n, steps + 1), "int64")
    x[:, :2] = g.integers(0, 12, (n, 2))
    for t in range(2, steps + 1):
        rule = (x[:, t - 1] + 3 * (x[:, t - 2] % 2) + 1) % 12
        x[:, t] = np.where(g.random(n) < 0.1, g.integers(0, 12, n), rule)
    return x[:, :-1].astype("int32"), x[:, 1:]


@cache
def table(n: int, seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Return 8 standard columns and a number that depends on them in bends and products."""
    g = rng(seed)
    x = g.normal(0, 1, (n, 8))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3] ** 2 + x[:, 4] + g.normal(0, noise, n)
    return x.astype("float32"), y.astype("float32")


@cache
def ratings(n: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Return numbers of 60 users and 50 things, and ratings from 1 to 5 by hidden tastes."""
    g = rng(seed)
    u, v = g.normal(0, 1, (60, 3)), g.normal(0, 1, (50, 3))
    a, b = g.integers(0, 60, n), g.integers(0, 50, n)
    r = 3 + (u[a] * v[b]).sum(1) * 0.7 + g.normal(0, 0.2, n)
    return [a.astype("int32")[:, None], b.astype("int32")[:, None]], np.clip(r, 1, 5).astype("float32")


@cache
def pairs(n: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Return pairs of digits, and whether they are the same one."""
    g = rng(seed)
    x, y = bundled("digits")
    a = g.integers(0, len(x), n)
    same = g.random(n) < 0.5
    by = [np.flatnonzero(y == k) for k in range(10)]
    other = (y[a] + np.where(same, 0, g.integers(1, 10, n))) % 10
    b = np.array([g.choice(by[k]) for k in other])
    return [x[a] / 16, x[b] / 16], same.astype("float32")
