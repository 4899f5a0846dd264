"""What a person reads after a usual mistake: the original text first, then the cause and the remedy."""

import pickle
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.arrays import collect
from kilter._engine.checks import TargetCheck
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter._models.variables import build
from kilter.errors import DataError, KilterError, ModelError

from .cases import rows

ops, layers = keras.ops, keras.layers
X, LABELS = rows(32)
X = X[:, :4]
Y = X[:, :1].copy()
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
SPARSE = "sparse_categorical_crossentropy"


def model(loss: Any = "mse", units: int = 1, activation: Any = None, **options: Any) -> keras.Model:
    inputs = keras.Input((4,))
    made = keras.Model(inputs, layers.Dense(units, activation=activation)(inputs))
    made.compile("sgd", loss, **options)
    return made


def softmax(loss: Any = SPARSE, **options: Any) -> keras.Model:
    return model(loss, 3, "softmax", **options)


def with_layer(call: Callable[..., Any]) -> keras.Model:
    class Own(layers.Layer):
        def call(self, x: Any) -> Any:
            return x if hasattr(x, "_keras_history") else call(x)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

    inputs = keras.Input((4,))
    made = keras.Model(inputs, layers.Dense(1)(Own()(inputs)))
    made.compile("sgd", "mse")
    return made


def with_step(step: Callable[..., Any], name: str = "train_step") -> keras.Model:
    inputs = keras.Input((4,))
    made = type("Own", (keras.Model,), {name: step})(inputs, layers.Dense(1)(inputs))
    made.compile("sgd", "mse")
    return made


def chain(*parts: keras.layers.Layer) -> keras.Model:
    made = keras.Sequential(list(parts))
    made.compile("sgd", "mse")
    return made


def two_outputs(loss: Any = ("mse", "mse"), metrics: Any = None, *, names: bool = False) -> keras.Model:
    inputs = keras.Input((4,))
    heads = {name: layers.Dense(1, name=name)(inputs) for name in ("low", "high")}
    made = keras.Model(inputs, heads if names else list(heads.values()))
    made.compile("sgd", list(loss) if isinstance(loss, tuple) else loss, metrics=metrics)
    return made


def two_inputs() -> keras.Model:
    inputs = [keras.Input((4,), name=name) for name in ("a", "b")]
    made = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()(inputs)))
    made.compile("sgd", "mse")
    return made


def frozen_since() -> keras.Model:
    made = model()
    fit(made, X, Y, verbose=0)
    made.layers[1].trainable = False
    return made


def optimizer_of_another() -> keras.Model:
    first, inputs = model(), keras.Input((4,))
    fit(first, X, Y, verbose=0)
    made = keras.Model(inputs, layers.Dense(1)(layers.Dense(7)(inputs)))
    made.compile(first.optimizer, "mse")
    return made


def unpacking_three(self: Any, state: Any, data: Any) -> Any:
    x, y, weights = data
    return {"loss": ops.mean(x) + y + weights}, state


class TensorFlowSteps:
    """Steps as they are written for TensorFlow."""

    def train_step(self, data: Any) -> Any:
        return {"loss": 0.0}

    def test_step(self, data: Any) -> Any:
        return {"loss": 0.0}


def branching(x: Any) -> Any:
    return x * 2 if ops.mean(x) > 0 else x


class Counted(keras.metrics.Metric):
    def __init__(self) -> None:
        super().__init__(name="counted")
        self.count = self.add_weight(initializer="zeros")

    def update_state(self, *_: Any, **__: Any) -> None:
        self.count.assign_add(1)

    def result(self) -> Any:
        return self.count


class OneArgument(keras.metrics.Metric):
    """A metric whose update takes no weights and no predictions."""

    def update_state(self, y_true: Any) -> None:  # type: ignore[override]
        pass

    def result(self) -> Any:
        return 0.0


def failing(kind: type[Exception], words: str) -> Callable[..., Any]:
    def fails(*_: Any) -> Any:
        raise kind(words)

    return fails


TRAINED = "logs, (trainable, non_trainable, optimizer, metrics)"


