"""``KilterClassifier`` and ``KilterRegressor`` in scikit-learn's own terms."""

import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from kilter import KilterClassifier, KilterRegressor
from kilter.errors import DataError, OptionError

BOTH = [KilterClassifier(random_state=0), KilterRegressor(random_state=0)]
EXCEPTIONS = {
    f"check_sample_weight_equivalence_on_{form}_data": "repeating a row changes the batches, and so "
    "the steps, which a weight of two does not"
    for form in ("dense", "sparse")
}
X, y = load_iris(return_X_y=True)


@parametrize_with_checks(BOTH, expected_failed_checks=lambda estimator: EXCEPTIONS)
def test_estimators_are_what_scikit_learn_expects(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", BOTH, ids=lambda one: type(one).__name__)
def test_the_same_random_state_gives_the_same_bits_and_another_does_not(estimator):
    def outputs(seed):
        made = clone(estimator).set_params(epochs=2, random_state=seed)
        return made.fit(X, y)._outputs(X)

    assert np.array_equal(outputs(3), outputs(3))
    assert not np.array_equal(outputs(3), outputs(4))


def test_probabilities_are_the_softmax_of_the_network():
    made = KilterClassifier(epochs=3, random_state=0).fit(X, y)
    expected = keras.ops.softmax(made.model_.predict(X, verbose=0))
    np.testing.assert_allclose(made.predict_proba(X), expected, rtol=1e-5)
    assert np.array_equal(made.predict(X), np.asarray(expected).argmax(axis=1))


def test_several_targets_in_their_own_units():
    rows, targets = make_regression(120, 5, n_targets=2, random_state=0)
    targets = targets * [1.0, 1e6] + [0.0, 3e9]
    made = KilterRegressor(random_state=0).fit(rows, targets)
    assert made.predict(rows).shape == (120, 2)
    assert made.score(rows, targets) > 0.9
    expected = made.predict(rows)[:, 1]
    alone = KilterRegressor(random_state=0).fit(rows, targets[:, 1])
    assert alone.predict(rows).shape == expected.shape


def test_patience_stops_and_keeps_the_best_epoch():
    made = KilterClassifier(learning_rate=0.3, epochs=60, patience=2, random_state=0).fit(X, y)
    losses = made.history_["val_loss"]
    assert made.n_iter_ == len(losses) == int(np.argmin(losses)) + 3
    never = KilterClassifier(epochs=4, patience=None, random_state=0).fit(X, y)
    assert list(never.history_) == ["loss"]
    assert never.n_iter_ == 4


def test_class_weights_act_as_the_row_weights_they_stand_for():
    weights = {0: 1.0, 1: 5.0, 2: 0.5}
    options = {"epochs": 3, "patience": None, "random_state": 0}
    one = KilterClassifier(class_weight=weights, **options).fit(X, y)
    other = KilterClassifier(**options).fit(X, y, sample_weight=np.vectorize(weights.get)(y))
    plain = KilterClassifier(**options).fit(X, y)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-5)
    assert not np.allclose(one.predict_proba(X), plain.predict_proba(X), rtol=1e-3)


def test_rows_of_weight_zero_have_no_influence():
    options = {"epochs": 2, "random_state": 0}
    odd = np.concatenate([X, np.full((30, 4), 1e6)])
    labels, weights = np.concatenate([y, np.zeros(30, int)]), np.repeat([1.0, 0.0], [150, 30])
    one = KilterClassifier(**options).fit(odd, labels, sample_weight=weights)
    other = KilterClassifier(**options).fit(X, y, sample_weight=weights[:150])
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    amounts = np.concatenate([X[:, 0], np.full(30, 1e9)])
    numbers = KilterRegressor(**options).fit(odd, amounts, sample_weight=weights).predict(X)
    alone = KilterRegressor(**options).fit(X, X[:, 0], sample_weight=weights[:150]).predict(X)
    np.testing.assert_array_equal(numbers, alone)


@pytest.mark.parametrize("weight", [0.0, -1.0])
@pytest.mark.parametrize("estimator", BOTH, ids=lambda one: type(one).__name__)
def test_weights_without_a_meaning_are_refused(estimator, weight):
    with pytest.raises(ValueError, match="weight"):
        clone(estimator).fit(X, y, sample_weight=np.full(150, weight))


def test_sparse_rows_are_as_dense_ones():
    words = make_pipeline(OneHotEncoder(), KilterClassifier(epochs=2, random_state=0)).fit(X.round(), y)
    dense = make_pipeline(OneHotEncoder(sparse_output=False), KilterClassifier(epochs=2, random_state=0))
    np.testing.assert_allclose(
        words.predict_proba(X.round()), dense.fit(X.round(), y).predict_proba(X.round()), atol=1e-6
    )


def test_a_network_of_ones_own():
    def build(shape, outputs):
        return keras.Sequential([keras.Input(shape), keras.layers.Dense(outputs)])

    made = KilterClassifier(build, epochs=2, optimizer=keras.optimizers.SGD(0.5), learning_rate=None)
    made.fit(X, y)
    assert [type(layer).__name__ for layer in made.model_.layers] == ["Dense"]
    assert float(made.model_.optimizer.learning_rate) == 0.5
    assert made.model_.optimizer is not made.optimizer


def test_pipeline_and_search():
    steps = make_pipeline(StandardScaler(), KilterClassifier(epochs=5, random_state=0))
    search = GridSearchCV(steps, {"kilterclassifier__hidden": [(4,), (16,)]}, cv=2).fit(X, y)
    assert set(search.best_params_) == {"kilterclassifier__hidden"}
    assert cross_val_score(KilterRegressor(epochs=5), X, y, cv=2).shape == (2,)


def test_a_fitted_estimator_is_pickled_with_its_network():
    made = KilterRegressor(epochs=2, random_state=0).fit(X, y)
    again = pickle.loads(pickle.dumps(made))  # noqa: S301  (scikit-learn's own way to keep estimators)
    assert np.array_equal(again.predict(X), made.predict(X))


FLOWERS = pd.Series(np.where(y > 0, "b", "a"))
NULLABLE = {
    "strings": (FLOWERS.astype("string"), "O"),
    "objects": (FLOWERS.astype(object), "O"),
    "categories": (FLOWERS.astype("category"), "O"),
    "whole numbers": (pd.Series(y).astype("Int64"), "i"),
    "true and false": (pd.Series(y > 0).astype("boolean"), "b"),
}


@pytest.mark.parametrize("kind", NULLABLE)
def test_labels_of_pandas_keep_their_type_and_missing_ones_are_named(kind):
    labels, stored = NULLABLE[kind]
    made = KilterClassifier(epochs=1, random_state=0)
    assert made.fit(X, labels).predict(X).dtype.kind == stored
    holes = labels.copy()
    holes[7] = pd.NA
    with pytest.raises(DataError, match=r"Input y contains NaN.*1 of 150 missing, the first in row 7"):
        made.fit(X, holes)


@pytest.mark.parametrize(
    ("options", "labels", "error"),
    [
        ({}, np.zeros(150), DataError),
        ({"epochs": 0}, y, OptionError),
        ({"batch_size": 2.5}, y, OptionError),
        ({"patience": -1}, y, OptionError),
        ({"hidden": (0,)}, y, OptionError),
    ],
)
def test_bad_input_is_refused_before_training(options, labels, error):
    with pytest.raises(error):
        KilterClassifier(**options).fit(X, labels)
