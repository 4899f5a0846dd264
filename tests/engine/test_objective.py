"""Cross-entropy from logits: Keras's values, and a gradient where Keras has none."""

from typing import Any

import jax
import keras
import numpy as np
import pytest

from kilter._engine.fit import fit
from kilter._engine.stable_losses import is_clipped, stable_losses
from kilter._engine.step import train_step
from kilter._models.variables import build, pull
from kilter.nn import SmoothedSparseCategoricalCrossentropy

from .cases import BATCH, CLASSES, FEATURES, assert_parity, classifier, difference, rows

layers, losses, ops = keras.layers, keras.losses, keras.ops
QUIET = {"batch_size": BATCH, "shuffle": False, "verbose": 0}


class Subclassed(keras.Model):
    """A subclassed model whose last layer ends in a softmax."""

    def __init__(self, ending: list[keras.layers.Layer]) -> None:
        super().__init__()
        self.ending = ending

    def call(self, x: Any) -> Any:
        for layer in self.ending:
            x = layer(x)
        return x


ENDINGS = {
    "activation of the layer": lambda: [layers.Dense(CLASSES, activation="softmax", name="last")],
    "Activation": lambda: [layers.Dense(CLASSES, name="last"), layers.Activation("softmax")],
    "Softmax": lambda: [layers.Dense(CLASSES, name="last"), layers.Softmax()],
    "convolution": lambda: [
        layers.Reshape((1, FEATURES)),
        layers.Conv1D(CLASSES, 1, activation="softmax", name="last"),
        layers.Flatten(),  # not the output as the activation made it: Keras's own loss
    ],
}


def ending_in(name: str, kind: str, loss: Any) -> keras.Model:
    keras.utils.set_random_seed(2)
    stack = ENDINGS[name]()
    if kind == "nested":
        stack = [keras.Sequential([keras.Input((FEATURES,)), *stack])]
    if kind == "subclassed":
        model = Subclassed(stack)
        model(np.zeros((1, FEATURES), "float32"))
    else:
        model = keras.Sequential([keras.Input((FEATURES,)), *stack])
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    return model


def saturate(model: keras.Model) -> None:
    """Weights with which class 0 gets a probability below 1e-30, whatever the input."""
    kernel, bias = model.trainable_variables
    kernel.assign(np.zeros(kernel.shape))
    bias.assign([-100.0, 0.0, 0.0])


SMOOTHED = {
    "class numbers": (SmoothedSparseCategoricalCrossentropy(0.3), lambda y: y),
    "one-hot rows": (losses.CategoricalCrossentropy(label_smoothing=0.3), lambda y: _onehot(y)),
}


@pytest.mark.parametrize("kind", SMOOTHED)
def test_the_gradient_in_the_saturated_corner_is_that_of_the_smoothed_label(kind: str):
    """softmax - (0.8, 0.1, 0.1), for three classes and the true one's probability below 1e-30."""
    loss, targets = SMOOTHED[kind]
    x, y = np.zeros((1, FEATURES), "float32"), targets(np.zeros(1, "int32"))
    model = ending_in("Softmax", "sequential", loss)
    model.optimizer.learning_rate = 1.0
    build(model, (x, y, None))
    saturate(model)
    state, _ = jax.jit(train_step(model))(pull(model), (x, y, None))
    np.testing.assert_allclose(np.asarray(state.trainable[1]), [-99.2, -0.4, -0.4], rtol=1e-6)