def returning(name: str, change: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda self, state, data: change(*getattr(keras.Model, name)(self, state, data))


def call_of(name: str) -> Callable[[keras.Model], Any]:
    return {
        "train_step": lambda made: fit(made, X, Y, verbose=0),
        "test_step": lambda made: evaluate(made, X, Y, verbose=0),
        "predict_step": lambda made: predict(made, X, verbose=0),
    }[name]


class CompilesAgain(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            self.model.compile("sgd", "mse")


def only_in_training() -> keras.Model:
    class Late(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.sometimes = layers.Dense(1), layers.Dense(1)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.always(x) + (self.sometimes(x) if training else 0)

    made: Any = Late()
    made.compile("sgd", "mse")
    made(X)
    return made


def named_output() -> keras.Model:
    """Its key is not the name of the layer, and the loss is for neither."""
    inputs = keras.Input((4,))
    made = keras.Model(inputs, {"price": layers.Dense(1)(inputs)})
    made.compile("sgd", {"cost": "mse"})
    return made


Mistake = tuple[Callable[[], Any], tuple[str, ...]]


def trained(make: Callable[[], keras.Model], x: Any = X, y: Any = Y, **options: Any) -> Callable[[], Any]:
    return lambda: fit(make(), x, y, verbose=0, **options)


# Name: the call, and what the message must have, in this order.
MISTAKES: dict[str, Mistake] = {
    "unknown loss": (trained(lambda: model("msee")), ("loss identifier: msee", "did you mean 'mse'?")),
    "half a name": (trained(lambda: softmax("sparse_crossentropy")), (f"did you mean {SPARSE!r}?",)),
    "unknown loss, diagnosed": (
        lambda: kilter.diagnose(model("msee"), X, Y, verbose=0),
        ("loss identifier: msee", "did you mean 'mse'?"),
    ),
    "numbers as objects": (trained(model, y=Y.astype(object)), ("numbers in y", 'astype("float32")')),
    "lists of lists": (trained(model, x=X.tolist()), ("single numbers", "np.asarray(x)")),
    "one row": (lambda: predict(model(), X[0], verbose=0), ("shape (rows, 4)", "x[None]")),
    "metrics as the third argument": (
        trained(lambda: model(loss_weights=["accuracy"])),
        ("numbers as loss_weights, the third argument", "['accuracy']", "metrics=[...]"),
    ),
    "unknown metric": (
        trained(lambda: model(metrics=["accurazy"])),
        (
            "metric identifier: accurazy",
            "a metric that Keras knows",
            "Received accurazy",
            "did you mean 'accuracy'?",
        ),
    ),
    "text as inputs": (trained(lambda: model(), np.full((len(Y), 4), "a")), ("numbers in x", "<U1")),
    "text as targets": (
        trained(lambda: model(), y=np.full(len(Y), "yes")),
        ("numbers in y", "<U3", "np.unique"),
    ),
    "frozen, not compiled again": (
        trained(frozen_since),
        ("optimizer_variables", "call model.compile again"),
    ),
    "optimizer of another model": (trained(optimizer_of_another), ("its own optimizer",)),
    "loss without reduction": (
        trained(lambda: model(keras.losses.MeanSquaredError(reduction=None))),
        ("scalar-output", "one number", "reduction"),
    ),
    "metric that returns a variable": (
        trained(lambda: model(metrics=[Counted()])),
        ("__jax_array__", "return tensors, not variables"),
    ),
    "loss that returns nothing": (
        trained(lambda: model(lambda y, p: None)),
        ("None is not a valid", "it returned None"),
    ),
    "class numbers, categorical": (
        trained(lambda: softmax("categorical_crossentropy"), y=LABELS),
        ("same shape", "loss 'categorical_crossentropy'", f"use {SPARSE} for class numbers"),
    ),
    "class numbers, binary": (
        trained(lambda: softmax("binary_crossentropy"), y=LABELS),
        ("same shape", f"use {SPARSE} for class numbers", "one output unit"),
    ),
    "class numbers from logits, categorical": (
        trained(lambda: model(keras.losses.CategoricalCrossentropy(from_logits=True), 3), y=LABELS),
        (f"use {SPARSE} for class numbers",),
    ),
    "one-hot, sparse": (
        trained(softmax, y=ONE_HOT),
        ("up until the last dimension", "use categorical_crossentropy for one-hot rows"),
    ),
    "y of another width": (
        trained(lambda: model(units=3), y=ONE_HOT[:, :2]),
        ("in loss 'mse'", "give y the shape of the output", "(None, 3)"),
    ),
    "precision of class numbers": (
        trained(lambda: softmax(metrics=[keras.metrics.Precision(name="p")]), y=LABELS),
        ("in metric 'p'", "leave metric 'p' out", "SparseCategoricalAccuracy"),
    ),
    "F1 score of class numbers": (
        trained(lambda: softmax(metrics=[keras.metrics.F1Score(name="f1")]), y=LABELS),
        ("FBetaScore expects", "leave metric 'f1' out"),
    ),
    "a metric's own signature": (
        trained(lambda: model(metrics=[OneArgument()])),
        ("update_state", "correct the signature", "sample_weight=None"),
    ),
    "a loss's own signature": (trained(lambda: model(lambda y: y)), ("correct the signature", "y_pred")),
    "no y": (trained(model, y=None), ("None is not a valid", "Expected targets y", "pass y")),
    "two outputs, one y": (
        trained(two_outputs),
        ("different structures", "an array for each of the 2 outputs (low, high)"),
    ),
    "weights for one output of two": (
        trained(
            lambda: two_outputs(names=True, loss="mse"),
            y={"low": Y, "high": Y},
            sample_weight={"low": Y[:, 0]},
        ),
        ("sample_weight like y: a dict with 'high', 'low'", "Received a dict with 'low'", "each output"),
    ),
    "weights in a list for outputs by name": (
        trained(
            lambda: two_outputs(names=True, loss="mse"),
            y={"low": Y, "high": Y},
            sample_weight=[Y[:, 0], Y[:, 0]],
        ),
        ("a dict with 'high', 'low'", "Received a list of 2"),
    ),
    "a loss for no output": (
        trained(lambda: two_outputs({"zzz": "mse"}, names=True), y={"low": Y, "high": Y}),
        ("zzz", "name the outputs of the model: 'high', 'low'"),
    ),
    "a metric for no output": (
        trained(lambda: two_outputs({"low": "mse"}, {"zzz": ["mae"]}, names=True), y={"low": Y, "high": Y}),
        ("zzz", "name the outputs of the model"),
    ),
    "TensorFlow's train_step": (
        trained(lambda: with_step(TensorFlowSteps.train_step)),
        ("train_step() takes 2", "write train_step(self, state, data)"),
    ),
    "TensorFlow's test_step": (
        lambda: evaluate(with_step(TensorFlowSteps.test_step, "test_step"), X, Y),
        ("write test_step(self, state, data)",),
    ),
    "three parts of two": (
        trained(lambda: with_step(unpacking_three)),
        ("expected 3, got 2", "line", "unpack_x_y_sample_weight"),
    ),
    "NumPy in a layer": (
        trained(lambda: with_layer(lambda x: ops.convert_to_tensor(np.asarray(x) * 2))),
        ("__array__", "test_mistakes.py, line", "use keras.ops instead of NumPy"),
    ),
    "NumPy's method in a loss": (
        trained(lambda: model(lambda y, p: ops.mean(p.numpy() - y))),
        ("numpy", "use keras.ops instead of NumPy"),
    ),
    "if in a layer": (
        trained(lambda: with_layer(branching)),
        ("boolean conversion", "in branching", "keras.ops.where or keras.ops.cond"),
    ),
    "float() in a loss": (
        trained(lambda: model(lambda y, p: float(ops.mean(p - y)))),
        ("leave tensors as they are",),
    ),
    "own layer's ValueError": (
        trained(lambda: with_layer(failing(ValueError, "message 42"))),
        ("message 42", "Raised in Own.call()", "correct test_mistakes.py, line"),
    ),
    "own loss's KeyError": (
        trained(lambda: model(failing(KeyError, "key 43"))),
        ("key 43", "in loss", "correct test_mistakes.py, line", "in fails"),
    ),
    "own step's TypeError": (
        trained(lambda: with_step(failing(TypeError, "type 44"))),
        ("type 44", "correct test_mistakes.py, line"),
    ),
    "an unregistered object": (
        trained(lambda: with_layer(failing(TypeError, "Could not locate class 'Own'."))),
        ("Could not locate class", "@keras.saving.register_keras_serializable()"),
    ),
    "an impossible Reshape": (
        trained(lambda: chain(layers.Lambda(lambda x: x), layers.Reshape((3, 2)), layers.Dense(1))),
        ("target_shape=(3, 2)", "as many values as a row"),
    ),
    "rows for an LSTM": (
        trained(lambda: chain(layers.LSTM(2, name="memory"), layers.Dense(1))),
        ("expected ndim=3", "layer 'memory' an array of (rows, steps, features)"),
    ),
    "images without channels": (
        trained(lambda: chain(layers.Conv2D(2, 3, name="conv"), layers.Flatten()), np.zeros((32, 8, 8))),
        ("expected min_ndim=4", "layer 'conv' an array of (rows, height, width, channels)", "x[..., None]"),
    ),
    "one array for two inputs": (
        trained(two_inputs),
        ("Expected x as 2 arrays", "Received 1 array of", "one array for each input"),
    ),
    "batches that are dicts": (
        trained(model, [{"x": X, "y": Y}] * 2, None),
        ("Received 4 arrays", "a tuple (x, y), not a dict"),
    ),
    "batches of x alone": (trained(model, [X, X], None), ("Received 2 arrays", "each batch a tuple (x, y)")),
    "a dict without an input": (
        trained(two_inputs, {"a": X}),
        ("Expected x with the inputs a, b", "a dict without b"),
    ),
    "validation of another width": (
        trained(model, validation_data=(X[:, :3], Y)),
        ("Received validation_data with x of shape (rows, 3)",),
    ),
    "stacked recurrent layers": (
        trained(lambda: chain(layers.LSTM(2), layers.LSTM(2)), x=X[:, :, None]),
        ("expected ndim=3, found ndim=2", "return_sequences=True"),
    ),
    "rows of several lengths": (
        trained(model, x=np.array([[1], [1, 2]] * 16, object)),
        ("numbers in x", "pad_sequences"),
    ),
    "own text of a layer": (
        trained(lambda: chain(layers.Lambda(failing(ValueError, "even widths only")))),
        ("even widths only", "Raised in Lambda.call()"),
    ),
    **{
        f"{name} that returns {what}": (
            lambda name=name, change=change: call_of(name)(with_step(returning(name, change), name)),
            (f"Expected {name} to return {form}", f"Received {what}", f"return {form}"),
        )
        for name, change, what, form in (
            ("train_step", lambda logs, state: logs, "a dict", TRAINED),
            ("train_step", lambda logs, state: (logs, state[:3]), "(a dict, (2 values", TRAINED),
            ("train_step", lambda logs, state: (state, logs), "((2 values", TRAINED),
            ("test_step", lambda logs, state: logs, "a dict", "logs, (trainable, non_trainable, metrics)"),
            ("predict_step", lambda outputs, state: outputs, "one ", "outputs, non_trainable"),
            ("predict_step", lambda outputs, state: (outputs, [state, state]), "(one ", "outputs, non_"),
        )
    },
    "compiled again by a callback": (
        trained(model, epochs=3, callbacks=[CompilesAgain()]),
        ("a model that a callback compiled again", "call fit twice"),
    ),
    "a layer built for training only": (
        trained(only_in_training),
        (
            "all its variables before training",
            "a step that creates dense",
            "call layers also where training is",
        ),
    ),
    "loss for an unknown output": (
        trained(named_output, y={"price": Y}),
        ("('cost',)", "name the outputs of the model: 'price'"),
    ),
    "weights with too many axes": (
        trained(softmax, y=LABELS, sample_weight=np.ones((32, 3))),
        ("Incompatible shapes", "give sample_weight one number a row"),
    ),
    "split of a generator": (
        trained(model, x=((X, Y) for _ in range(2)), y=None, validation_split=0.1),
        ("batches from a generator", "pass validation_data"),
    ),
    "validation without y": (
        trained(model, validation_data=X),
        ("Expected targets y", "Received validation_data with", "pass y"),
    ),
    "validation of wrong targets": (
        trained(softmax, y=LABELS, validation_data=(X, ONE_HOT)),
        ("Received validation_data with", "use categorical_crossentropy"),
    ),
    "prediction on another width": (
        lambda: predict(chain(keras.Input((4,)), layers.Dense(1)), X[:, :3]),
        ("Expected x of shape (rows, 4)", "Received x of shape (rows, 3)"),
    ),
}


def penalized(self: Any, state: Any, data: Any) -> Any:
    logs, new = keras.Model.train_step(self, state, data)
    return {**logs, "penalty": ops.sum(ops.square(self.layers[-1].kernel))}, new


def with_results(self: Any, state: Any, data: Any) -> Any:
    return {one.name: one.result() for one in self.metrics}, keras.Model.train_step(self, state, data)[1]


def with_rate(self: Any, state: Any, data: Any) -> Any:
    logs, new = keras.Model.train_step(self, state, data)
    return {**logs, "rate": ops.convert_to_tensor(self.optimizer.learning_rate)}, new


def evaluated(self: Any, state: Any, data: Any) -> Any:
    logs, new = keras.Model.test_step(self, state, data)
    return {**logs, "norm": ops.sum(self.layers[-1].kernel)}, new


def predicted(self: Any, state: Any, data: Any) -> Any:
    outputs, new = keras.Model.predict_step(self, state, data)
    return outputs @ ops.transpose(self.layers[-1].kernel), new


@pytest.mark.parametrize(
    ("call", "read"),
    [
        (lambda: fit(with_step(penalized), X, Y, verbose=0), "dense/kernel"),
        (lambda: fit(with_step(with_results), X, Y, verbose=0), "loss/total"),
        (lambda: fit(with_step(with_rate), X, Y, verbose=0), "sgd/learning_rate"),
        (lambda: evaluate(with_step(evaluated, "test_step"), X, Y), "dense/kernel"),
        (lambda: predict(with_step(predicted, "predict_step"), X), "dense/kernel"),
    ],
    ids=["weight", "metric", "rate", "evaluation", "prediction"],
)
def test_a_step_that_reads_a_variable_instead_of_the_state_is_refused(call: Callable[[], Any], read: str):
    keras.backend.clear_session()
    with pytest.raises(ModelError, match="takes the values of variables from the state") as caught:
        call()
    assert read in str(caught.value)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_cause(name: str):
    call, words = MISTAKES[name]
    with pytest.raises(KilterError) as caught:
        call()
    text, place = str(caught.value), 0
    for word in words:
        assert word in text[place:], f"{word!r} is not in {text!r} from {place} on"
        place = text.index(word, place)
    assert "compare the shapes" not in text
    if isinstance(caught.value.__cause__, Exception):
        assert text.startswith(caught.value.said)


def test_the_error_is_also_of_the_kind_that_keras_raises_and_pickles():
    with pytest.raises(KeyError) as caught:
        trained(lambda: model(failing(KeyError, "key 43")))()
    assert isinstance(caught.value, DataError)
    assert isinstance(caught.value.__cause__, KeyError)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert str(again) == str(caught.value)
    assert again.said == "key 43"


def test_a_warning_points_at_the_call():
    with pytest.warns(UserWarning, match="4 NaN") as caught:
        kilter.fit(model(), np.where(np.arange(32)[:, None] == 3, np.nan, X), Y, verbose=0)
    assert [one.filename for one in caught] == [__file__]


@pytest.mark.parametrize("names", [("value", "kind"), ("kind", "value")])
def test_classes_of_named_outputs_are_checked_in_any_order(names: tuple[str, ...]):
    inputs = keras.Input((4,))
    made = {
        "value": layers.Dense(1, name="value")(inputs),
        "kind": layers.Dense(3, "softmax", name="kind")(inputs),
    }
    two = keras.Model(inputs, {name: made[name] for name in names})
    losses = {"value": "mse", "kind": SPARSE}
    two.compile("sgd", {name: losses[name] for name in names})
    y = {"kind": LABELS, "value": Y}
    build(two, collect(X, y).example(8))
    TargetCheck(two)(collect(X, y).data)
    with pytest.raises(DataError, match="labels 0 to 2"):
        TargetCheck(two)(collect(X, {**y, "kind": LABELS + 3}).data)
