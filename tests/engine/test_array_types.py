"""Arrays of every byte order, layout and width: used with the right values, or refused by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.arrays import collect
from kilter.data import load
from kilter.errors import DataError

VALUES = np.array([[0, 1], [2, 3], [5, 1], [3, 0]], "float32")


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


USED = {
    "big-endian floats": lambda a: a.astype(">f4"),
    "big-endian doubles": lambda a: a.astype(">f8"),
    "big-endian halves": lambda a: a.astype(">f2"),
    "big-endian integers": lambda a: a.astype(">i4"),
    "big-endian long integers": lambda a: a.astype(">i8"),
    "big-endian short integers": lambda a: a.astype(">u2"),
    "halves": lambda a: a.astype("float16"),
    "long doubles": lambda a: a.astype("longdouble"),
    "swapped long doubles": lambda a: a.astype(np.dtype("longdouble").newbyteorder()),
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "rows backwards": lambda a: a[::-1].copy()[::-1],
    "columns first in memory": np.asfortranarray,
    "read-only": read_only,
}
REFUSED = {
    "structured": lambda a: np.zeros(len(a), [("a", "f4"), ("b", "f4")]),
    "text": lambda a: a.astype(">U5"),
    "objects": lambda a: a.astype(object),
    "complex": lambda a: a.astype("complex64"),
    "times": lambda a: a.astype("int64").astype("datetime64[s]"),
}


@pytest.mark.parametrize("name", USED)
def test_every_array_of_numbers_arrives_with_its_values(name, tmp_path):
    given = USED[name](VALUES)
    labels = USED[name](VALUES[:, 0])
    found = collect(given, labels, labels + 1)
    for part, expected in zip(found.data, (VALUES, VALUES[:, 0], VALUES[:, 0] + 1), strict=True):
        np.testing.assert_array_equal(np.asarray(part, "float32"), expected)
    if given.dtype.itemsize <= 8:  # NumPy's own format has no long doubles of other machines
        np.savez(tmp_path / "rows.npz", x=given, y=USED[name](VALUES[:, 0] // 3))
        data = load(tmp_path / "rows.npz").train
        np.testing.assert_array_equal(data.x, VALUES)
        assert data.y.tolist() == (VALUES[:, 0] // 3).tolist()


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("where", ["x", "y", "sample_weight"])
def test_what_is_no_number_is_refused(name, where):
    given = {"x": VALUES, "y": VALUES[:, 0], "sample_weight": VALUES[:, 0]}
    given[where] = REFUSED[name](given[where])
    with pytest.raises(DataError, match="dtype"):
        collect(**given)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def test_big_endian_arrays_give_the_same_numbers_everywhere(model):
    weights = model.get_weights()
    native = (VALUES.astype("int64"), np.array([0, 1, 2, 3], "int32"), np.array([1.0, 2, 1, 1]))
    swapped = tuple(array.astype(array.dtype.newbyteorder(">")) for array in native)
    seen, curves = [], []
    for x, y, weight in (native, swapped):
        model.set_weights(weights)
        loss = kilter.evaluate(model, x, y)
        history = kilter.fit(model, x, y, sample_weight=weight, epochs=2, verbose=0, seed=0).history
        model.set_weights(weights)
        scaled = kilter.nn.lsuv(model, x, tolerance=0.5).layers
        curves.append(history["loss"])
        seen.append((loss, scaled, kilter.diagnose(model, x, y, steps=0).codes()))
    model.set_weights(weights)
    assert seen[0] == seen[1]
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)  # a later fit is another program: one rounding


def test_numbers_that_float32_makes_equal_are_warned_of(model, recwarn):
    times = 1_700_000_000.0 + np.arange(60)
    rows = np.stack([times, np.sin(times)], axis=1)
    with pytest.warns(UserWarning, match=r'"0" \(60 different values become'):
        kilter.predict(model, rows)
    recwarn.clear()
    kilter.predict(model, rows - [1_700_000_000, 0])
    assert not [one for one in recwarn if issubclass(one.category, UserWarning)]
