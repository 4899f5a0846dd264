"""A compiled program's key holds what its trace read: a change of that compiles anew, nothing else does."""

import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine.fingerprint import Fingerprints
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter._engine.program_cache import owners, shelf

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X[:, :1]
SCALE = 1.0
OPTIONS = {"parts": [1.0, 2.0]}
TABLE = np.ones(3)
SETTINGS = types.ModuleType("settings")


class Constants:
    """Read by its name."""

    table = np.ones(2)


HELD = types.SimpleNamespace(inner=types.SimpleNamespace(scale=1.0))


def start() -> None:
    """The globals as they are at first."""
    globals()["SCALE"] = SETTINGS.scale = HELD.inner.scale = 1.0
    OPTIONS["parts"][0] = TABLE[0] = Constants.table[0] = 1.0


start()


def helper(x: Any) -> Any:
    """What the model's own methods call; it reads globals."""
    x = x * SCALE * OPTIONS["parts"][0] * float(TABLE[0])
    return x * SETTINGS.scale * float(Constants.table[0]) * HELD.inner.scale


def _scaled(factor: float) -> Callable[[Any], Any]:
    return lambda x: x * factor


class Setting:
    """A person's object, with attributes and slots."""

    __slots__ = ("strength",)

    def __init__(self, strength: float) -> None:
        self.strength = strength


class Own(keras.Model):
    """A model whose call and loss read attributes of many kinds."""

    slope = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.1))
        self.drop = layers.Dropout(0.5)
        self.alpha = 1.0
        self._hidden = 2
        self.flag = False
        self.mode = "mean"
        self.weights_of_parts = {"a": [1.0, 2.0]}
        self.table = np.arange(3.0)
        self.function = _scaled(1.0)
        self.setting = Setting(0.1)
        self.space = types.SimpleNamespace(depth=types.SimpleNamespace(beta=1.0))

    def call(self, x: Any, training: bool = False) -> Any:
        return self.function(helper(self.dense(self.drop(x, training=training))) * self.alpha * self.slope)

    def compute_loss(self, *parts: Any, training: bool = True, **named: Any) -> Any:
        return super().compute_loss(*parts, **named) * self.setting.strength


def _model() -> Any:
    keras.utils.set_random_seed(0)
    model = Own()
    model(X[:1])
    loss = keras.losses.Huber(delta=1.0)
    model.compile(keras.optimizers.Adam(), loss, metrics=[keras.metrics.BinaryAccuracy(threshold=0.5)])
    model.optimizer.build(model.trainable_variables)
    return model


def _reset(model: Any, name: str, value: Any) -> None:
    setattr(model, name, value)


def _globally(name: str, value: Any) -> None:
    globals()[name] = value


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a number of the model": lambda m: _reset(m, "alpha", 2.0),
    "a private number": lambda m: _reset(m, "_hidden", 3),
    "a flag": lambda m: _reset(m, "flag", True),
    "1.0 for 1": lambda m: _reset(m, "_hidden", 2.0),
    "a text": lambda m: _reset(m, "mode", "sum"),
    "a number within containers": lambda m: m.weights_of_parts["a"].__setitem__(0, 5.0),
    "an array in place": lambda m: m.table.__setitem__(0, 9.0),
    "a function": lambda m: _reset(m, "function", _scaled(1.0)),
    "a function's closure": lambda m: m.function.__closure__[0].__setattr__("cell_contents", 3.0),
    "an attribute of an own object": lambda m: _reset(m.setting, "strength", 0.7),
    "an attribute far below": lambda m: _reset(m.space.depth, "beta", 0.7),
    "an attribute of the class": lambda m: _reset(Own, "slope", 2.0),
    "a method of the model": lambda m: _reset(m, "compute_metrics", lambda *parts, **named: {}),
    "a global that a helper reads": lambda m: _globally("SCALE", 2.0),
    "a global dict": lambda m: OPTIONS["parts"].__setitem__(0, 2.0),
    "a global array": lambda m: TABLE.__setitem__(0, 2.0),
    "a value in a module": lambda m: _reset(SETTINGS, "scale", 2.0),
    "an array of another class": lambda m: Constants.table.__setitem__(0, 2.0),
    "an attribute of a global object": lambda m: _reset(HELD.inner, "scale", 2.0),
    "a new attribute": lambda m: _reset(m, "extra", 1),
    "another name for an attribute": lambda m: (delattr(m, "flag"), _reset(m, "flagged", False)),
    "a layer's rate": lambda m: _reset(m.drop, "rate", 0.1),
    "a layer's activation": lambda m: _reset(m.dense, "activation", keras.activations.tanh),
    "a regularizer's strength": lambda m: _reset(m.dense.kernel_regularizer, "l2", 0.5),
    "a regularizer": lambda m: _reset(m.dense, "kernel_regularizer", None),
    "a variable's own regularizer": lambda m: _reset(
        m.dense.kernel, "regularizer", keras.regularizers.L1(1.0)
    ),
    "a layer's dtype": lambda m: _reset(m.dense, "dtype_policy", keras.DTypePolicy("mixed_bfloat16")),
    "an option of the loss": lambda m: m._compile_loss._user_loss._fn_kwargs.update({"delta": 2.0}),
    "an option of a metric": lambda m: m._compile_metrics._user_metrics[0]._fn_kwargs.update(
        {"threshold": 0.1}
    ),
    "an option of the optimizer": lambda m: _reset(m.optimizer, "beta_1", 0.5),
    "clipping": lambda m: _reset(m.optimizer, "clipnorm", 1.0),
    "compile with the same optimizer": lambda m: m.compile(m.optimizer),
    "loss weights": lambda m: m.compile(m.optimizer, "mse", loss_weights=[0.5]),
}


