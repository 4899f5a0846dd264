"""Small data, models and comparisons that the engine's tests share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._engine.fit import fit

ROWS, FEATURES, CLASSES, BATCH = 50, 12, 3, 16

# Two compiled programs add the same float32 numbers in different orders: a relative 1e-7 a step, which the
# square roots of adaptive optimisers raise to some 1e-5 in 12 steps.
TOLERANCE = 1e-4


def rows(count: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal features [count, 12] and labels 0 to 2 that depend on them."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, FEATURES)).astype("float32")
    y = np.argmax(x @ generator.normal(size=(FEATURES, CLASSES)), axis=1).astype("int32")
    return x, y


def classifier(
    optimizer: Any = "sgd",
    *,
    hidden: Callable[[], Sequence[keras.layers.Layer]] = tuple,
    output: str | None = None,
    loss: Any = None,
    metrics: Sequence[Any] = ("accuracy",),
    seed: int = 1,
    **dense: Any,
) -> keras.Model:
    """Two dense layers of 8 with further layers between them, three logits, compiled."""
    keras.utils.set_random_seed(seed)
    stack = [
        keras.layers.Dense(8, activation="elu", **dense),
        *hidden(),
        keras.layers.Dense(8, activation="tanh", **dense),
        keras.layers.Dense(CLASSES, activation=output),
    ]
    model = keras.Sequential([keras.Input((FEATURES,)), *stack])
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=output is None)
    model.compile(optimizer=optimizer, loss=loss, metrics=list(metrics))
    return model


def difference(one: keras.Model, other: keras.Model) -> float:
    """The norm of the difference over the norm of the variable, the largest among the models' variables."""
    pairs = list(zip(one.variables, other.variables, strict=True))
    assert pairs, "models without variables cannot differ"
    return max(relative(np.asarray(a.value), np.asarray(b.value)) for a, b in pairs if not _counts(a))


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    """Norm of the difference over norm of the expected; NaN counts as infinitely far."""
    got, expected = np.asarray(got, "float64"), np.asarray(expected, "float64")
    far = np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-6)
    return float(far) if np.isfinite(far) else float("inf")


def same_bits(one: keras.Model, other: keras.Model) -> bool:
    """Whether all variables of two models are equal bit for bit."""
    pairs = zip(one.variables, other.variables, strict=True)
    return all(np.array_equal(np.asarray(a.value), np.asarray(b.value)) for a, b in pairs)


def moved(model: keras.Model, make: Callable[[], keras.Model]) -> bool:
    """Whether training changed the weights: parity of two models that both stood still proves nothing."""
    return difference(model, make()) > 1e-3


def assert_parity(
    make: Callable[[], keras.Model], x: Any, y: Any = None, *, tolerance: float = TOLERANCE, **how: Any
) -> tuple[keras.Model, keras.Model]:
    """Train one model with the engine and its twin with Keras, compare weights and histories, return both."""
    ours, theirs = make(), make()
    how = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0} | how
    got, expected = fit(ours, x, y, **how), theirs.fit(x, y, **how)
    assert moved(theirs, make), "the reference did not train"
    assert difference(ours, theirs) < tolerance
    agree(got.history, expected.history, tolerance)
    assert got.epoch == expected.epoch
    return ours, theirs


def agree(got: dict[str, Any], expected: dict[str, Any], tolerance: float = TOLERANCE) -> None:
    """Assert that two histories have the same names and numbers."""
    assert sorted(got) == sorted(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=tolerance, atol=1e-6, err_msg=name)


def _counts(variable: Any) -> bool:
    return "seed_generator" in variable.path