@pytest.mark.parametrize("kind", ["sequential", "nested", "subclassed"])
@pytest.mark.parametrize("name", ["activation of the layer", "Activation", "Softmax"])
def test_a_saturated_model_learns_with_kilter_and_stands_still_with_keras(name: str, kind: str):
    x, y = np.ones((48, FEATURES), "float32"), np.zeros(48, "int32")
    ours, theirs = (ending_in(name, kind, "sparse_categorical_crossentropy") for _ in range(2))
    for model in (ours, theirs):
        saturate(model)
    before = [np.array(weight) for weight in theirs.get_weights()]
    stalled = theirs.fit(x, y, **QUIET).history["loss"]
    history = fit(ours, x, y, **QUIET).history["loss"]
    for kept, first in zip(theirs.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, first)  # exactly nothing: the probabilities are clipped
    assert stalled == [pytest.approx(-np.log(1e-7), rel=1e-3)]
    # One step moves the bias of class 0 by rate · (1 - p) and the others by -rate · p.
    bias = np.array(ours.get_weights()[1])
    np.testing.assert_allclose(bias, [-100.0 + 3 * 0.1, -3 * 0.05, -3 * 0.05], atol=0.01)
    assert history[0] == pytest.approx(100.0 + np.log(2.0), rel=0.05)


def test_a_saturated_sigmoid_learns_too():
    x, y = np.ones((48, 2), "float32"), np.ones((48, 1), "float32")

    def make() -> keras.Model:
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1, activation="sigmoid")])
        model.compile(keras.optimizers.SGD(0.1), loss="binary_crossentropy")
        model.set_weights([np.zeros((2, 1)), np.array([-100.0])])
        return model

    ours, theirs = make(), make()
    fit(ours, x, y, **QUIET)
    theirs.fit(x, y, **QUIET)
    assert float(theirs.get_weights()[1][0]) == -100.0
    assert float(ours.get_weights()[1][0]) > -99.8


def _onehot(y: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype="float32")[y]


def _holed(y: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(y)) % 5 == 0, -1, y).astype("int32")