@pytest.fixture
def restored():
    """Put back what changes of the class and of globals leave."""
    yield
    Own.slope = 1.0
    start()


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name: str, restored: None):
    model, prints = _model(), Fingerprints()

    def number() -> int:
        return prints.number(prints.read(model, owners(model)))

    before = number()
    assert number() == before
    CHANGES[name](model)
    assert number() != before


UNCHANGED: dict[str, Callable[[Any], Any]] = {
    "training by Keras": lambda m: m.fit(X, Y, verbose=0),
    "other weights": lambda m: m.set_weights([weight + 1 for weight in m.get_weights()]),
    "another learning rate": lambda m: _reset(m.optimizer, "learning_rate", 0.5),
    "a stop": lambda m: _reset(m, "stop_training", True),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_programs_are_given_or_never_read_is_no_change(name: str):
    model, prints = _model(), Fingerprints()
    fit(model, X, Y, verbose=0)
    before = prints.number(prints.read(model, owners(model)))
    UNCHANGED[name](model)
    assert prints.number(prints.read(model, owners(model))) == before


class Counted(Own):
    """Counts in Python how often it is traced, and keeps the shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.traces = 0
        self.shapes: list[Any] = []

    def call(self, x: Any, training: bool = False) -> Any:
        self.traces += 1
        self.shapes.append(x.shape)
        return super().call(x, training)


@pytest.mark.parametrize("make", [_model, Counted], ids=["plain", "changed by its own trace"])
def test_nothing_is_compiled_twice(make: Callable[[], Any]):
    model = make()
    model.compile("sgd", "mse")

    def all_of_it() -> float:
        fit(model, X, Y, batch_size=10, validation_data=(X, Y), verbose=0)
        evaluate(model, X, Y)
        predict(model, X)
        return shelf(model).seconds

    assert all_of_it() > 0
    seconds = all_of_it()
    assert all_of_it() == seconds


def test_every_call_uses_the_values_of_now():
    ours, theirs = _model(), _model()
    for model in (ours, theirs):
        model.drop.rate = 0.0
    calls: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
        (
            lambda model: fit(model, X, Y, verbose=0, shuffle=False).history["loss"],
            lambda model: model.fit(X, Y, verbose=0, shuffle=False).history["loss"],
        ),
        (
            lambda model: evaluate(model, X, Y)["loss"],
            lambda model: model.evaluate(X, Y, verbose=0, return_dict=True)["loss"],
        ),
        (lambda model: predict(model, X), lambda model: model.predict(X, verbose=0)),
    ]
    for alpha in (1.0, 3.0):
        for model in (ours, theirs):
            model.alpha = alpha
        theirs.train_function = theirs.test_function = theirs.predict_function = None  # Keras traces anew
        for ours_does, keras_does in calls:
            np.testing.assert_allclose(ours_does(ours), keras_does(theirs), rtol=1e-4, atol=1e-6)


def test_few_programs_are_kept_of_values_that_go_on_changing():
    model = _model()
    for alpha in range(7):
        model.alpha = float(alpha)
        predict(model, X)
    assert len(shelf(model).programs) <= 5
