"""Every regulariser changes training as its formula says: against gradient descent written out in NumPy.

The network is a softmax regression, the rows are one batch, the optimiser is plain SGD: each step has a
closed form. Reference and kilter share the initial weights only and, for dropout, the layer that draws.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine.averaging import ExponentialMovingAverage, StochasticWeightAverage
from kilter._engine.fit import fit
from kilter.nn import SmoothedSparseCategoricalCrossentropy

from .cases import CLASSES, FEATURES, relative, rows

layers, losses, regularizers = keras.layers, keras.losses, keras.regularizers
X, Y = rows(40)
VALIDATION = rows(40, seed=1)  # of other labels: learning the ones makes the others worse
ONE_HOT = np.eye(CLASSES)[Y]
RATE, EPOCHS = 0.5, 12
WEIGHTS = np.linspace(0.2, 2.0, len(X))
SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
Path = list[tuple[np.ndarray, np.ndarray]]


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def descend(
    start: tuple[np.ndarray, np.ndarray],
    *,
    targets: np.ndarray = ONE_HOT,
    row_weights: np.ndarray | float = 1.0,
    l1: float = 0.0,
    l2: float = 0.0,
    max_norm: float = np.inf,
    inputs: Callable[[], np.ndarray] = lambda: X,
) -> Path:
    """Kernel and bias after each step on (1/n) Σ w·CE + l1·Σ|W| + l2·ΣW², then ‖W of a unit‖ ≤ max_norm."""
    kernel, bias = (array.astype(np.float64) for array in start)
    path = []
    for _ in range(EPOCHS):
        x = inputs()
        slope = (softmax(x @ kernel + bias) - targets) * np.reshape(row_weights, (-1, 1)) / len(x)
        kernel = kernel - RATE * (x.T @ slope + l1 * np.sign(kernel) + 2 * l2 * kernel)
        kernel = kernel * np.minimum(1.0, max_norm / np.linalg.norm(kernel, axis=0))
        bias = bias - RATE * slope.sum(0)
        path.append((kernel, bias))
    return path


def last(path: Path) -> tuple[np.ndarray, np.ndarray]:
    return path[-1]


def mean_from(start: int) -> Callable[[Path], Any]:
    return lambda path: [np.mean(arrays, axis=0) for arrays in zip(*path[start:], strict=True)]


def moving(momentum: float) -> Callable[[Path], Any]:
    def average(path: Path) -> Any:
        kernel, bias = path[0]
        for one, other in path[1:]:
            kernel = momentum * kernel + (1 - momentum) * one
            bias = momentum * bias + (1 - momentum) * other
        return kernel, bias

    return average


def best_with_patience(patience: int) -> Callable[[Path], Any]:
    def best(path: Path) -> Any:
        x, labels = VALIDATION
        found = [
            -np.log(softmax(x @ kernel + bias))[np.arange(len(x)), labels].mean() for kernel, bias in path
        ]
        least = int(np.argmin(found))
        assert least + patience < len(path) - 1, "training must stop early, or nothing is shown"
        return path[least]

    return best


def dropped(make: Callable[[], keras.layers.Layer]) -> Callable[[], np.ndarray]:
    """The inputs as a layer with the same seed drops them, step by step."""
    layer = make()
    return lambda: np.asarray(layer(X, training=True), np.float64)


@dataclass(frozen=True)
class Regularizer:
    """What is given to Keras and kilter, and what it comes to in the reference."""

    formula: Callable[[], Mapping[str, Any]] = dict
    outcome: Callable[[Path], Any] = last
    dense: Mapping[str, Any] = field(default_factory=dict)
    layer: Callable[[], keras.layers.Layer] | None = None
    loss: Any = SPARSE
    targets: np.ndarray = field(default_factory=lambda: Y)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    fit: Callable[[], Mapping[str, Any]] = dict


def _dropout() -> keras.layers.Layer:
    return layers.Dropout(0.3, seed=7)


def _alpha_dropout() -> keras.layers.Layer:
    return layers.AlphaDropout(0.2, seed=7)


def _stopping() -> Mapping[str, Any]:
    callback = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    return {"callbacks": [callback], "validation_data": VALIDATION}


SHARE = 0.2
SMOOTH = (1 - SHARE) * ONE_HOT + SHARE / CLASSES
REGULARIZERS = {
    "L1": Regularizer(lambda: {"l1": 0.02}, dense={"kernel_regularizer": regularizers.L1(0.02)}),
    "L2": Regularizer(lambda: {"l2": 0.03}, dense={"kernel_regularizer": regularizers.L2(0.03)}),
    "L1 and L2": Regularizer(
        lambda: {"l1": 0.01, "l2": 0.02}, dense={"kernel_regularizer": regularizers.L1L2(0.01, 0.02)}
    ),
    "max-norm": Regularizer(
        lambda: {"max_norm": 0.5}, dense={"kernel_constraint": keras.constraints.MaxNorm(0.5, axis=0)}
    ),
    "dropout": Regularizer(lambda: {"inputs": dropped(_dropout)}, layer=_dropout),
    "alpha dropout": Regularizer(lambda: {"inputs": dropped(_alpha_dropout)}, layer=_alpha_dropout),
    "label smoothing": Regularizer(
        lambda: {"targets": SMOOTH}, loss=SmoothedSparseCategoricalCrossentropy(SHARE, from_logits=True)
    ),
    "label smoothing, one-hot": Regularizer(
        lambda: {"targets": SMOOTH},
        loss=losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SHARE),
        targets=ONE_HOT,
    ),
    "class weights": Regularizer(
        lambda: {"row_weights": np.array([3.0, 1.0, 0.5])[Y]},
        fit=lambda: {"class_weight": {0: 3.0, 1: 1.0, 2: 0.5}},
    ),
    "sample weights": Regularizer(lambda: {"row_weights": WEIGHTS}, fit=lambda: {"sample_weight": WEIGHTS}),
    "exponential moving average": Regularizer(
        outcome=moving(0.7),
        optimizer={"use_ema": True, "ema_momentum": 0.7},
        fit=lambda: {"callbacks": [ExponentialMovingAverage()]},
    ),
    "stochastic weight average": Regularizer(
        outcome=mean_from(9), fit=lambda: {"callbacks": [StochasticWeightAverage(0.75)]}
    ),
    "early stopping": Regularizer(outcome=best_with_patience(2), fit=_stopping),
}


@pytest.mark.parametrize("name", REGULARIZERS)
def test_training_follows_the_formula(name: str):
    given = REGULARIZERS[name]
    model = network(given)
    start = tuple(np.array(weights) for weights in model.get_weights())
    expected = given.outcome(descend(start, **given.formula()))
    fit(model, X, given.targets, batch_size=len(X), epochs=EPOCHS, shuffle=False, verbose=0, **given.fit())
    plain = last(descend(start))
    for found, wanted, without in zip(model.trainable_variables, expected, plain, strict=True):
        assert relative(np.asarray(found.value), wanted) < 1e-5
        assert relative(wanted, without) > 1e-2, "the regulariser changes something"


def network(given: Regularizer) -> keras.Model:
    keras.utils.set_random_seed(4)
    inner = [given.layer()] if given.layer else []
    dense = layers.Dense(CLASSES, **given.dense)
    model = keras.Sequential([keras.Input((FEATURES,)), *inner, dense])
    model.compile(keras.optimizers.SGD(RATE, **given.optimizer), loss=given.loss)
    return model


def test_dropout_zeroes_a_share_and_scales_the_rest_up():
    ones = np.ones((200, 200), "float32")
    found = np.asarray(_dropout()(ones, training=True))
    np.testing.assert_allclose(np.unique(found), [0.0, 1 / 0.7], rtol=1e-6)
    assert (found == 0).mean() == pytest.approx(0.3, abs=0.01)  # 4 standard errors
    np.testing.assert_array_equal(_dropout()(ones, training=False), ones)


def test_alpha_dropout_keeps_mean_and_variance():
    """Dropped values become −1.7581, a·x + b brings mean 0 and variance 1 back (Klambauer et al. 2017)."""
    alpha, share = -1.7580993408473766, 0.2
    scale = ((1 - share) * (1 + share * alpha**2)) ** -0.5
    shift = -scale * alpha * share
    normal = np.random.default_rng(0).normal(size=(300, 300)).astype("float32")
    found = np.asarray(_alpha_dropout()(normal, training=True))
    dropped_out = np.isclose(found, scale * alpha + shift, rtol=1e-5)
    np.testing.assert_allclose(
        found[~dropped_out], scale * normal[~dropped_out] + shift, rtol=1e-4, atol=1e-5
    )
    assert dropped_out.mean() == pytest.approx(share, abs=0.01)
    assert (found.mean(), found.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
