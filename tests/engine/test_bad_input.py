"""What cannot be trained on is refused before anything is compiled: expected, received, remedy."""

from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine.fit import fit
from kilter._engine.inference import evaluate
from kilter._engine.program_cache import shelf
from kilter.errors import DataError, KilterError, ModelError, OptionError

from .cases import CLASSES, FEATURES, classifier, rows

X, Y = rows()
NAN, INFINITE = X.copy(), X.copy()
NAN[[4, 7], 0], INFINITE[9, 1] = np.nan, np.inf
STRICT = {"check": "strict"}
WEIGHTS = np.ones(len(X), "float32")

# Name: what is passed to fit beside a classifier of 12 features, the error, and a word of its message.
REFUSED: dict[str, tuple[dict[str, Any], type[KilterError], str]] = {
    "no rows": ({"x": X[:0], "y": Y[:0]}, DataError, "0 rows"),
    "other lengths": ({"y": Y[:-1]}, DataError, "same number of rows"),
    "other lengths of weights": ({"sample_weight": WEIGHTS[:3]}, DataError, "same number of rows"),
    "nothing": ({"x": None, "y": None}, DataError, "None"),
    "no inputs": ({"x": None}, DataError, "None"),
    "a string": ({"x": "cifar10"}, DataError, "first axis"),
    "a number": ({"x": 3.0}, DataError, "first axis"),
    "numbers": ({"x": [1.0, 2.0]}, DataError, "first axis"),
    "rows of numbers": ({"x": [[1.0] * FEATURES] * 50}, DataError, "first axis"),
    "strings": ({"x": np.array([["a"] * FEATURES] * 50)}, DataError, "numbers"),
    "objects": ({"x": np.array([[None] * FEATURES] * 50)}, DataError, "numbers"),
    "dates": ({"x": np.zeros((50, FEATURES), "datetime64[s]")}, DataError, "numbers"),
    "complex numbers": ({"x": X.astype("complex64")}, DataError, "numbers"),
    "targets of no array": ({"y": object()}, DataError, "y as arrays"),
    "NaN in x": ({"x": NAN, **STRICT}, DataError, r"2 NaN and 0 infinite .* rows \[4, 7\]"),
    "infinity in x": ({"x": INFINITE, **STRICT}, DataError, r"0 NaN and 1 infinite .* rows \[9\]"),
    "too large for float32": ({"x": X.astype("float64") * 1e300, **STRICT}, DataError, "infinite"),
    "NaN in y": ({"y": np.where(Y == 1, np.nan, Y), **STRICT}, DataError, "finite numbers in y"),
    "NaN in weights": ({"sample_weight": WEIGHTS * np.nan}, DataError, "finite numbers in sample_weight"),
    "labels too large": ({"y": Y + 1}, DataError, r"labels 0 to 2.*3 outputs.* with labels \[3"),
    "labels below zero": ({"y": Y - 1}, DataError, r"with labels \[-1"),
    "labels beyond int32": ({"y": Y.astype("int64") + 2**32}, DataError, "2147483647"),
    "a wrong width": ({"x": X[:, :5]}, DataError, r"\(rows, 12\).*\(rows, 5\)"),
    "a dimension too many": ({"x": X[..., None, None]}, DataError, "shape"),
    "two inputs for one": ({"x": [X, X]}, DataError, "shape"),
    "targets of a wrong shape": ({"y": np.zeros((50, 4, 2))}, DataError, "metric 'accuracy' takes"),
    "no targets": ({"y": None}, DataError, "pass y"),
    "labels outside in the validation": ({"validation_data": (X, Y + 1)}, DataError, "labels 0 to 2"),
    "NaN in the validation": (
        {"validation_data": (NAN, Y), **STRICT},
        DataError,
        "validation_data with 2 NaN",
    ),
    "another width in the validation": ({"validation_data": (X[:, :5], Y)}, DataError, "shape"),
    "a validation of three parts": ({"validation_data": (X, Y, WEIGHTS[:2])}, DataError, "same number"),
    "check loud": ({"check": "loud"}, OptionError, "warn"),
    "a masked array": ({"x": np.ma.masked_less(X, -2.0)}, DataError, r"masked array with .* first rows \[\d"),
    "fractions as class numbers": ({"y": Y + 0.5}, DataError, r"labels 0 to 2.* with labels \[[0-2].5"),
    "NaN as class numbers": ({"y": np.where(Y == 1, np.nan, Y)}, DataError, r"labels 0 to 2.*\[nan"),
    "both weights": (
        {"class_weight": {0: 1.0}, "sample_weight": WEIGHTS},
        OptionError,
        "class_weight or sample_weight",
    ),
    "class weights by a word": ({"class_weight": "balanced"}, OptionError, "a dict from class numbers"),
    "class weights in a list": ({"class_weight": [1.0, 2.0]}, OptionError, "a dict from class numbers"),
    "class weights that are words": ({"class_weight": {0: "a"}}, OptionError, "a dict from class numbers"),
    "class weights of names": (
        {"y": np.array(["a"] * 50), "class_weight": {0: 2.0}},
        DataError,
        "class numbers",
    ),
    "class weights of no labels": ({"y": None, "class_weight": {0: 2.0}}, OptionError, "class_weight"),
    "class weights of many targets": ({"y": {"a": Y}, "class_weight": {0: 2.0}}, OptionError, "class_weight"),
    "a split of everything": ({"validation_split": 1.0}, OptionError, "above 0 and below 1"),
    "a split below zero": ({"validation_split": -0.1}, OptionError, "above 0 and below 1"),
    "a split that is no number": ({"validation_split": "a"}, OptionError, "above 0 and below 1"),
    "a split that leaves nothing": ({"validation_split": 0.999}, DataError, "each side"),
    "batch size 0": ({"batch_size": 0}, OptionError, "batch_size"),
    "batch size 1.5": ({"batch_size": 1.5}, OptionError, "batch_size"),
    "batch size True": ({"batch_size": True}, OptionError, "batch_size"),
    "validation batch size -1": ({"validation_batch_size": -1}, OptionError, "validation_batch_size"),
    "epochs -1": ({"epochs": -1}, OptionError, "epochs"),
    "epochs as text": ({"epochs": "3"}, OptionError, "epochs"),
    "first epoch -1": ({"initial_epoch": -1}, OptionError, "initial_epoch"),
    "validation frequency 0": ({"validation_freq": 0}, OptionError, "validation_freq"),
    "seed -1": ({"seed": -1}, OptionError, "seed"),
    "seed None": ({"seed": None}, OptionError, "seed"),
    "schedule 0.1": ({"schedule": 0.1}, OptionError, "schedule"),
    "verbose loud": ({"verbose": "loud"}, OptionError, "verbose"),
    "callbacks of another kind": ({"callbacks": ["EarlyStopping"]}, OptionError, "callbacks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_three_parts_and_leaves_the_model_alone(name: str):
    given, error, words = REFUSED[name]
    model = classifier()
    before = model.get_weights()
    arguments = {"x": X, "y": Y, "verbose": 0} | given
    with pytest.raises(error, match=f"(?s){words}") as caught:
        fit(model, arguments.pop("x"), arguments.pop("y"), **arguments)
    assert caught.value.expected
    assert caught.value.received
    assert caught.value.remedy
    assert not shelf(model).programs or words in ("metric 'accuracy' takes", "pass y")
    for kept, first in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, first)


def test_numpy_integers_are_whole_numbers():
    numbers = {
        "batch_size": np.int64(16),
        "epochs": np.int32(1),
        "validation_freq": np.int64(1),
        "seed": np.uint8(3),
    }
    assert fit(classifier(), X, Y, verbose=0, **numbers).epoch == [0]


def test_an_ignored_class_may_lie_outside():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    fit(classifier(loss=loss, metrics=()), X, np.where(Y == 0, 255, Y), verbose=0)
    with pytest.raises(DataError, match="labels 0 to 2"):
        fit(classifier(loss=loss, metrics=()), X, np.where(Y == 0, 254, Y), verbose=0)


def test_a_model_that_is_not_compiled_or_has_no_optimizer():
    bare = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])
    with pytest.raises(ModelError, match="compile"):
        fit(bare, X, Y, verbose=0)
    bare.compile(optimizer=None, loss="mse")
    with pytest.raises(ModelError, match="optimizer"):
        fit(bare, X, np.zeros((50, CLASSES)), verbose=0)


