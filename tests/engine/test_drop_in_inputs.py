"""Inputs that ``model.fit`` takes train alike: generators, class weights of batches, sparse rows, NaN."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO

import kilter
from kilter._engine import host_rows as sparse_rows
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter.errors import OptionError

from .cases import BATCH, FEATURES, agree, assert_parity, classifier, difference, rows

X, Y = rows(64)
BATCHES = [(X[at : at + BATCH], Y[at : at + BATCH]) for at in range(0, 64, BATCH)]
WEIGHTS = {0: 0.5, 1: 3.0}
NAN = np.where(np.arange(X.size).reshape(X.shape) == 3 * FEATURES, np.nan, X)
SPARSE = np.where(X > 0.5, X, 0)
ONE_HOT = np.eye(3, dtype="float32")[Y]


class Numbered(keras.utils.PyDataset):
    """Four batches by number."""

    def __init__(self, y: np.ndarray = Y) -> None:
        super().__init__()
        self.y = y

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return X[rows], self.y[rows]


def named_inputs(*, listed: bool = False) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = {name: keras.Input((FEATURES,), name=name) for name in ("a", "b")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(list(inputs.values()) if listed else inputs, keras.layers.Dense(3)(joined))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def masking() -> keras.Model:
    """A model that takes NaN for 0."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((FEATURES,))
    known = keras.layers.Lambda(lambda x: keras.ops.where(keras.ops.isnan(x), 0.0, x))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(known))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def one_hot() -> keras.Model:
    return classifier(loss=keras.losses.CategoricalCrossentropy(from_logits=True))


