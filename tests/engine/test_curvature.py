"""The largest curvature against Hessians written out, and that looking leaves no trace."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._tuning.curvature import largest_curvature
from kilter.errors import DataError, KilterError, ModelError, OptionError

from .cases import classifier, rows
from .test_trials import MODELS, data_for, everything


def linear(outputs=1, loss="mse", weights=None, features=4):
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(outputs, use_bias=False)])
    model.compile("sgd", loss)
    if weights is not None:
        model.set_weights([np.asarray(weights, "float32")])
    return model


def test_a_quadratic_loss_has_the_eigenvalue_of_its_matrix():
    x = np.random.default_rng(0).normal(size=(300, 4)) * [1, 2, 3, 4]
    found = largest_curvature(linear(), x, np.zeros(300))
    expected = np.linalg.eigvalsh(2 * x.T @ x / 300).max()
    assert found.converged
    assert found.residual <= 0.01 * found.eigenvalue
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3)  # off by at most residual² / gap
    assert found.stable_rate == pytest.approx(2 / expected, rel=1e-3)


def test_gradient_descent_diverges_above_the_stable_rate_and_not_below():
    x = np.random.default_rng(0).normal(size=(64, 4)) * [1, 2, 3, 4]
    rate = largest_curvature(linear(), x, np.zeros(64), tolerance=1e-3).stable_rate
    for factor, diverges in ((0.97, False), (1.03, True)):
        model = linear(weights=np.ones((4, 1)))
        model.compile(keras.optimizers.SGD(factor * rate), "mse")
        losses = model.fit(x, np.zeros(64), batch_size=64, epochs=200, verbose=0).history["loss"]
        assert (losses[-1] > losses[0]) == diverges


@pytest.mark.long
def test_a_network_has_the_eigenvalue_of_its_hessian_written_out():
    x, y = rows(100)
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((12,)), *layers])
    model.compile("nadam", "sparse_categorical_crossentropy")
    shapes = [weight.shape for weight in model.get_weights()]
    ends = np.cumsum([math.prod(shape) for shape in shapes])

    def loss(flat):
        parts = zip(jnp.split(flat, ends[:-1]), shapes, strict=True)
        w1, b1, w2, b2 = (part.reshape(shape) for part, shape in parts)
        logits = jnp.tanh(x @ w1 + b1) @ w2 + b2
        chosen = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.scipy.special.logsumexp(logits, axis=1) - chosen)

    flat = jnp.concatenate([weight.ravel() for weight in model.get_weights()])
    expected = np.linalg.eigvalsh(np.asarray(jax.hessian(loss)(flat), np.float64)).max()
    found = largest_curvature(model, x, y, tolerance=1e-3)
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3)


def falling(target, output):
    return -keras.ops.mean(keras.ops.square(output - target), axis=-1)


def saddle(target, output):
    return output[:, 0] * output[:, 1]


def flat(target, output):
    return keras.ops.mean(output, axis=-1)


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [(falling, 1, -2.0), (saddle, 2, 4.0), (flat, 1, 0.0)],
    ids=["all negative", "as much up as down", "linear"],
)
def test_the_largest_eigenvalue_is_the_most_positive_one(loss, outputs, expected):
    x = np.sqrt(2) * np.diag([1.0, 2.0])  # the mean of xxᵀ is diag(1, 4)
    found = largest_curvature(linear(outputs, loss, features=2), x, np.zeros((2, outputs)), seed=3)
    assert found.converged
    assert found.eigenvalue == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert (found.stable_rate == math.inf) == (expected <= 0)


def test_too_few_products_are_said_to_be_too_few():
    x = np.random.default_rng(0).normal(size=(300, 4)) * [1, 2, 3, 3.01]
    found = largest_curvature(linear(), x, np.zeros(300), products=4, tolerance=1e-4)
    assert not found.converged
    assert found.products <= 4
    true = np.linalg.eigvalsh(2 * x.T @ x / 300)
    assert np.abs(true - found.eigenvalue).min() <= found.residual


@pytest.mark.long
def test_convolutions_pooling_and_recurrence_have_second_derivatives():
    generator = np.random.default_rng(0)
    image, series = generator.normal(size=(16, 8, 8, 1)), generator.normal(size=(16, 5, 2))
    stacks = (
        (
            image,
            [
                keras.layers.Conv2D(4, 3, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Flatten(),
            ],
        ),
        (series, [keras.layers.GRU(3)]),
    )
    for x, stack in stacks:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(x.shape[1:]), *stack, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        assert largest_curvature(model, x, np.ones(16)).eigenvalue > 0


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["nadam, dropout, batch norm", "loss scale", "two inputs"])
def test_looking_changes_no_bit(name):
    model = MODELS[name]()
    x, y = data_for(model)
    largest_curvature(model, x, y, rows=64, products=2)  # builds what is not built
    before = everything(model)
    found = largest_curvature(model, x, y, rows=64, sample_weight=np.ones(len(y)))
    assert everything(model) == before
    assert found == largest_curvature(model, x, y, rows=64, sample_weight=np.ones(len(y)))


def broken():
    model = classifier("sgd")
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    return model


def frozen():
    model = classifier("sgd")
    model.trainable = False
    return model


@pytest.mark.parametrize(
    ("make", "how", "error", "message"),
    [
        (lambda: classifier("sgd"), {"rows": 0}, OptionError, "rows"),
        (lambda: classifier("sgd"), {"products": 1}, OptionError, "products"),
        (lambda: classifier("sgd"), {"tolerance": 0}, OptionError, "tolerance=0"),
        (lambda: classifier("sgd"), {"seed": -1}, OptionError, "seed"),
        (lambda: classifier("sgd"), {"sample_weight": np.ones(3)}, DataError, "same number of rows"),
        (broken, {}, ModelError, "second derivatives"),
        (frozen, {}, ModelError, "frozen"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_measured_is_told(make, how, error, message):
    with pytest.raises(error, match=message):
        largest_curvature(make(), *rows(64), **how)


def test_an_iterable_of_batches_is_refused():
    with pytest.raises(KilterError, match="x as arrays"):
        largest_curvature(classifier("sgd"), [rows(16), rows(16)])