# Loss, targets and ending of models whose probabilities stay far from 0 and 1.
UNSATURATED = {
    "sparse": (lambda: "sparse_categorical_crossentropy", lambda y: y, "softmax"),
    "sparse, a column": (lambda: "sparse_categorical_crossentropy", lambda y: y[:, None], "softmax"),
    "ignored class": (lambda: losses.SparseCategoricalCrossentropy(ignore_class=-1), _holed, "softmax"),
    "categorical": (lambda: "categorical_crossentropy", _onehot, "softmax"),
    "smoothed": (lambda: losses.CategoricalCrossentropy(label_smoothing=0.2), _onehot, "softmax"),
    "sparse smoothed": (lambda: SmoothedSparseCategoricalCrossentropy(0.2), lambda y: y, "softmax"),
    "binary": (lambda: "binary_crossentropy", _onehot, "sigmoid"),
    "binary smoothed": (lambda: losses.BinaryCrossentropy(label_smoothing=0.1), _onehot, "sigmoid"),
    "summed": (lambda: losses.CategoricalCrossentropy(reduction="sum"), _onehot, "softmax"),
    "from logits already": (
        lambda: losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda y: y,
        None,
    ),
    "the wrong partner": (lambda: "binary_crossentropy", _onehot, "softmax"),
    "no cross-entropy": (lambda: "mse", _onehot, "softmax"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", UNSATURATED)
def test_values_are_keras_own_where_it_does_not_clip(name: str):
    loss, targets, ending = UNSATURATED[name]
    x, y = rows(48)
    make = lambda: classifier(keras.optimizers.SGD(0.05), output=ending, loss=loss(), metrics=())  # noqa: E731
    assert_parity(make, x, targets(y), sample_weight=np.linspace(0.5, 1.5, 48))


def test_an_output_changed_after_its_softmax_is_left_to_keras():
    x, y = rows(48)
    assert_parity(lambda: ending_in("convolution", "sequential", "sparse_categorical_crossentropy"), x, y)


def test_only_the_outputs_with_a_cross_entropy_are_changed():
    x, y = rows(48)

    def make() -> keras.Model:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((FEATURES,))
        outputs = {
            "one": layers.Dense(CLASSES, "softmax", name="one")(inputs),
            "two": layers.Dense(1, "sigmoid", name="two")(inputs),
            "three": layers.Dense(2, name="three")(inputs),
        }
        model = keras.Model(inputs, outputs)
        model.compile(
            keras.optimizers.SGD(0.1),
            loss={"one": "sparse_categorical_crossentropy", "two": "binary_crossentropy", "three": "mse"},
        )
        return model

    assert_parity(make, x, {"one": y, "two": (y > 0)[:, None].astype("float32"), "three": x[:, :2]})


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_saturated_model_learns_in_mixed_precision(policy: str):
    x, y = np.ones((48, FEATURES), "float32"), np.zeros(48, "int32")
    keras.config.set_dtype_policy(policy)
    try:
        model = ending_in("activation of the layer", "sequential", "sparse_categorical_crossentropy")
    finally:
        keras.config.set_dtype_policy("float32")
    saturate(model)
    fit(model, x, y, epochs=20, **QUIET)  # with a loss scale that has to come down first
    assert float(model.get_weights()[1][0]) > -100.0


def _attributes(model: keras.Model) -> list[dict[str, Any]]:
    found = [{name: id(value) for name, value in vars(layer).items()} for layer in model._flatten_layers()]
    return [*found, {"losses": [id(entry.loss) for entry in model._compile_loss._flat_losses]}]


@pytest.mark.parametrize("name", ["activation of the layer", "Softmax"])
def test_layers_and_losses_are_put_back(name: str):
    x, y = rows(48)
    model = ending_in(name, "nested", "sparse_categorical_crossentropy")
    build(model, (x, y, None))
    before = _attributes(model)
    with stable_losses(model):
        assert _attributes(model) != before
    assert _attributes(model) == before
    with pytest.raises(ZeroDivisionError), stable_losses(model):
        raise ZeroDivisionError
    assert _attributes(model) == before


def test_a_trained_model_can_be_copied_and_saved(tmp_path: Any):
    x, y = rows(48)
    model = ending_in("Softmax", "nested", "sparse_categorical_crossentropy")
    fit(model, x, y, **QUIET)
    model.save(tmp_path / "model.keras")
    assert difference(keras.models.load_model(tmp_path / "model.keras"), model) == 0.0
    assert keras.models.clone_model(model).layers[0].layers[-1].__class__ is layers.Softmax


def test_which_losses_are_clipped():
    class Own(losses.SparseCategoricalCrossentropy):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return super().call(y_true, y_pred) * 2.0

    assert is_clipped(losses.SparseCategoricalCrossentropy())
    assert is_clipped(losses.BinaryCrossentropy())
    assert is_clipped(SmoothedSparseCategoricalCrossentropy())
    assert not is_clipped(losses.SparseCategoricalCrossentropy(from_logits=True))
    assert not is_clipped(losses.CategoricalCrossentropy(axis=1))
    assert not is_clipped(losses.MeanSquaredError())
    assert not is_clipped(Own())
    assert not is_clipped(None)


def test_the_gradient_is_the_one_of_the_formula_in_the_saturated_corner():
    """d loss / d logits is softmax - onehot: (1, -1/2, -1/2) · -1 for class 0, in one step of rate 1."""
    x, y = np.zeros((1, FEATURES), "float32"), np.zeros(1, "int32")
    model = ending_in("Softmax", "sequential", "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 1.0
    build(model, (x, y, None))
    saturate(model)
    state, _ = jax.jit(train_step(model))(pull(model), (x, y, None))
    np.testing.assert_allclose(np.asarray(state.trainable[1]), [-99.0, -0.5, -0.5], rtol=1e-6)


def test_a_masked_output_is_left_to_keras():
    x = np.array([[[1.0], [2.0], [0.0]], [[3.0], [0.0], [0.0]]] * 24, "float32")
    y = np.zeros((48, 3), "int32")

    def make() -> keras.Model:
        keras.utils.set_random_seed(1)
        stack = [layers.Masking(0.0), layers.LSTM(4, return_sequences=True), layers.Dense(CLASSES, "softmax")]
        model = keras.Sequential([keras.Input((3, 1)), *stack])
        model.compile("adam", loss="sparse_categorical_crossentropy")
        return model

    assert_parity(make, x, y)
