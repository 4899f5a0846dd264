"""Ids outside an Embedding's table are refused before they are trained on, and only these."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine import embedding_ids
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter._engine.program_cache import shelf
from kilter.errors import DataError

layers, ops = keras.layers, keras.ops
SIZE, ROWS = 7, 12
IDS = np.random.default_rng(0).integers(0, SIZE, (ROWS, 4))
Y = np.ones((ROWS, 1), "float32")
HOW = {"batch_size": 5, "verbose": 0}


def _head(hidden: Any) -> Any:
    return layers.Dense(1)(layers.Flatten()(hidden))


def _compiled(inputs: Any, outputs: Any) -> keras.Model:
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


def _table(name: str = "words", **options: Any) -> keras.layers.Embedding:
    return layers.Embedding(SIZE, 2, name=name, **options)


def _direct() -> keras.Model:
    inputs = keras.Input((4,), dtype="int32", name="x")
    return _compiled(inputs, _head(_table()(inputs)))


def _reshaped() -> keras.Model:
    inputs = keras.Input((4,), dtype="int32", name="x")
    return _compiled(inputs, _head(_table()(layers.Flatten()(layers.Reshape((2, 2))(inputs)))))


def _nested() -> keras.Model:
    inputs = keras.Input((4,), name="x")  # floats, as Keras reads a table by default
    inner = keras.Sequential([_table(), layers.Flatten()], name="inner")
    return _compiled(inputs, layers.Dense(1)(inner(inputs)))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.dense = _table(), layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.dense(ops.mean(self.words(x[:, ::-1]), axis=1))


def _subclassed() -> keras.Model:
    model = Subclassed()
    model.compile("sgd", "mse")
    return model


class Doubled(Subclassed):
    def train_step(self, state: Any, data: Any) -> Any:
        logs, state = super().train_step(state, data)
        return logs, state


def _stepping() -> keras.Model:
    model = Doubled()
    model.compile("sgd", "mse")
    return model


MODELS: dict[str, Callable[[], keras.Model]] = {
    "the first layer": _direct,
    "behind Reshape and Flatten": _reshaped,
    "in a nested model, of floats": _nested,
    "in a model's own call, of a slice": _subclassed,
    "of a model with its own train_step": _stepping,
}


def _bad(value: float, row: int = 9) -> np.ndarray:
    ids = IDS.astype("float64" if value % 1 else "int64")
    ids[row, 2] = value
    return ids


@pytest.mark.parametrize("name", MODELS)
def test_an_id_outside_is_refused_with_its_place(name: str):
    model = MODELS[name]()
    fit(model, IDS, Y, **HOW)
    before = model.get_weights()
    for value in (SIZE, -1):
        with pytest.raises(DataError, match=rf"0 to 6 .*words.*rows \[9\] with ids \[{value}"):
            fit(model, _bad(value), Y, **HOW)
    assert all(map(np.array_equal, model.get_weights(), before))


def test_fractions_for_an_input_of_integers_are_refused():
    inputs = keras.Input((5,), dtype="int32", name="ids")
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Embedding(9, 2)(inputs)[:, 0]))
    model.compile("sgd", "mse")
    x = np.tile(np.float32([0, 1, 2, 3, 4]), (6, 1))
    fit(model, x, x[:, :1], verbose=0)
    x[4, 2] = 2.5
    with pytest.raises(DataError, match=r"input 'ids' .* int32.*first rows \[4\] with \[2.5\]"):
        fit(model, x, x[:, :1], verbose=0)


def test_fractions_are_refused_which_keras_would_cut_off():
    model = _nested()
    for fraction in (7.5, 2.5):
        with pytest.raises(DataError, match=rf"ids \[{fraction}\]"):
            fit(model, _bad(fraction), Y, **HOW)
    fit(model, IDS.astype("float32"), Y, **HOW)


def _batches(x: Any) -> list[Any]:
    return [(x[start : start + 4], Y[start : start + 4]) for start in range(0, ROWS, 4)]


def _file(x: Any, folder: Path) -> Any:
    mapped = np.memmap(folder / "ids", dtype=x.dtype, mode="w+", shape=x.shape)
    mapped[:] = x
    return mapped


FED: dict[str, Callable[[keras.Model, Any, Path], Any]] = {
    "arrays": lambda model, x, _: fit(model, x, Y, **HOW),
    "a dict": lambda model, x, _: fit(model, {"x": x}, Y, **HOW),
    "batches": lambda model, x, _: fit(model, _batches(x), verbose=0),
    "a file": lambda model, x, folder: fit(model, _file(x, folder), Y, shuffle=False, **HOW),
    "validation data": lambda model, x, _: fit(model, IDS, Y, validation_data=(x, Y), **HOW),
    "evaluate": lambda model, x, _: evaluate(model, x, Y, batch_size=5),
    "predict": lambda model, x, _: predict(model, x, batch_size=5),
    "batches to predict": lambda model, x, _: predict(model, _batches(x)),
    "find_lr": lambda model, x, _: kilter.find_lr(model, x, Y, batch_size=4, steps=20),
}


@pytest.mark.parametrize("name", FED)
def test_every_way_of_giving_ids_is_checked(name: str, tmp_path: Path):
    with pytest.raises(DataError, match=r"Embedding layer 'words'.*rows \[9\] with ids \[70\]"):
        FED[name](_direct(), _bad(70), tmp_path)


def _clipped() -> keras.Model:
    inputs = keras.Input((4,), dtype="int32", name="x")
    return _compiled(inputs, _head(_table()(ops.clip(inputs, 0, SIZE - 1))))


def _computed() -> keras.Model:
    """Ids that come from weights: the index of the nearest of some vectors."""
    inputs = keras.Input((4,), name="x")
    nearest = ops.argmax(layers.Dense(99)(inputs), axis=-1)
    return _compiled(inputs, _head(_table()(nearest)))


class Safe(layers.Embedding):
    def call(self, ids: Any) -> Any:
        return super().call(ops.clip(ids, 0, self.input_dim - 1))


def _safe() -> keras.Model:
    inputs = keras.Input((4,), dtype="int32", name="x")
    return _compiled(inputs, _head(Safe(SIZE, 2)(inputs)))


class Shifted(keras.Model):
    """Its step counts from 1, its table from 0."""

    def train_step(self, state: Any, data: Any) -> Any:
        x, y = data
        return super().train_step(state, (ops.clip(x, 0, SIZE - 1), y))


def _shifted() -> keras.Model:
    inputs = keras.Input((4,), dtype="int32", name="x")
    model = Shifted(inputs, _head(_table()(inputs)))
    model.compile("sgd", "mse")
    return model


ALLOWED = {
    "clipped by the model": _clipped,
    "computed": _computed,
    "an own call": _safe,
    "an own step": _shifted,
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_model_makes_of_its_inputs_counts(name: str):
    fit(ALLOWED[name](), _bad(70), Y, **HOW)


def test_an_id_that_is_masked_is_one():
    inputs = keras.Input((4,), dtype="int32", name="x")
    fit(_compiled(inputs, layers.Dense(1)(layers.LSTM(2)(_table(mask_zero=True)(inputs)))), IDS, Y, **HOW)


def _two_tables() -> keras.Model:
    inputs = keras.Input((4,), dtype="int32", name="x")
    tables = _table()(inputs), layers.Embedding(SIZE + 1, 2, name="others")(inputs)
    return _compiled(inputs, _head(layers.Add()(list(tables))))


@pytest.mark.parametrize("make", [_direct, _two_tables], ids=["one table", "two tables"])
@pytest.mark.parametrize("wrong", [{}, {(3, 1): SIZE}, {(0, 0): -1, (0, 2): 99, (11, 3): SIZE}])
def test_ids_that_enter_the_model_are_found_without_a_program(make, wrong, monkeypatch):
    ids = IDS.astype("int32").copy()
    for place, value in wrong.items():
        ids[place] = value

    def found(model: keras.Model) -> list[Any]:
        known = embedding_ids.IdCheck(model, "train").found((ids, Y, None), 5, ROWS)
        return [(one.path, one.size, one.rows.tolist(), one.ids.tolist()) for one in known]

    model = make()
    alone = found(model)
    assert not shelf(model).programs
    monkeypatch.setattr(embedding_ids, "_direct_ids", lambda *_: None)
    assert alone == found(model)
    assert shelf(model).programs
    assert len(alone) == (0 if not wrong else 2 if make is _two_tables and len(wrong) > 1 else 1)


@pytest.mark.parametrize("make", [_reshaped, _nested, Subclassed])
def test_ids_that_the_model_changes_first_are_traced(make):
    model = make()
    if not model.built:
        model(IDS)
    model.compile("sgd", "mse")
    assert embedding_ids._direct_ids(model, "train", IDS) is None
