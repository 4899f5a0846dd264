"""Models in half precision: near the original, by the rounding of their type, which stays as it was."""

import keras
import numpy as np
import pytest

from kilter._infer.folding import largest_difference
from kilter._infer.half_precision import to_half
from kilter.errors import ModelError, OptionError

from .models import Norm, bits, inputs, layers, sequential, stir

ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


def network():
    stack = [make() for _ in range(4) for make in (lambda: layers.Dense(32), Norm, layers.ELU)]
    return sequential((16,), layers.Rescaling(0.5), *stack, layers.Dense(5), layers.Softmax())


@pytest.mark.parametrize("dtype", ROUNDING)
def test_outputs_differ_by_some_roundings_of_the_type(dtype):
    model = network()
    x, before = inputs(model, 200), bits(model)
    half = to_half(model, dtype)
    difference = largest_difference(model, half, x)
    assert bits(model) == before
    # More than none: it does compute in half precision. Each of some ten layers rounds.
    assert ROUNDING[dtype] / 10 < difference < 30 * ROUNDING[dtype]


@pytest.mark.parametrize("dtype", ROUNDING)
def test_what_is_half_and_what_stays_whole(dtype):
    half = to_half(network(), dtype)
    assert half.layers[0].compute_dtype == "float32"  # the scaling of inputs
    assert (half.layers[1].compute_dtype, half.layers[1].variable_dtype) == (dtype, dtype)
    assert (half.layers[2].compute_dtype, half.layers[2].variable_dtype) == (dtype, "float32")
    assert [layer.compute_dtype for layer in half.layers[-2:]] == ["float32", "float32"]
    assert half.layers[-2].variable_dtype == "float32"
    assert half.predict(inputs(half), verbose=0).dtype == np.float32


def test_the_weights_are_those_of_the_original_rounded():
    model = network()
    half = to_half(model, "float16")
    for ours, theirs in zip(half.weights, model.weights, strict=True):
        expected = np.asarray(theirs).astype("float32" if ours.dtype == "float32" else "float16")
        np.testing.assert_array_equal(np.asarray(ours), expected)


@pytest.mark.long
def test_nested_models_wrappers_and_whole_numbers():
    inner = keras.Sequential([keras.Input((6, 4)), layers.Bidirectional(layers.GRU(3))], name="inner")
    x = keras.Input((6,), dtype="int32")
    model = stir(keras.Model(x, layers.Dense(2)(inner(layers.Embedding(9, 4)(x)))))
    half = to_half(model)
    assert half.get_layer("inner").layers[0].forward_layer.cell.variable_dtype == "bfloat16"
    rows = np.arange(24, dtype="int32").reshape(4, 6) % 9
    assert 0 < largest_difference(model, half, rows) < 0.05


def test_saved_and_loaded(tmp_path):
    half = to_half(network())
    half.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert bits(loaded) == bits(half)
    assert [layer.compute_dtype for layer in loaded.layers] == [layer.compute_dtype for layer in half.layers]


def test_what_is_refused():
    with pytest.raises(OptionError, match="bfloat16, float16"):
        to_half(network(), "float8")
    with pytest.raises(ModelError, match="not built"):
        to_half(keras.Sequential([layers.Dense(2)]))


def test_the_largest_difference():
    one, two = (keras.Sequential([keras.Input((1,)), layers.Rescaling(scale)]) for scale in (1.0, 0.75))
    zero = keras.Sequential([keras.Input((1,)), layers.Rescaling(0.0)])
    x = np.array([[2.0], [-4.0]])
    assert largest_difference(one, two, x) == 0.25
    assert largest_difference(zero, zero, x) == 0.0
    assert largest_difference(zero, one, x) == np.inf
    broken = keras.Sequential([keras.Input((1,)), layers.Rescaling(np.inf)])
    with pytest.raises(ModelError, match="2 of 2 outputs"):
        largest_difference(broken, one, x)
