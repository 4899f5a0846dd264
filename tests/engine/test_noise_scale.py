"""The gradient noise scale against NumPy and against problems whose noise is known."""

import math

import numpy as np
import pytest

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._tuning.noise_scale import gradient_noise_scale, read_noise
from kilter.errors import DataError, ModelError, OptionError

from .cases import classifier, rows
from .test_trials import MODELS, data_for, everything

layers = keras.layers


def linear(features, *between, weights=None):
    stack = [keras.Input((features,)), *between, layers.Dense(1, use_bias=False)]
    model = keras.Sequential(stack)
    model.compile("adam", "mse")
    if weights is not None:
        model.set_weights([np.asarray(weights, "float32").reshape(features, 1)])
    return model


def regression(count, features=5):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, features))
    return x, x.sum(axis=1) + generator.normal(size=count), generator.normal(size=features)


def row_gradients(x, y, weights):
    """∂(x·w - y)²/∂w of each row, [n, features]."""
    return 2 * (x @ weights - y)[:, None] * x


def test_single_rows_give_the_covariance_of_the_rows_gradients():
    x, y, weights = regression(200)
    by_row = row_gradients(x, y, weights)
    found = gradient_noise_scale(linear(5, weights=weights), x, y, batch_size=1, batches=200)
    variance = by_row.var(axis=0, ddof=1).sum()
    square = (by_row.mean(axis=0) ** 2).sum() - variance / 200
    assert (found.batches, found.batch_size) == (200, 1)
    assert found.variance == pytest.approx(variance, rel=1e-4)
    assert found.gradient_square == pytest.approx(square, rel=1e-4)
    assert found.noise_scale == pytest.approx(variance / square, rel=1e-4)


def test_batches_give_the_two_estimates_of_the_paper():
    """McCandlish et al. 2018, appendix A.1, with a small batch of 8 and a large one of 80."""
    x, y, weights = regression(96)
    found = gradient_noise_scale(linear(5, weights=weights), x, y, batch_size=8, batches=10, seed=4)
    used = np.random.Generator(np.random.PCG64([4, 0])).permutation(96)[:80]
    by_row = row_gradients(x, y, weights)[used]
    small = (by_row.reshape(10, 8, 5).mean(axis=1) ** 2).sum(axis=1).mean()
    large = (by_row.mean(axis=0) ** 2).sum()
    assert found.gradient_square == pytest.approx((80 * large - 8 * small) / (80 - 8), rel=1e-3)
    assert found.variance == pytest.approx((small - large) / (1 / 8 - 1 / 80), rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_known_noise_scale_lies_in_the_interval(seed):
    """x = 1 and w = 0: the gradient of a row is -2y, so the noise scale is σ²/μ² = 25."""
    generator = np.random.default_rng(seed)
    y = generator.normal(0.2, 1.0, size=8192)
    found = gradient_noise_scale(linear(1, weights=[0.0]), np.ones((8192, 1)), y, batch_size=32, batches=256)
    assert found.low < 25 < found.high
    assert found.high < 2 * found.low
    assert found.variance == pytest.approx(4.0, rel=0.2)


def test_a_gradient_that_is_noise_alone_has_an_infinite_scale():
    y = np.tile([1.0, -1.0], 64)
    found = gradient_noise_scale(linear(1, weights=[0.0]), np.ones((128, 1)), y, batch_size=1, batches=128)
    assert (found.noise_scale, found.high) == (math.inf, math.inf)
    assert found.low > 10


def test_equal_rows_have_no_noise():
    found = gradient_noise_scale(linear(1, weights=[0.0]), np.ones((64, 1)), np.ones(64), batch_size=4)
    assert found.noise_scale == pytest.approx(0.0, abs=1e-6)


def test_dropout_is_part_of_the_noise():
    found = gradient_noise_scale(
        linear(8, layers.Dropout(0.5), weights=np.zeros(8)), np.ones((64, 8)), np.ones(64), batch_size=4
    )
    assert found.noise_scale > 0.1


def test_the_interval_is_a_jackknife_over_the_batches():
    generator = np.random.default_rng(0)
    vectors = generator.normal(1.0, 2.0, size=(12, 6))

    def inverse(some):
        mean, count = some.mean(axis=0), len(some)
        variance = 8 * ((some - mean) ** 2).sum() / (count - 1)
        return ((mean**2).sum() - variance / (8 * count)) / variance

    left_out = [inverse(np.delete(vectors, index, axis=0)) for index in range(12)]
    error = math.sqrt(11 / 12 * ((left_out - np.mean(left_out)) ** 2).sum())
    mean = vectors.mean(axis=0)
    found = read_noise((vectors**2).sum(axis=1), vectors @ mean, batch_size=8)
    assert found.noise_scale == pytest.approx(1 / inverse(vectors))
    assert found.low == pytest.approx(1 / (inverse(vectors) + 1.96 * error))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["nadam, dropout, batch norm", "loss scale", "two inputs"])
def test_looking_changes_no_bit(name):
    model = MODELS[name]()
    x, y = data_for(model)
    gradient_noise_scale(model, x, y, batches=4)  # builds what is not built
    before = everything(model)
    found = gradient_noise_scale(model, x, y, batches=8, sample_weight=np.ones(len(y)))
    assert everything(model) == before
    assert found == gradient_noise_scale(model, x, y, batches=8, sample_weight=np.ones(len(y)))
    assert found.noise_scale > 0


def broken():
    model = classifier("sgd")
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize(
    ("make", "scale", "how", "error", "message"),
    [
        (lambda: classifier("sgd"), 1, {"batches": 3}, OptionError, "batches as a whole number, at least 4"),
        (lambda: classifier("sgd"), 1, {"batch_size": 0}, OptionError, "batch_size"),
        (lambda: classifier("sgd"), 1, {"batch_size": 17}, DataError, "make 3 of 17"),
        (lambda: classifier("sgd"), 1, {"batch_size": 100}, DataError, "make 1 of 64"),
        (broken, 1, {"batch_size": 4}, ModelError, "finite gradients"),
        (lambda: linear(12, weights=np.zeros(12)), 0, {"batch_size": 4}, ModelError, "not all zero"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_measured_is_told(make, scale, how, error, message):
    x, y = rows(64)
    with pytest.raises(error, match=message):
        gradient_noise_scale(make(), x * scale, y, **how)
