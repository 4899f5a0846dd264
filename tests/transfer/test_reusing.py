"""Students: the lower layers to the bit, a fresh head, and a source that nobody touched."""

from typing import Any

import pytest

from . import models  # first: it chooses Keras's backend

# isort: split
import keras
import numpy as np

import kilter
from kilter._transfer.cutting import cuts
from kilter.errors import KilterError, ModelError, OptionError

layers = keras.layers
MAKERS = (
    models.stack,
    models.residual,
    models.nested,
    models.two_towers,
    models.repeated,
    models.two_outputs,
)


def rows_for(model):
    given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(lambda tensor: models.rows(tensor.shape[1:]), given)


@pytest.mark.parametrize("make", MAKERS)
def test_every_cut_keeps_the_weights_of_so_many_layers_and_none_of_the_others(make):
    model = make()
    theirs = {tuple(v.path.split("/")[-2:]): v for v in model.weights}
    for cut in cuts(model):
        student = kilter.reuse(model, keep=cut.keep, head=layers.Dense(2, name="new"))
        reused = [v for v in student.weights if v.path.split("/")[-2] != "new"]
        for variable in reused:
            twin = theirs[tuple(variable.path.split("/")[-2:])]
            assert variable is not twin
            np.testing.assert_array_equal(variable, twin)
        assert sum(v.name in ("kernel",) for v in reused) == cut.keep


def test_the_outputs_below_the_head_have_the_source_s_bits():
    model = models.stack()
    student = kilter.reuse(model, keep=-1, head=lambda x: layers.Dense(4, name="new")(x))
    for ours, theirs in zip(student.get_layer("new").weights, model.layers[-1].weights, strict=True):
        ours.assign(np.array(theirs))
    x = models.rows()
    np.testing.assert_array_equal(student(x), model(x))
    nested = models.nested()
    student = kilter.reuse(nested, keep="inner/one", head=layers.Dense(1, name="new"))
    inner = nested.layers[0]
    expected = keras.Model(inner.input, inner.get_layer("one").output)
    ours = keras.Model(student.input, student.get_layer("new").input)
    x = models.rows((6,))
    np.testing.assert_array_equal(ours(x), expected(x))


@pytest.mark.parametrize("make", MAKERS)
def test_the_source_keeps_every_bit_while_the_student_is_trained(make):
    model = make()
    model.layers[1].trainable = False
    if make is not models.two_outputs:
        model.compile("adam", "mse")
        model.fit(rows_for(model), np.ones((6, *model.output_shape[1:])), verbose=0)
    before = models.state(model)
    student = kilter.reuse(model, keep=1, head=2)
    assert models.state(model) == before
    stages = [kilter.Stage(1, "head"), kilter.Stage(1, learning_rate=0.1)]
    kilter.fine_tune(student, rows_for(model), np.arange(6) % 2, stages=stages, verbose=0)
    assert models.state(model) == before


