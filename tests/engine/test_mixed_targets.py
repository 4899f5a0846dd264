"""Mixed rows: losses see shares, metrics the label with the larger one."""

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from kilter._engine.fit import fit
from kilter._engine.program_cache import shelf
from kilter.data.augmentation import Augmentation, Mixup
from kilter.errors import KilterError, ModelError
from kilter.nn import SmoothedSparseCategoricalCrossentropy

from .cases import CLASSES, classifier, rows

AUGMENT = Augmentation((Mixup(1.0),))
KEY = jax.random.fold_in(jax.random.key(0), 0)  # of seed 0, step 0
COUNT = 40

losses = keras.losses


def one_hot(labels: Any) -> np.ndarray:
    return np.eye(CLASSES, dtype="float32")[labels]


def binary(labels: Any) -> np.ndarray:
    return (labels[:, None] == 1).astype("float32")


# Name: loss, activation of the output, targets of the labels, and the loss of Keras for the mixed ones.
CASES: dict[str, tuple[Any, str | None, Any, Any, Any]] = {
    "sparse": (
        losses.SparseCategoricalCrossentropy(),
        "softmax",
        np.asarray,
        one_hot,
        losses.CategoricalCrossentropy(),
    ),
    "sparse-logits": (
        losses.SparseCategoricalCrossentropy(from_logits=True),
        None,
        lambda labels: labels[:, None],
        one_hot,
        losses.CategoricalCrossentropy(from_logits=True),
    ),
    "smoothed": (
        SmoothedSparseCategoricalCrossentropy(0.2),
        "softmax",
        np.asarray,
        one_hot,
        losses.CategoricalCrossentropy(label_smoothing=0.2),
    ),
    "categorical": (
        losses.CategoricalCrossentropy(),
        "softmax",
        one_hot,
        one_hot,
        losses.CategoricalCrossentropy(),
    ),
    "focal": (
        losses.CategoricalFocalCrossentropy(),
        "softmax",
        one_hot,
        one_hot,
        losses.CategoricalFocalCrossentropy(),
    ),
    "binary": (losses.BinaryCrossentropy(), "sigmoid", binary, binary, losses.BinaryCrossentropy()),
    "regression": (losses.MeanSquaredError(), None, one_hot, one_hot, losses.MeanSquaredError()),
}


def model_for(name: str, **compiled: Any) -> keras.Model:
    loss, activation = CASES[name][:2]
    model = classifier(keras.optimizers.SGD(0.0), output=activation, loss=loss)
    if name == "binary":
        model = keras.Sequential([*model.layers[:-1], keras.layers.Dense(1, activation)])
    model.compile(keras.optimizers.SGD(0.0), loss=loss, **({"metrics": ["accuracy"]} | compiled))
    model.build((None, 12))
    return model


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_keras_on_mixed_targets(name, weighted):
    _, _, targets, shares, reference = CASES[name]
    x, labels = rows(COUNT)
    weight = np.linspace(0.5, 2.0, COUNT).astype("float32") if weighted else None
    model = model_for(name)
    how: dict[str, Any] = {"sample_weight": weight, "shuffle": False, "batch_size": COUNT, "verbose": 0}
    got = fit(model, x, targets(labels), augment=AUGMENT, **how).history

    mixed, mixture = AUGMENT(KEY, jnp.asarray(x))
    outputs = model(mixed)
    target = np.asarray(mixture.blend(jnp.asarray(shares(labels))))
    # Only targets of classes come to a sum of one.
    assert name in ("binary", "regression") or target.sum(axis=1) == pytest.approx(1.0)
    assert got["loss"][0] == pytest.approx(float(reference(target, outputs, weight)), rel=1e-5)
    if name != "regression":
        dominant = np.asarray(mixture.dominant(jnp.asarray(labels)))
        said = np.asarray(outputs)
        right = (said[:, 0] > 0.5) == (dominant == 1) if name == "binary" else said.argmax(axis=1) == dominant
        assert got["accuracy"][0] == pytest.approx(np.mean(right))


