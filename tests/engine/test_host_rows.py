"""Large host arrays are read where they are, with the rows that a copy would give."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from kilter._engine import host_rows
from kilter._engine.fit import fit
from kilter._engine.host_rows import HostRows, in_place, take

from .cases import BATCH, same_bits

WANTED = np.array([[0, 1, 5], [6, 3, 0]], np.int32)


@pytest.fixture
def any_size(monkeypatch):
    monkeypatch.setattr(host_rows, "_LEAST_BYTES", 1)


def placed(values: np.ndarray, offset: int) -> np.ndarray:
    """``values`` in memory that begins so many bytes after a boundary of 64."""
    room = np.zeros(values.nbytes + 128, np.uint8)
    first = -room.ctypes.data % 64 + offset
    array = room[first : first + values.nbytes].view(values.dtype).reshape(values.shape)
    array[...] = values
    return array


@pytest.mark.parametrize("offset", [0, 16, 60])
@pytest.mark.parametrize(
    ("dtype", "row"), [("float32", (16,)), ("float32", (3, 7)), ("uint8", (8, 9, 1)), ("float16", (33,))]
)
def test_rows_read_in_place_are_those_of_a_copy(dtype, row, offset, any_size):
    values = np.random.default_rng(0).integers(0, 200, (7, *row)).astype(dtype)
    given = placed(values, offset)
    found = in_place(given)
    assert isinstance(found, HostRows)
    assert (found.shape, found.dtype) == (given.shape, given.dtype)
    assert 0 <= found.flat.unsafe_buffer_pointer() - given.ctypes.data < 64
    for rows in (WANTED, WANTED[0]):
        np.testing.assert_array_equal(jax.jit(take)({"a": found}, jnp.asarray(rows))["a"], values[rows])
    together = jax.vmap(take, in_axes=(None, 0))(found, jnp.asarray(WANTED))
    np.testing.assert_array_equal(together, values[WANTED])


@pytest.mark.parametrize(
    "array",
    [np.zeros((7, 15), "float32"), np.zeros((7, 16), "int64"), np.zeros((16, 20), "float32").T, jnp.ones(9)],
    ids=["short rows", "converted", "not in order", "on the device"],
)
def test_what_cannot_be_read_in_place_stays_as_it_is(array, any_size):
    assert in_place(array) is array


def test_small_arrays_are_left_to_be_copied():
    assert isinstance(in_place(np.zeros((100, 100), "float32")), np.ndarray)


def test_training_in_place_gives_the_same_bits_with_one_program_for_every_offset(any_size, monkeypatch):
    drawn = np.random.default_rng(0)
    x, y = drawn.standard_normal((50, 16)).astype("float32"), drawn.integers(0, 3, 50)
    found, compiled = [], []
    for least in (1 << 24, 1):
        monkeypatch.setattr(host_rows, "_LEAST_BYTES", least)
        monkeypatch.setattr("kilter._engine.feed._SMALL", 0)
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8, "elu"), keras.layers.Dense(3)])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        for offset in (16, 32):
            fit(model, placed(x, offset), y, batch_size=BATCH, epochs=2, verbose=0)
            compiled.append(len(model.__dict__["_kilter_programs"][1].programs))
        found.append(model)
    assert same_bits(*found)
    assert compiled[2] == compiled[3]
