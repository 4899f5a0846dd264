"""What a model's own step receives, and inputs that may be None: as in Keras."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter.errors import DataError

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X[:, :1]
W = np.ones(16, "float32")


def _parts(data: Any) -> Any:
    """The structure of what a step received; the names of its parts."""
    if isinstance(data, tuple):
        return tuple("None" if part is None else type(part).__name__ for part in data)
    return "dict" if isinstance(data, dict) else "array"


class Listening(keras.Model):
    """Writes down what its steps are given."""

    def call(self, x: Any) -> Any:
        return keras.tree.flatten(x)[0]

    def _hear(self, data: Any) -> None:
        heard.append(_parts(data))

    def train_step(self, state: Any, data: Any) -> Any:
        self._hear(data)
        return {"loss": ops.zeros(())}, state

    def test_step(self, state: Any, data: Any) -> Any:
        self._hear(data)
        return {"loss": ops.zeros(())}, state

    def predict_step(self, state: Any, data: Any) -> Any:
        self._hear(data)
        return ops.zeros((8, 1)), state[1]


heard: list[Any] = []


class Batches(keras.utils.PyDataset):
    """Two batches of the same item."""

    def __init__(self, item: Any) -> None:
        super().__init__()
        self.item = item

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return self.item


def _generator(item: Any) -> Callable[[], Iterator[Any]]:
    def generated() -> Iterator[Any]:
        while True:
            yield item

    return generated


GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "x": lambda: {"x": X},
    "x of two arrays": lambda: {"x": (X, X)},
    "x and y": lambda: {"x": X, "y": Y},
    "x, y and weights": lambda: {"x": X, "y": Y, "sample_weight": W},
    "a dict": lambda: {"x": {"a": X}},
    "a data set of arrays": lambda: {"x": Batches(X[:8])},
    "a data set of dicts": lambda: {"x": Batches({"a": X[:8]})},
    "a data set of pairs": lambda: {"x": Batches([X[:8], Y[:8]])},
    "a generator of one": lambda: {"x": _generator((X[:8],))()},
    "a generator of pairs": lambda: {"x": _generator((X[:8], Y[:8]))()},
    "a generator of three, the last None": lambda: {"x": _generator((X[:8], Y[:8], None))()},
}


def _heard(call: Callable[..., Any], **how: Any) -> Any:
    heard.clear()
    call(**how)
    return heard[-1]


@pytest.mark.parametrize("name", GIVEN)
def test_steps_get_as_many_parts_as_in_keras(name: str):
    ours, theirs = Listening(), Listening()
    for model in (ours, theirs):
        model.compile("sgd")
    endless = {} if "generator" not in name else {"steps_per_epoch": 2}
    steps = {"steps": 2} if endless else {}
    expected = _heard(theirs.fit, **GIVEN[name](), batch_size=8, verbose=0, shuffle=False, **endless)
    found = _heard(
        lambda **how: fit(ours, **how), **GIVEN[name](), batch_size=8, verbose=0, shuffle=False, **endless
    )
    assert _kinds(found) == _kinds(expected)
    expected = _heard(theirs.evaluate, **GIVEN[name](), batch_size=8, verbose=0, **steps)
    found = _heard(lambda **how: evaluate(ours, **how), **GIVEN[name](), batch_size=8, **steps)
    assert _kinds(found) == _kinds(expected)
    expected = _heard(theirs.predict, x=GIVEN[name]()["x"], batch_size=8, verbose=0, **steps)
    found = _heard(lambda **how: predict(ours, **how), x=GIVEN[name]()["x"], batch_size=8, **steps)
    assert _kinds(found) == _kinds(expected)


def _kinds(parts: Any) -> Any:
    """Without the names of the arrays' classes, which differ between eager and traced."""
    if not isinstance(parts, tuple):
        return parts
    return tuple(part if part in ("None", "tuple", "list", "dict") else "array" for part in parts)


class Added(layers.Layer):
    """The sum of its inputs, of which the second may be missing."""

    def call(self, a: Any, b: Any = None) -> Any:
        return a if b is None else a + b


def _optional() -> keras.Model:
    keras.utils.set_random_seed(1)
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b", optional=True)
    model = keras.Model([a, b], layers.Dense(1)(Added()(a, b)))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("x", [[X, None], {"a": X, "b": None}], ids=["list", "dict"])
def test_an_optional_input_may_be_none(x: Any):
    ours, theirs = _optional(), _optional()
    how = {"validation_data": (x, Y), "batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    expected = theirs.fit(x, Y, **how).history
    found = fit(ours, x, Y, measure=1, **how).history
    assert all(np.allclose(found[name], values, rtol=1e-4) for name, values in expected.items())
    expected = theirs.evaluate(x, Y, verbose=0, return_dict=True)
    assert evaluate(ours, x, Y) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(predict(ours, x), theirs.predict(x, verbose=0), rtol=1e-4)
    fit(ours, [((X, None), Y)], verbose=0)
    assert kilter.diagnose(ours, x, Y).ok


def test_an_input_that_is_not_optional_must_be_there():
    with pytest.raises(DataError, match="optional=True"):
        fit(_optional(), [None, X], Y, verbose=0)


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickled": lambda history: pickle.loads(pickle.dumps(history)),  # noqa: S301
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
}


@pytest.mark.parametrize("name", COPIES)
def test_a_history_can_be(name: str):
    model = _optional()
    model.unpicklable = lambda: None
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.name)
    history = kilter.fit(model, [X, X], Y, epochs=2, measure=1, verbose=0, callbacks=[callback])
    history.plot()
    twin = COPIES[name](history)
    assert (twin.history, twin.epoch, twin.params) == (history.history, history.epoch, history.params)
    assert twin.findings == history.findings
    assert len(twin.measurements) == 2
    assert len(twin.plot().data) == len(history.plot().data)