def without_targets() -> keras.Model:
    """A model whose only loss is the size of its outputs."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((FEATURES,))
    model = keras.Model(inputs, keras.layers.Dense(3, activity_regularizer="l2")(inputs))
    model.compile("sgd")
    return model


# Name: the model, and the arguments of a training, made anew for each because generators are spent.
TAKEN: dict[str, tuple[Callable[[], keras.Model], Callable[[], dict[str, Any]]]] = {
    "generator of one epoch": (classifier, lambda: {"x": (batch for batch in BATCHES), "epochs": 1}),
    "generator of the last epoch": (
        classifier,
        lambda: {"x": (batch for batch in BATCHES), "epochs": 3, "initial_epoch": 2},
    ),
    "generator as validation": (
        classifier,
        lambda: {"x": X, "y": Y, "epochs": 1, "validation_data": (batch for batch in BATCHES)},
    ),
    "some batches of a generator as validation": (
        classifier,
        lambda: {
            "x": X,
            "y": Y,
            "epochs": 3,
            "validation_data": (batch for batch in BATCHES),
            "validation_steps": 3,
        },
    ),
    "a tuple of inputs alone as validation": (
        without_targets,
        lambda: {"x": X, "validation_data": (X,)},
    ),
    "class_weight of a PyDataset": (classifier, lambda: {"x": Numbered(), "class_weight": WEIGHTS}),
    "class_weight of one-hot batches": (
        one_hot,
        lambda: {"x": Numbered(ONE_HOT), "class_weight": WEIGHTS},
    ),
    "extra keys": (named_inputs, lambda: {"x": {"b": X, "z": Y, "a": -X}, "y": Y}),
    "extra keys for listed inputs": (
        lambda: named_inputs(listed=True),
        lambda: {"x": {"b": X, "z": X, "a": -X}, "y": Y},
    ),
    "csr": (classifier, lambda: {"x": scipy.sparse.csr_matrix(SPARSE), "y": Y}),
    "csr array": (classifier, lambda: {"x": scipy.sparse.csr_array(SPARSE), "y": Y}),
    "csc": (classifier, lambda: {"x": scipy.sparse.csc_matrix(SPARSE), "y": Y}),
    "coo": (classifier, lambda: {"x": scipy.sparse.coo_matrix(SPARSE), "y": Y}),
    "BCOO": (classifier, lambda: {"x": BCOO.fromdense(SPARSE), "y": Y}),
    "NaN that the model masks": (masking, lambda: {"x": NAN, "y": Y}),
    "NaN that the model masks, validated": (
        masking,
        lambda: {"x": X, "y": Y, "validation_data": (NAN, Y)},
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", TAKEN)
def test_what_keras_takes_trains_as_in_keras(name: str):
    make, given = TAKEN[name]
    ours, theirs = make(), make()
    how = {"epochs": 2, "shuffle": False, "verbose": 0}
    if not isinstance(given()["x"], Numbered):
        how["batch_size"] = BATCH
    got, expected = fit(ours, **how | given()), theirs.fit(**how | given())
    assert difference(ours, theirs) < 1e-4
    assert difference(ours, make()) > 1e-4
    agree(got.history, expected.history)


def test_a_generator_for_validation_is_kept_for_later_epochs():
    generator = (batch for batch in BATCHES)
    got = fit(classifier(), X, Y, validation_data=generator, epochs=3, verbose=0).history
    assert got == fit(classifier(), X, Y, validation_data=BATCHES, epochs=3, verbose=0).history


def test_a_generator_beside_class_weight_is_refused_as_in_keras():
    with pytest.raises(OptionError, match="generator"):
        fit(classifier(), (batch for batch in BATCHES), class_weight=WEIGHTS, verbose=0)
    with pytest.raises(ValueError, match="class_weight"):
        classifier().fit((batch for batch in BATCHES), class_weight=WEIGHTS, verbose=0)
    weighted = [(*batch, np.ones(BATCH, "float32")) for batch in BATCHES]
    with pytest.raises(OptionError, match="sample_weight"):
        fit(classifier(), weighted, class_weight=WEIGHTS, verbose=0)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array"])
def test_sparse_rows_are_evaluated_predicted_and_put_into_batches(kind: str):
    sparse, model = getattr(scipy.sparse, kind)(SPARSE), classifier()
    np.testing.assert_allclose(predict(model, sparse), predict(model, SPARSE))
    assert evaluate(model, sparse, Y) == evaluate(model, SPARSE, Y)
    assert evaluate(model, [(sparse, Y)]) == evaluate(model, SPARSE, Y)
    held = fit(classifier(), sparse, Y, validation_split=0.25, verbose=0).history
    assert held == fit(classifier(), SPARSE, Y, validation_split=0.25, verbose=0).history


class LikeTensorFlow:
    """The parts of a ``tf.SparseTensor`` that say what is in it; TensorFlow is no dependency."""

    def __init__(self, dense):
        self.indices = np.argwhere(dense)
        self.values = dense[tuple(self.indices.T)]
        self.dense_shape = dense.shape


def test_sparse_rows_of_tensorflow_are_those_of_the_dense_array():
    np.testing.assert_allclose(predict(classifier(), LikeTensorFlow(SPARSE)), predict(classifier(), SPARSE))
    one, other = classifier(), classifier()
    fit(one, LikeTensorFlow(SPARSE), Y, verbose=0)
    fit(other, SPARSE, Y, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_sparse_rows_are_read_block_by_block(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sparse_rows, "_DENSE_BYTES", 100)
    assert isinstance(sparse_rows.with_sparse_rows(scipy.sparse.csc_matrix(SPARSE)), sparse_rows.SparseRows)
    assert_parity(classifier, scipy.sparse.csc_matrix(SPARSE), Y)
    np.testing.assert_allclose(
        predict(classifier(), scipy.sparse.csr_matrix(SPARSE)), predict(classifier(), SPARSE)
    )


@pytest.mark.parametrize(
    "source",
    [lambda: (NAN, Y), lambda: ([(NAN, Y)], None), lambda: ([BATCHES[0], (NAN, Y)], None)],
    ids=["arrays", "batches", "second batch"],
)
def test_nan_in_x_is_warned_of_once(source: Callable[[], Any]):
    x, y = source()
    with pytest.warns(UserWarning, match=r"x has 1 NaN and 0 infinite values in 1 row; first rows") as told:
        fit(masking(), x, y, epochs=2, verbose=0)
    assert len([one for one in told if "NaN" in str(one.message)]) == 1


@pytest.mark.filterwarnings("ignore:.* NaN and")
@pytest.mark.parametrize(
    ("make", "severity"),
    [(masking, "warning"), (lambda: keras.Sequential([keras.layers.Dense(3, "softmax")]), "severe")],
    ids=["masked", "not masked"],
)
@pytest.mark.parametrize("batches", [False, True])
def test_nan_in_x_is_a_finding(make: Callable[[], Any], severity: str, batches: bool):
    model = make()
    model.compile("sgd", "sparse_categorical_crossentropy")
    data = ([(NAN, Y), BATCHES[0]],) if batches else (NAN, Y)
    history = kilter.fit(model, *data, validation_data=(NAN, Y), epochs=1, verbose=0)
    (found,) = [one for one in history.findings if one.code == "data-not-finite"]
    assert found.severity == severity
    assert found.where == ("data", "validation data")
    assert "x (data): 1 NaN and 0 infinite values in 1 row" in found.explanation


def test_nan_in_y_ends_a_training_with_terminate_on_nan_as_in_keras():
    target = np.where(np.arange(64) == 40, np.nan, X[:, 0])

    def trained(run: Callable[..., Any]) -> Any:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        stop = keras.callbacks.TerminateOnNaN()
        return run(model, X, target, callbacks=[stop], epochs=3, shuffle=False, verbose=0)

    with pytest.warns(UserWarning, match=r"y has 1 NaN .*first rows \[40\]"):
        ours = trained(fit)
    assert len(ours.epoch) == len(trained(keras.Model.fit).epoch) == 1


WARNED = {
    "a key that is no class": ({7: 2.0}, r"no class of y: \[7\]"),
    "a key that is a fraction": ({0.5: 2.0}, r"no class of y: \[0.5\]"),
    "a negative weight": ({0: -1.0}, "negative weights: {0: -1.0}"),
}


@pytest.mark.parametrize("name", WARNED)
def test_odd_class_weights_are_warned_of(name: str):
    weights, words = WARNED[name]
    with pytest.warns(UserWarning, match=words):
        fit(classifier(), X, Y, class_weight=weights, verbose=0)


def test_good_data_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(classifier(), np.ma.array(X), Y, class_weight={1: 2.0}, verbose=0)
        fit(classifier(), BATCHES, class_weight={1: 2.0}, verbose=0)
        fit(one_hot(), X, ONE_HOT, class_weight={1: 2.0}, verbose=0)


def test_findings_know_the_size_of_batches_without_batch_size(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []

    def noted(*given: Any) -> tuple[()]:
        sizes.append(given[3])
        return ()

    monkeypatch.setattr("kilter._diagnosis.diagnose.training_findings", noted)
    for size, steps in ((None, 4), (None, None), (8, 2)):
        _ = kilter.fit(classifier(), X, Y, batch_size=size, steps_per_epoch=steps, verbose=0).findings
    assert sizes == [16, 32, 8]
