"""evaluate and predict against Keras's own."""

from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine.inference import evaluate, predict
from kilter.errors import DataError, ModelError, OptionError

from .cases import BATCH, FEATURES, classifier, rows, same_bits
from .test_model_kinds import Doubled, Residual, two_headed, two_headed_rows

layers = keras.layers


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_evaluation_is_that_of_keras_whatever_the_batch_size(batch_size: int):
    x, y = rows()
    model = classifier(hidden=lambda: [layers.BatchNormalization(), layers.Dropout(0.5)])
    weights = np.linspace(0.0, 2.0, len(x), dtype="float32")
    for how in ({}, {"sample_weight": weights}):
        expected = model.evaluate(x, y, batch_size=50, verbose=0, return_dict=True, **how)
        got = evaluate(model, x, y, batch_size=batch_size, **how)
        assert got == pytest.approx(expected, rel=1e-5)


def test_evaluation_changes_nothing_of_the_model():
    x, y = rows()
    model, untouched = (classifier("adam", hidden=lambda: [layers.BatchNormalization()]) for _ in range(2))
    evaluate(model, x, y)
    evaluate(untouched, x[:1], y[:1])  # builds the same variables
    assert same_bits(model, untouched)


def test_evaluation_of_several_outputs_and_of_an_overridden_step():
    x, y = two_headed_rows(named=True)
    model = two_headed(named=True)
    assert evaluate(model, x, y) == pytest.approx(model.evaluate(x, y, verbose=0, return_dict=True), rel=1e-5)
    doubled = Doubled([keras.Input((FEATURES,)), layers.Dense(1)])
    doubled.compile(loss="mse")
    data = rows()
    expected = doubled.evaluate(*data, verbose=0, return_dict=True)
    assert evaluate(doubled, *data) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [1, 16, 50])
def test_predictions_are_those_of_keras(count: int):
    x, _ = rows(count)
    model = classifier(hidden=lambda: [layers.BatchNormalization(), layers.Dropout(0.5)], output="softmax")
    got = predict(model, x, batch_size=BATCH)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_predictions_of_an_uncompiled_model_and_of_an_unbuilt_one():
    x, _ = rows()
    built = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(2)])
    np.testing.assert_allclose(predict(built, x), built.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    unbuilt = Residual()
    got = predict(unbuilt, x)
    np.testing.assert_allclose(got, unbuilt.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("named", [True, False])
def test_predictions_keep_the_structure_of_the_outputs(named: bool):
    x, _ = two_headed_rows(named)
    model = two_headed(named)
    got, expected = predict(model, x), model.predict(x, verbose=0)
    assert type(got) is type(expected)
    pairs: Any = [(got[key], expected[key]) for key in (got if named else range(2))]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_predictions_of_many_rows_are_made_piece_by_piece(monkeypatch: pytest.MonkeyPatch):
    x, _ = rows()
    model = classifier()
    whole = predict(model, x, batch_size=BATCH)
    monkeypatch.setattr("kilter._engine.inference._OUTPUT_BYTES", 1)
    np.testing.assert_allclose(predict(model, x, batch_size=BATCH), whole, rtol=1e-6)


def test_what_cannot_be_evaluated_or_predicted():
    x, y = rows()
    with pytest.raises(ModelError, match="compile"):
        evaluate(keras.Sequential([layers.Dense(1)]), x, y)
    with pytest.raises(DataError, match="shape"):
        predict(classifier(), x[:, :5])
    with pytest.raises(OptionError, match="batch_size"):
        predict(classifier(), x, batch_size=0)


def test_a_change_of_the_model_is_predicted_with_after_compile():
    x, _ = rows()
    model = classifier()
    before = predict(model, x)
    model.layers[-1].activation = keras.activations.softmax
    model.compile("sgd", "mse")
    np.testing.assert_allclose(predict(model, x), np.asarray(keras.ops.softmax(before)), rtol=1e-5)