def test_a_student_comes_frozen_uncompiled_and_with_its_batch_statistics_at_rest():
    student = kilter.reuse(models.stack(), keep=2, head=3)
    assert not student.compiled
    assert [v.path for v in student.trainable_variables] == ["head/kernel", "head/bias"]
    x = models.rows() * 7
    before = [np.array(v) for v in student.get_layer("norm").weights]
    dropped = student.get_layer("dropout")
    dropped.rate = 0.0
    np.testing.assert_array_equal(student(x, training=True), student(x, training=False))
    for variable, value in zip(student.get_layer("norm").weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_heads_of_every_kind():
    model = models.stack()
    assert kilter.reuse(model, keep=2, head=3).output_shape == (None, 3)
    assert isinstance(kilter.reuse(model, keep="relu", head=3).layers[-2], layers.GlobalAveragePooling2D)
    assert kilter.reuse(model, keep=2, head=layers.Dense(7)).output_shape == (None, 7)
    two = [layers.Dense(6, "relu"), layers.Dense(2)]
    assert kilter.reuse(model, keep=2, head=two).output_shape == (None, 2)
    named = kilter.reuse(model, keep=2, head=layers.Dense(7, name="dense"))
    assert [v.path for v in named.trainable_variables] == ["head_dense/kernel", "head_dense/bias"]
    inner = keras.Sequential([layers.Dense(6), layers.Dense(5)])
    assert kilter.reuse(model, keep=2, head=inner).output_shape == (None, 5)
    again = kilter.reuse(kilter.reuse(model, keep=2, head=3), keep=-1, head=4)
    assert again.output_shape == (None, 4)


def test_the_head_is_drawn_from_the_seed_alone():
    def drawn(seed):
        student = kilter.reuse(models.stack(), keep=2, head=[layers.Dense(6), layers.Dense(2)], seed=seed)
        return [np.asarray(v).tobytes() for v in student.trainable_variables if v.name == "kernel"]

    assert drawn(3) == drawn(3)
    assert not set(drawn(3)) & set(drawn(4))
    ready = layers.Dense(2)
    ready.build((None, 5))
    kernel = np.array(ready.kernel)
    kilter.reuse(models.stack(), keep=2, head=ready)
    np.testing.assert_array_equal(ready.kernel, kernel)


def test_a_student_is_saved_and_loaded(tmp_path):
    student = kilter.reuse(models.stack(), keep=1, head=2, input_shape=(12, 10, 1))
    student.save(tmp_path / "student.keras")
    loaded: Any = keras.saving.load_model(tmp_path / "student.keras")
    x = models.rows((12, 10, 1))
    np.testing.assert_array_equal(loaded(x), student(x))
    assert [v.path for v in loaded.trainable_variables] == ["head/kernel", "head/bias"]


def own_layer():
    model = models.stack()
    return model, {"head": model.layers[-1]}


def own_layer_in_a_function():
    model = models.stack()
    return model, {"head": lambda x: model.layers[-1](x)}


BAD = {
    "a subclass": (lambda: (models.Own(), {}), ModelError, "overrides call"),
    "not built": (lambda: (keras.Sequential([layers.Dense(1)]), {}), ModelError, "not built"),
    "keep too much": (lambda: (models.stack(), {"keep": 9}), OptionError, "keep from 1 to 3"),
    "no outputs": (lambda: (models.stack(), {"head": 0}), OptionError, "a number of outputs from 1"),
    "a class": (lambda: (models.stack(), {"head": layers.Dense}), OptionError, "a Keras layer"),
    "a word": (lambda: (models.stack(), {"head": "dense"}), OptionError, "a Keras layer"),
    "words in a list": (lambda: (models.stack(), {"head": ["dense"]}), OptionError, "a Keras layer"),
    "no weights": (lambda: (models.stack(), {"head": layers.ReLU()}), ModelError, "nothing could be trained"),
    "nothing at all": (lambda: (models.stack(), {"head": []}), ModelError, "nothing could be trained"),
    "does not fit": (
        lambda: (models.stack(), {"head": layers.Conv2D(2, 3)}),
        ModelError,
        "rows of shape (5,)",
    ),
    "names twice": (
        lambda: (models.stack(), {"head": lambda x: layers.Dense(2, name="dense")(x)}),
        ModelError,
        "unique",
    ),
    "gives no tensor": (lambda: (models.stack(), {"head": lambda x: 3}), ModelError, "which gives int"),
    "forgets its input": (
        lambda: (models.stack(), {"head": lambda x: layers.Dense(1)(keras.Input((2,)))}),
        ModelError,
        "reused layers as its only input",
    ),
    "the source's layer": (own_layer, ModelError, "part of model 'stack'"),
    "the source's layer in a function": (own_layer_in_a_function, ModelError, "part of model 'stack'"),
    "a seed of no number": (lambda: (models.stack(), {"seed": "x"}), OptionError, "seed"),
    "no shape": (lambda: (models.stack(), {"input_shape": 8}), OptionError, "the shape of a row"),
    "a shape of nothing": (
        lambda: (models.stack(), {"input_shape": (0, 8, 3)}),
        OptionError,
        "shape of a row",
    ),
    "a table for images": (lambda: (models.stack(), {"input_shape": (50,)}), ModelError, "(8, 8, 3)"),
    "another table": (lambda: (models.residual(), {"keep": 3, "input_shape": (7,)}), ModelError, "(6,)"),
    "other channels": (lambda: (models.stack(), {"input_shape": (8, 8, 5)}), ModelError, "(8, 8, 3)"),
    "several inputs": (lambda: (models.two_towers(), {"input_shape": (6,)}), ModelError, "2 inputs"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_changes_nothing(case):
    make, kind, says = BAD[case]
    model, options = make()
    before = models.state(model) if model.built and "function" not in case else None
    with pytest.raises(kind) as caught:
        kilter.reuse(model, **{"keep": 2, "head": 2} | options)
    error = caught.value
    assert isinstance(error, KilterError)
    assert says in str(error)
    assert error.expected
    assert error.received
    assert error.remedy
    if before is not None:
        assert models.state(model) == before


def test_layers_inside_layers_keep_their_weights_and_functions_their_globals():
    inputs = keras.Input((3, 4))
    value = layers.MultiHeadAttention(2, 2)(inputs, inputs)
    value = layers.Lambda(lambda tensor: keras.ops.abs(tensor))(value)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(value)))
    student = kilter.reuse(model, keep=-1, head=2)
    kept = [one for one in student.weights if "attention" in one.path]
    assert len(kept) == 8
    for ours, theirs in zip(kept, model.weights, strict=False):
        np.testing.assert_array_equal(ours, theirs)
