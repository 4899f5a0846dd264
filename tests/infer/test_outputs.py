"""What a model's outputs are taken for, and their entropies in closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from scipy import stats

from kilter._infer.outputs import Meaning, meanings
from kilter.errors import ModelError

layers, losses = keras.layers, keras.losses
CLASSES, CLASS_LOGITS = Meaning("classes"), Meaning("classes", from_logits=True)
LABELS, LABEL_LOGITS = Meaning("labels"), Meaning("labels", from_logits=True)
NUMBERS = Meaning("numbers")


def model(activation: str | None, loss: Any, width: int = 3, *further: Any) -> keras.Model:
    made = keras.Sequential([keras.Input((4,)), layers.Dense(width, activation=activation), *further])
    if loss is not None:
        made.compile(loss=loss)
    return made


def meaning(made: keras.Model, asked: Any = "auto", width: int = 3) -> Meaning:
    (found,) = meanings(made, jax.ShapeDtypeStruct((7, width), "float32"), asked)
    return found


@pytest.mark.parametrize(
    ("activation", "loss", "expected"),
    [
        ("softmax", "sparse_categorical_crossentropy", CLASSES),
        ("softmax", losses.CategoricalCrossentropy(), CLASSES),
        ("softmax", losses.CategoricalFocalCrossentropy(), CLASSES),
        ("softmax", "mse", CLASSES),
        ("softmax", None, CLASSES),
        (None, losses.SparseCategoricalCrossentropy(from_logits=True), CLASS_LOGITS),
        ("sigmoid", "binary_crossentropy", LABELS),
        ("sigmoid", losses.binary_crossentropy, LABELS),
        ("sigmoid", None, LABELS),
        (None, losses.BinaryCrossentropy(from_logits=True), LABEL_LOGITS),
        (None, losses.BinaryFocalCrossentropy(from_logits=True), LABEL_LOGITS),
        ("sigmoid", "mse", NUMBERS),
        (None, losses.Huber(), NUMBERS),
        ("relu", ["mae"], NUMBERS),
    ],
)
def test_outputs_are_what_loss_and_activation_say(activation: str | None, loss: Any, expected: Meaning):
    assert meaning(model(activation, loss)) == expected


def test_a_softmax_is_found_as_a_layer_and_within_a_model():
    assert meaning(model(None, None, 3, layers.Softmax())) == CLASSES
    inner = model("softmax", None)
    assert meaning(keras.Sequential([keras.Input((4,)), inner])) == CLASSES


def test_what_is_said_of_the_outputs_counts():
    linear = model(None, None)
    assert meaning(linear, "logits") == CLASS_LOGITS
    assert meaning(linear, "logits", width=1) == LABEL_LOGITS
    assert meaning(linear, "probabilities") == CLASSES
    assert meaning(model("softmax", None), "numbers") == NUMBERS


@pytest.mark.parametrize("loss", [None, lambda y, p: keras.ops.mean(p), "hinge"])
def test_what_cannot_be_known_is_asked_for(loss: Any):
    with pytest.raises(ModelError, match='outputs="logits"'):
        meaning(model(None, loss))


def test_entropies_in_closed_form():
    shares = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], "float32")
    np.testing.assert_allclose(CLASSES.entropy(jnp.asarray(shares)), stats.entropy(shares, axis=1), rtol=1e-6)
    each = stats.bernoulli.entropy(shares).sum(axis=1)
    np.testing.assert_allclose(LABELS.entropy(jnp.asarray(shares)), each, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(LABELS.entropy(jnp.asarray([0.5, 1.0])), [np.log(2), 0], atol=1e-6)
    pixels = jnp.full((2, 4, 4, 5), 0.2)
    np.testing.assert_allclose(CLASSES.entropy(pixels), np.full((2, 4, 4), np.log(5)), rtol=1e-6)
    assert NUMBERS.entropy(jnp.asarray(shares)) is None


def test_logits_become_probabilities_without_overflow():
    logits = jnp.asarray([[1000.0, 0.0, -1000.0]], jnp.float16)
    assert CLASS_LOGITS.value(logits).tolist() == [[1.0, 0.0, 0.0]]
    assert LABEL_LOGITS.value(logits).tolist() == [[1.0, 0.5, 0.0]]
    assert CLASSES.value(logits).dtype == jnp.float32