def test_a_second_schedule_is_refused():
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(OptionError, match="with its own schedule"):
        fit(classifier(keras.optimizers.SGD(decay)), X, Y, schedule=lambda step: 0.1, verbose=0)


def test_one_schedule_for_many_optimizers_is_refused():
    parts = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
    with pytest.raises(OptionError, match="MultiOptimizer"):
        fit(classifier(keras.optimizers.MultiOptimizer(parts)), X, Y, schedule=lambda step: 0.1, verbose=0)


def test_shapes_that_stopped_fitting_after_a_first_fit_are_told_in_three_parts():
    model = classifier()
    fit(model, X, Y, verbose=0)
    with pytest.raises(DataError, match=r"(?s)same shape.*Received shapes"):
        fit(model, X, np.zeros((50, 7)), verbose=0)
    with pytest.raises(DataError, match=r"(?s)same shape.*Received shapes"):
        evaluate(model, X, np.zeros((50, 7)))
    fit(model, X, Y, verbose=0)


def test_a_mistake_in_a_custom_step_is_told_with_its_cause():
    class Broken(keras.Sequential):
        def train_step(self, state: Any, data: Any) -> Any:
            raise ValueError("a mistake of the author's")

    model = Broken([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])
    model.compile("sgd", "mse")
    with pytest.raises(DataError, match="a mistake of the author's") as caught:
        fit(model, X, np.zeros((50, CLASSES)), verbose=0)
    assert isinstance(caught.value.__cause__, ValueError)


