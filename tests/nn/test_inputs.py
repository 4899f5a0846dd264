"""The normalisation in front: parity with NumPy, constants, saved models that take raw pixels."""

from kilter import nn  # first: it chooses Keras's backend

# isort: split
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.errors import OptionError
from kilter.nn.builders import input_layers

SHAPE = (3, 2, 4)
X = np.random.default_rng(1).integers(0, 256, (6, *SHAPE)).astype("uint8")


@settings(max_examples=20, deadline=None)
@given(
    shape=st.sampled_from([SHAPE, SHAPE[-1:], ()]),
    mean=st.floats(-1e3, 1e3),
    variance=st.floats(1e-3, 1e6),
)
def test_parity_with_numpy_whatever_the_shape_of_the_statistics(shape, mean, variance):
    rng = np.random.default_rng(2)
    means, variances = mean + rng.normal(size=shape), variance * rng.uniform(1, 2, shape)
    layer = input_layers(SHAPE, (means, variances))[1]
    expected = (X - means) / np.sqrt(variances)
    # float32: the difference of numbers up to 1e3 is good to 1e-4 before it is divided
    np.testing.assert_allclose(np.asarray(layer(X)), expected, rtol=1e-5, atol=2e-4 / np.sqrt(variance))


@pytest.mark.parametrize("variance", [0.0, 1e-9])
def test_a_constant_feature_is_centred_and_not_blown_up(variance):
    layer = input_layers((2,), ([1000.0, 0.0], [variance, 4.0]))[1]
    np.testing.assert_allclose(
        np.asarray(layer(np.array([[1000.0, 2.0], [1001.0, 2.0]]))), [[0, 1], [1, 1]], atol=1e-6
    )


def test_a_small_variance_of_small_numbers_is_no_constant():
    layer = input_layers((1,), ([0.0], [1e-12]))[1]
    np.testing.assert_allclose(np.asarray(layer(np.array([[1e-6]], "float32"))), [[1.0]], rtol=1e-3)


def test_without_statistics_there_is_no_layer():
    assert len(input_layers((2,), None)) == 1


@pytest.mark.parametrize("build", [nn.mlp, nn.cnn])
def test_a_saved_model_takes_raw_pixels(build, tmp_path):
    x = np.random.default_rng(3).integers(0, 256, (5, 8, 8, 3)).astype("uint8")
    model = build(
        (8, 8, 3), 4, normalization=([120.0, 110.0, 100.0], [3000.0, 3100.0, 3200.0]), batch_norm="before"
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(loaded(x)))
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(loaded(x.astype("float32"))))


@pytest.mark.parametrize(
    ("normalization", "why"),
    [
        ((np.zeros(3), np.ones(3)), "one shape"),
        ((np.zeros(2), 1.0), "one shape"),
        (([np.nan, 0.0], [1.0, 1.0]), "finite"),
        (([0.0, 0.0], [1.0, -1.0]), "finite"),
        (([0.0, 0.0], [1.0, np.inf]), "finite"),
    ],
)
def test_bad_statistics_are_refused(normalization, why):
    with pytest.raises(OptionError, match=why):
        input_layers((2,), normalization)