def test_gradients_are_those_of_keras_on_mixed_targets():
    """One step of plain descent, against the same step of Keras on rows and targets mixed beforehand."""
    x, labels = rows(COUNT)
    made = {}
    for name in ("sparse", "categorical"):
        model = classifier(keras.optimizers.SGD(0.5), output="softmax", loss=CASES[name][0])
        if name == "sparse":
            fit(model, x, labels, augment=AUGMENT, shuffle=False, batch_size=COUNT, verbose=0)
        else:
            mixed, mixture = AUGMENT(KEY, jnp.asarray(x))
            model.train_on_batch(np.asarray(mixed), np.asarray(mixture.blend(one_hot(labels))))
        made[name] = model.get_weights()
    for got, expected in zip(*made.values(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_saturated_softmax_has_a_gradient():
    """Keras clips a probability of 1e-7 and its gradient is zero; from the logits it is not."""
    x, labels = np.full((4, 2), 100.0, "float32"), np.zeros(4, "int32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax", use_bias=False)])
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    model.set_weights([np.array([[-1.0, 1.0], [-1.0, 1.0]], "float32")])
    fit(model, x, labels, augment=AUGMENT, verbose=0)
    assert model.get_weights()[0][0, 0] > -0.5


def test_losses_are_put_back_also_after_an_error():
    model = model_for("sparse")
    x, labels = rows(COUNT)
    entries = None
    for shape in (x, x[:, :5]):
        try:
            fit(model, shape, labels, augment=AUGMENT, verbose=0)
        except KilterError:
            assert shape is not x
        entries = model._compile_loss._flat_losses  # type: ignore[union-attr]
        assert entries[0].loss is CASES["sparse"][0]


class OwnStep(keras.Sequential):
    """Computes a loss of its own, without the compiled one."""

    def train_step(self, *arguments: Any) -> Any:
        state, (x, *_) = arguments
        weights = [weight - 0.0 for weight in state[0]]
        return {"loss": jnp.mean(x)}, (weights, *state[1:])


def test_a_train_step_without_the_compiled_loss_is_refused():
    model = OwnStep([keras.Input((12,)), keras.layers.Dense(CLASSES)])
    model.compile("sgd", CASES["sparse-logits"][0])
    with pytest.raises(ModelError, match="compute_loss"):
        fit(model, *rows(COUNT), augment=AUGMENT, verbose=0)


def two_outputs() -> keras.Model:
    given = keras.Input((12,))
    outputs = [keras.layers.Dense(1, name=name)(given) for name in ("one", "two")]
    model = keras.Model(given, outputs)
    model.compile("sgd", ["mse", "mse"])
    return model


def ignoring() -> keras.Model:
    return classifier(loss=losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2))


def own_loss() -> keras.Model:
    return classifier(loss=lambda y_true, y_pred: keras.ops.mean(y_pred, axis=-1), metrics=())


@pytest.mark.parametrize(
    ("make", "targets", "says"),
    [
        (two_outputs, lambda labels: [np.ones((COUNT, 1), "float32")] * 2, "2 targets"),
        (ignoring, np.asarray, "ignore_class=2"),
        (own_loss, np.asarray, "int32"),
    ],
)
def test_targets_that_cannot_be_mixed_are_refused(make, targets, says):
    x, labels = rows(COUNT)
    model = make()
    with pytest.raises(KilterError, match=says):
        fit(model, x, targets(labels), augment=AUGMENT, verbose=0)
    assert not shelf(model).programs


def test_an_own_loss_of_floats_gets_the_mixture():
    x, labels = rows(COUNT)
    targets = one_hot(labels)
    model = classifier(
        keras.optimizers.SGD(0.0), loss=lambda y, p: keras.ops.mean(keras.ops.abs(y - p), axis=-1), metrics=()
    )
    got = fit(model, x, targets, augment=AUGMENT, shuffle=False, batch_size=COUNT, verbose=0).history["loss"]
    mixed, mixture = AUGMENT(KEY, jnp.asarray(x))
    expected = np.abs(np.asarray(mixture.blend(targets)) - np.asarray(model(mixed))).mean()
    assert got[0] == pytest.approx(expected, rel=1e-5)
