"""Programs that once showed a fault of a treatment, each standing for its kind, with the right value.

A treatment takes seconds to a minute, so all but one are left to `make long`.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.metrics import balanced_accuracy_score

import kilter
from kilter._compare.looks import can_decide
from kilter._treatment.result import Treatment

Case = tuple[keras.Model, Any, Any, Callable[[Any], bool]]
long = pytest.mark.long
BINARY = "binary_crossentropy"


def paired(units: int, activation: str = "relu") -> layers.Layer:
    return layers.Dense(units, activation, kernel_initializer="he_normal")


def two_outputs() -> Case:
    """The loss of a price in hundreds of thousands drowns that of a class."""
    random = np.random.default_rng(15)
    x = random.normal(size=(1600, 10)).astype("float32")
    kind = np.argmax(x[:, :4] + 0.3 * random.normal(size=(1600, 4)), 1)
    price = (250_000 + 90_000 * x[:, 5] + 30_000 * random.normal(size=1600)).astype("float32")
    inputs = keras.Input((10,))
    hidden = paired(32)(paired(32)(inputs))
    model = keras.Model(inputs, [layers.Dense(4, "softmax")(hidden), layers.Dense(1)(hidden)])
    model.compile("adam", ["sparse_categorical_crossentropy", "mse"])

    def right(outputs: Any) -> bool:
        accuracy = np.mean(outputs[0].argmax(1) == kind[1200:])
        return accuracy > 0.7 and np.sqrt(np.mean((outputs[1][:, 0] - price[1200:]) ** 2)) < 60_000

    return model, x, [kind, price], right


def rare_class() -> Case:
    """Three rows in a hundred are positive: never answering so is right in 97 % of them."""
    random = np.random.default_rng(10)
    y = (random.random(3000) < 0.03).astype("int32")
    x = random.normal(size=(3000, 12)).astype("float32")
    x[y == 1, :4] += 0.9
    model = keras.Sequential([keras.Input((12,)), paired(16), layers.Dense(1, "sigmoid")])
    model.compile("adam", BINARY)

    def right(outputs: Any) -> bool:
        wanted = y[-len(outputs) :]
        return balanced_accuracy_score(wanted, outputs.ravel() > 0.5) > 0.7

    return model, x, y, right


def masks_of_bytes() -> Case:
    """Masks of 0 and 255 under a sigmoid."""
    random = np.random.default_rng(0)
    y = (random.normal(size=(400, 8, 8, 1)) > 0).astype("float32")
    x = (y + 0.3 * random.normal(size=y.shape)).astype("float32")
    body = layers.Conv2D(8, 3, padding="same", activation="relu", kernel_initializer="he_normal")
    model = keras.Sequential([keras.Input((8, 8, 1)), body, layers.Conv2D(1, 1, activation="sigmoid")])
    model.compile("adam", BINARY)
    return model, x, 255 * y, lambda outputs: np.mean((outputs > 0.5) == (y[300:] > 0)) > 0.9


def missing_as_a_number() -> Case:
    """-999999 for what is missing: the proof must be able to reach a verdict."""
    random = np.random.default_rng(12)
    x = random.normal(size=(2000, 8)).astype("float32")
    y = ((x[:, 0] + x[:, 1] * x[:, 2] + 0.7 * x[:, 3]) > 0).astype("int32")
    for column in (0, 3, 6):
        x[random.random(2000) < 0.1, column] = -999_999
    model = keras.Sequential([keras.Input((8,)), paired(32), paired(32), layers.Dense(1, "sigmoid")])
    model.compile("adam", BINARY)
    return model, x, y, lambda outputs: np.mean((outputs[:, 0] > 0.5) == y[1500:]) > 0.6


def noise() -> Case:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(400, 4)).astype("float32"), random.integers(0, 2, 400)
    model = keras.Sequential([keras.Input((4,)), paired(8), layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(5.0), BINARY)
    return model, x, y, lambda outputs: bool(np.isfinite(outputs).all())


def transformer() -> Case:
    """Two blocks of attention, trained at a rate 50 times too high."""
    random = np.random.default_rng(0)
    x = random.integers(1, 100, (600, 20))
    y = ((x < 30).sum(1) > (x > 70).sum(1)).astype("int32")
    inputs = keras.Input((20,))
    value = layers.Embedding(100, 32)(inputs)
    for _ in range(2):
        value = layers.LayerNormalization()(value + layers.MultiHeadAttention(4, 8)(value, value))
        value = layers.LayerNormalization()(value + layers.Dense(32)(paired(64)(value)))
    model = keras.Model(inputs, layers.Dense(1, "sigmoid")(layers.GlobalAveragePooling1D()(value)))
    model.compile(keras.optimizers.Adam(0.05), BINARY)
    return model, x, y, lambda outputs: np.mean((outputs[:, 0] > 0.5) == y[450:]) > 0.7


def treated(make: Callable[[], Case], epochs: int) -> tuple[Treatment, bool]:
    """The treatment of a case whose last quarter is held out, and whether its answers there are right."""
    keras.utils.set_random_seed(0)
    model, x, y, right = make()
    cut = 3 * len(x) // 4
    split = lambda part: keras.tree.map_structure(lambda one: one[part], y)  # noqa: E731
    held = (x[cut:], split(slice(cut, None)))
    treatment = kilter.treat(
        model, x[:cut], split(slice(cut)), validation_data=held, epochs=epochs, verbose=0
    )
    return treatment, right(kilter.predict(treatment.model, x[cut:], verbose=0))


@long
@pytest.mark.parametrize(
    ("make", "epochs"),
    [(two_outputs, 15), (rare_class, 15), (masks_of_bytes, 10), (missing_as_a_number, 15), (transformer, 3)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_program_of_this_kind_is_repaired(make, epochs):
    treatment, right = treated(make, epochs)
    assert right, treatment.summary(width=1000)
    assert treatment.trials.proven
    assert treatment.trials.effect is not None
    assert treatment.trials.effect.matters
    assert len(treatment.changes) <= 3
    proof = treatment.trials.proof
    assert proof is not None
    assert can_decide(len(proof.baseline.runs), 1, proof.level)
    assert not [one for one in treatment.checks if one.verdict == "worse"]


def test_on_noise_nothing_is_tried_and_it_says_so(tmp_path):
    treatment, finite = treated(noise, 2)
    assert finite
    assert treatment.changes == treatment.dropped == treatment.trials.tried == ()
    assert "permutation test" in treatment.noise
    assert "nothing to learn here" in " ".join(treatment.summary(width=1000))
    assert treatment.to_json()["noise"] == treatment.noise
    assert "Nothing to learn here" in treatment.report(tmp_path / "page.html").read_text(encoding="utf-8")