class Subclassed(keras.Model):
    """A model that declares neither inputs nor outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.out = keras.layers.Dense(CLASSES)

    def call(self, x: Any) -> Any:
        return self.out(x)


def two_headed(*, named: bool) -> keras.Model:
    inputs = keras.Input((FEATURES,))
    heads = {
        name: keras.layers.Dense(units, name=name)(inputs) for name, units in (("many", 5), ("few", CLASSES))
    }
    return keras.Model(inputs, heads if named else list(heads.values()))


@pytest.mark.parametrize(
    ("make", "good", "bad"),
    [
        (Subclassed, Y, Y + 1),
        (lambda: two_headed(named=False), [Y + 2, Y], [Y, Y + 2]),
        (lambda: two_headed(named=False), {"few": Y, "many": Y + 2}, {"few": Y + 2, "many": Y}),
        (lambda: two_headed(named=True), {"few": Y, "many": Y + 2}, {"few": Y + 2, "many": Y}),
    ],
    ids=["subclassed", "listed", "listed, given by name", "named"],
)
def test_labels_are_checked_for_each_output_of_every_kind_of_model(make, good, bad):
    def compiled() -> keras.Model:
        model, loss = make(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        many = getattr(model, "output_names", None) or []
        losses = dict.fromkeys(many, loss) if isinstance(good, dict) else [loss] * len(many)
        model.compile("sgd", losses if len(many) > 1 else loss)
        return model

    assert np.isfinite(fit(compiled(), X, good, verbose=0).history["loss"][0])
    with pytest.raises(DataError, match="labels 0 to 2"):
        fit(compiled(), X, bad, verbose=0)


def test_labels_of_an_open_number_of_classes_are_not_checked():
    inputs = keras.Input((None,))
    model = keras.Model(inputs, keras.layers.Rescaling(2.0)(inputs))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(evaluate(model, X, Y)["loss"])
