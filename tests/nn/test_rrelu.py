"""RReLU against NumPy and the uniform law, in every mode in which a layer is used."""

from kilter import nn  # first: it chooses Keras's backend

# isort: split
import keras
import numpy as np
import pytest

from kilter.errors import OptionError

X = np.random.default_rng(0).normal(size=(200, 500)).astype("float32")


def drawn_slopes(output):
    below = X < 0
    return np.asarray(output, "float64")[below] / X[below]


def test_the_mean_slope_at_inference():
    expected = np.where(X >= 0, X, X * (1 / 8 + 1 / 3) / 2)
    np.testing.assert_allclose(np.asarray(nn.RReLU()(X)), expected, rtol=1e-6)
    assert np.array_equal(nn.RReLU()(X), nn.RReLU()(X, training=False))


@pytest.mark.parametrize(("lower", "upper"), [(1 / 8, 1 / 3), (0.0, 0.5), (0.2, 0.2)])
def test_slopes_are_uniform_in_training(lower, upper):
    layer = nn.RReLU(lower, upper, seed=1)
    output = np.asarray(layer(X, training=True))
    assert np.array_equal(output[X >= 0], X[X >= 0])
    slopes = drawn_slopes(output)
    # 50,000 draws: mean and deviation of a uniform law to 0.5 % of the interval's width.
    near = 0.005 * (upper - lower) + 1e-6
    assert lower - 1e-6 <= slopes.min() <= slopes.max() <= upper + 1e-6
    assert slopes.mean() == pytest.approx((lower + upper) / 2, abs=near)
    assert slopes.std() == pytest.approx((upper - lower) / 12**0.5, abs=near)


def test_every_element_and_every_call_draws_anew_and_the_seed_decides():
    first, again, other = nn.RReLU(seed=3), nn.RReLU(seed=3), nn.RReLU(seed=4)
    slopes = drawn_slopes(first(X, training=True))
    assert len(np.unique(slopes.round(5))) > 10_000
    assert np.array_equal(slopes, drawn_slopes(again(X, training=True)))
    assert not np.array_equal(slopes, drawn_slopes(first(X, training=True)))
    assert not np.array_equal(slopes, drawn_slopes(other(X, training=True)))


def test_bfloat16_draws_without_bias():
    output = nn.RReLU(seed=0, dtype="mixed_bfloat16")(-np.ones(1_000_000, "float32"), training=True)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    # A million draws: a standard error of 6e-5. Drawn in bfloat16 the mean is 5e-4 too low.
    assert -np.asarray(output, "float64").mean() == pytest.approx(11 / 48, abs=2.5e-4)


def test_a_saved_model_holds_the_layer(tmp_path):
    model = keras.Sequential([keras.Input((500,)), keras.layers.Dense(4), nn.RReLU(0.1, 0.3, seed=2)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(model(X), loaded(X))
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    assert np.array_equal(model(X, training=True), loaded(X, training=True))


def test_it_trains_in_a_network():
    model = nn.mlp((500,), 2, hidden=(8,), activation="rrelu", batch_norm="before")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = (X[:, 0] > 0).astype("int32")
    assert np.isfinite(model.fit(X, labels, epochs=2, verbose=0).history["loss"]).all()


def test_nan_stays_nan():
    values = np.array([np.nan, -np.inf, np.inf], "float32")
    for training in (False, True):
        output = np.asarray(nn.RReLU()(values, training=training))
        assert np.isnan(output[0])
        assert output[1:].tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize(("lower", "upper"), [(0.5, 0.2), (-0.1, 0.2), (0.5, 1.0), (float("nan"), 0.5)])
def test_bounds_out_of_order_are_refused(lower, upper):
    with pytest.raises(OptionError, match="at 1 the layer is linear"):
        nn.RReLU(lower, upper)
