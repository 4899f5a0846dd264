"""Networks, sound and faulty, as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kilter._records import Finding

layers = keras.layers
RANDOM = np.random.default_rng(7)


@dataclass(frozen=True)
class Program:
    """A compiled model, its data, and how it would be trained."""

    model: keras.Model
    x: Any
    y: Any
    options: dict[str, Any] = field(default_factory=dict)


def assert_found(findings: Iterable[Finding], code: str, severity: str) -> None:
    """The code is among the findings, with this severity, a place, evidence and a complete explanation."""
    found = {one.code: one for one in findings}
    assert code in found, [(one.code, one.explanation) for one in found.values()]
    assert found[code].severity == severity, found[code]
    assert found[code].where
    assert found[code].evidence
    assert "{" not in found[code].explanation


def blobs(rows: int = 400, features: int = 8, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Standardised clouds, one for each class."""
    random = np.random.default_rng(3)
    y = random.integers(classes, size=rows)
    x = random.normal(size=(classes, features))[y] * 2 + random.normal(size=(rows, features))
    return ((x - x.mean(0)) / x.std(0)).astype("float32"), y


def images(rows: int = 320) -> tuple[np.ndarray, np.ndarray]:
    """Standardised 8×8×3 images, brighter for higher classes."""
    random = np.random.default_rng(4)
    y = random.integers(4, size=rows)
    x = random.normal(size=(rows, 8, 8, 3)) + y[:, None, None, None]
    return ((x - x.mean()) / x.std()).astype("float32"), y


def table(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """A regression of five standardised features."""
    x = np.random.default_rng(5).normal(size=(rows, 5)).astype("float32")
    return x, (x @ np.arange(1.0, 6.0) + np.sin(x[:, 0])).astype("float32")


def one_hot(y: np.ndarray) -> np.ndarray:
    """Class numbers as rows."""
    return np.eye(y.max() + 1, dtype="float32")[y]


def dense(
    depth: int = 2,
    activation: Any = "relu",
    init: Any = "he_normal",
    units: int = 12,
    outputs: int = 3,
    output: Any = "softmax",
    features: int = 8,
) -> keras.Sequential:
    """A plain stack."""
    hidden = [layers.Dense(units, activation=activation, kernel_initializer=init) for _ in range(depth)]
    return keras.Sequential([keras.Input((features,)), *hidden, layers.Dense(outputs, activation=output)])


def program(
    model: keras.Model | None = None,
    loss: Any = "sparse_categorical_crossentropy",
    optimizer: Any = "adam",
    data: Any = None,
    **options: Any,
) -> Program:
    """``model`` (a sound stack if None), compiled, with ``data`` (blobs if None)."""
    model = dense() if model is None else model
    if loss is not None:
        model.compile(optimizer, loss)
    x, y = blobs() if data is None else data
    return Program(model, x, y, options)
