"""Zeroed weights against NumPy, and the curve against Keras on models cut by hand."""

import keras
import numpy as np
import pytest

from kilter._infer.sparsity import zero_small_weights
from kilter.errors import ModelError, OptionError

from .models import Norm, bits, inputs, layers, sequential

SHARES = (0.0, 0.25, 0.5, 0.9)


@pytest.fixture
def trained():
    model = sequential((8,), layers.Dense(10, activation="relu"), Norm(), layers.Dense(3))
    model.layers[0].kernel.assign(model.layers[0].kernel * 0.1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, metrics=["accuracy"])
    x = inputs(model, 60)
    return model, x, np.arange(60) % 3


def cut_by_hand(model, share, scope):
    """The two kernels with the smallest share of weights set to zero by a threshold."""
    kernels = [np.array(layer.kernel) for layer in (model.layers[0], model.layers[2])]
    together = [np.concatenate([kernel.ravel() for kernel in kernels])] * 2
    for kernel, among in zip(kernels, together if scope == "global" else kernels, strict=True):
        count = round(share * among.size)
        least = np.sort(np.abs(among), axis=None)[count - 1] if count else -1
        kernel[np.abs(kernel) <= least] = 0
    return kernels


@pytest.mark.sampled(3)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_curve_is_what_keras_measures_on_models_cut_by_hand(trained, scope):
    model, x, y = trained
    before = bits(model)
    curve = zero_small_weights(model, x, y, shares=SHARES, scope=scope, batch_size=25)
    assert bits(model) == before
    for share, reached, measures, by_kernel in zip(
        SHARES, curve.shares, curve.measures, curve.by_kernel, strict=True
    ):
        cut = curve.model(share)
        kernels = cut_by_hand(model, share, scope)
        np.testing.assert_array_equal(cut.layers[0].kernel, kernels[0])
        np.testing.assert_array_equal(cut.layers[2].kernel, kernels[1])
        np.testing.assert_array_equal(cut.layers[1].gamma, model.layers[1].gamma)
        cut.compile(loss=model.loss, metrics=["accuracy"])
        expected = cut.evaluate(x, y, verbose=0, return_dict=True)
        assert measures == pytest.approx(expected, rel=1e-5)
        zeros = [(kernel == 0).mean() for kernel in kernels]
        assert list(by_kernel.values()) == pytest.approx(zeros)
        assert reached == pytest.approx(np.average(zeros, weights=[80, 30]))
        assert reached == pytest.approx(share, abs=0.01)
    assert bits(model) == before


def test_the_small_kernel_goes_first_only_where_all_are_compared(trained):
    model, x, y = trained
    together = zero_small_weights(model, x, y, shares=[0.5], scope="global").by_kernel[0]
    each = zero_small_weights(model, x, y, shares=[0.5], scope="layer").by_kernel[0]
    small, large = together.values()
    assert small > 0.6 > 0.4 > large
    assert list(each.values()) == [0.5, 0.5]


def test_thresholds(trained):
    model, x, y = trained
    kernels = [np.array(layer.kernel) for layer in (model.layers[0], model.layers[2])]
    curve = zero_small_weights(model, x, y, thresholds=[0.0, 0.1, 10.0])
    for least, share in zip([0.0, 0.1, 10.0], curve.shares, strict=True):
        assert share == sum((np.abs(kernel) < least).sum() for kernel in kernels) / 110
    assert np.isnan(curve.thresholds[0])
    assert curve.thresholds[1] < 0.1
    np.testing.assert_array_equal(
        curve.model(curve.shares[1]).layers[0].kernel == 0, np.abs(kernels[0]) < 0.1
    )


def test_the_model_as_it_was_measured_even_if_it_is_trained_on(trained):
    model, x, y = trained
    kernel = np.array(model.layers[0].kernel)
    curve = zero_small_weights(model, x, y, shares=[0.0])
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(curve.model(0.0).layers[0].kernel, kernel)


def test_frozen_kernels_and_embeddings_are_thinned_out_too():
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), layers.Embedding(9, 5), layers.Flatten(), layers.Dense(1)]
    )
    model.trainable = False
    model.compile(loss="mse")
    curve = zero_small_weights(model, np.ones((6, 4), "int32"), np.ones((6, 1)), shares=[0.4])
    assert curve.shares[0] == pytest.approx(0.4, abs=0.01)
    assert len(curve.by_kernel[0]) == 2


def test_the_picture(trained):
    model, x, y = trained
    curve = zero_small_weights(model, x, y, shares=SHARES)
    figure = curve.plot()
    assert list(figure.data[0].y) == [measures["accuracy"] for measures in curve.measures]
    assert list(figure.data[0].x) == pytest.approx([100 * share for share in curve.shares])
    assert figure.layout.yaxis.title.text == "accuracy"
    assert curve.plot("loss").layout.yaxis.title.text == "loss"
    with pytest.raises(OptionError, match="metric as one of accuracy, loss"):
        curve.plot("f1")


def test_what_is_refused(trained):
    model, x, y = trained
    for shares in ([], [1.0], [-0.1], [float("nan")]):
        with pytest.raises(OptionError, match="shares"):
            zero_small_weights(model, x, y, shares=shares)
    with pytest.raises(OptionError, match="thresholds"):
        zero_small_weights(model, x, y, thresholds=[-1.0])
    with pytest.raises(OptionError, match="scope"):
        zero_small_weights(model, x, y, scope="all")
    bare = keras.Sequential([keras.Input((8,)), Norm()])
    bare.compile(loss="mse")
    with pytest.raises(ModelError, match="kernel or embeddings"):
        zero_small_weights(bare, x, x)
    with pytest.raises(ModelError, match="compile"):
        zero_small_weights(keras.Sequential([keras.Input((8,)), layers.Dense(3)]), x, y)
