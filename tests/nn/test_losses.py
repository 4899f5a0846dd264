"""Losses of class numbers are Keras's losses of one-hot rows, and other losses follow their formulas."""

from pathlib import Path

import keras
import numpy as np
import pytest

from kilter._engine.fit import fit
from kilter.errors import DataError, OptionError
from kilter.nn import (
    Contrastive,
    ScaledHuber,
    SmoothedSparseCategoricalCrossentropy,
    SparseCategoricalFocalCrossentropy,
    SparseDice,
)

CLASSES = 4


def drawn(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the given shape and logits for them."""
    generator = np.random.default_rng(len(shape))
    return generator.integers(0, CLASSES, shape), generator.normal(size=(*shape, CLASSES)).astype("float32")


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 5)], ids=["rows", "rows and places"])
def test_values_are_those_of_the_dense_loss(
    label_smoothing: float, from_logits: bool, shape: tuple[int, ...]
):
    labels, outputs = drawn(*shape)
    if not from_logits:
        outputs = np.asarray(keras.ops.softmax(outputs))
    options = {"label_smoothing": label_smoothing, "from_logits": from_logits, "reduction": None}
    expected = keras.losses.CategoricalCrossentropy(**options)(np.eye(CLASSES)[labels], outputs)
    loss = SmoothedSparseCategoricalCrossentropy(**options)
    for given in (labels, labels[..., None]):
        np.testing.assert_array_equal(loss(given, outputs), expected)


def test_values_are_those_of_the_formula():
    """(1 - e) times the cross-entropy of the label, and e times the mean over all classes."""
    labels, logits = drawn(6)
    minus_log = -np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    expected = 0.8 * minus_log[np.arange(6), labels] + 0.2 * minus_log.mean(-1)
    loss = SmoothedSparseCategoricalCrossentropy(0.2, from_logits=True, reduction=None)
    np.testing.assert_allclose(loss(labels, logits), expected, rtol=1e-5)
    weights = np.linspace(0, 1, 6)
    mean = SmoothedSparseCategoricalCrossentropy(0.2, from_logits=True)(labels, logits, weights)
    assert float(mean) == pytest.approx((weights * expected).mean(), rel=1e-5)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share: float):
    with pytest.raises(OptionError, match="at least 0 and below 1"):
        SmoothedSparseCategoricalCrossentropy(share)


def compiled() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(CLASSES)])
    model.compile("sgd", SmoothedSparseCategoricalCrossentropy(0.25, from_logits=True))
    return model


def test_it_is_saved_and_loaded_with_its_model(tmp_path: Path):
    compiled().save(tmp_path / "smoothed.keras")
    loss = keras.saving.load_model(tmp_path / "smoothed.keras").loss
    assert isinstance(loss, SmoothedSparseCategoricalCrossentropy)
    assert loss.get_config() == compiled().loss.get_config()


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(DataError, match="labels 0 to 3"):
        fit(compiled(), np.zeros((3, 2)), np.array([0, 4, 1]), verbose=0)


FOCAL = {"alpha": [0.1, 0.2, 0.3, 0.9], "gamma": 1.5}


@pytest.mark.parametrize("kept", [False, True], ids=["squeezed", "last axis of 1"])
def test_focal_and_dice_are_those_of_one_hot_masks(kept: bool):
    masks, outputs = drawn(3, 5, 4)
    one_hot, answers = np.eye(CLASSES)[masks], np.asarray(keras.ops.softmax(outputs))
    given = masks[..., None] if kept else masks
    focal = SparseCategoricalFocalCrossentropy(**FOCAL, reduction=None)(given, answers)
    wanted = keras.losses.CategoricalFocalCrossentropy(**FOCAL, reduction=None)(one_hot, answers)
    np.testing.assert_allclose(focal, wanted, rtol=1e-6)
    both = 2 * (one_hot * answers).sum((0, 1, 2)) / (one_hot + answers).sum((0, 1, 2))
    np.testing.assert_allclose(float(SparseDice()(given, answers)), np.mean(1 - both), rtol=1e-5)


@pytest.mark.parametrize("loss", [SparseCategoricalFocalCrossentropy(**FOCAL), SparseDice()])
def test_losses_of_masks_are_saved_with_their_model(loss: keras.losses.Loss, tmp_path: Path):
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(CLASSES, 1, activation="softmax")])
    model.compile("sgd", loss)
    masks, images = drawn(10, 6, 6)[0], np.zeros((10, 6, 6, 1), "float32")
    fit(model, images, masks, epochs=1, batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == loss.get_config()
    np.testing.assert_allclose(*(one.evaluate(images, masks, verbose=0) for one in (model, again)), rtol=1e-6)


@pytest.mark.parametrize("delta", [0.5, 3.0])
def test_several_numbers_have_the_huber_loss_of_each_in_its_scale(delta: float):
    generator, scales = np.random.default_rng(1), [1000.0, 1.0, 0.01]
    true, given = generator.normal(size=(2, 6, 3)).astype("float32") * np.float32(scales)
    each = [
        keras.losses.Huber(delta, reduction=None)(true[:, [i]] / one, given[:, [i]] / one)
        for i, one in enumerate(scales)
    ]
    loss = ScaledHuber(scales, delta, reduction=None)
    np.testing.assert_allclose(loss(true, given), np.mean(each, axis=0), rtol=1e-6)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_array_equal(again(true, given), loss(true, given))


@pytest.mark.parametrize("near", [0, 1])
@pytest.mark.parametrize("shape", [(4,), (4, 1)], ids=["labels in a row", "labels in a column"])
def test_pairs_are_pulled_together_or_pushed_apart(near: int, shape: tuple[int, ...]):
    labels, distances = np.array([1, 1, 1, 0]), np.array([[0.2], [0.3], [0.9], [0.1]])
    gaps = distances[:, 0]
    wanted = np.where(labels == near, gaps**2, np.maximum(0.5 - gaps, 0) ** 2)
    loss = Contrastive(0.5, near, reduction=None)
    np.testing.assert_allclose(loss(labels.reshape(shape), distances), wanted, atol=1e-6)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_allclose(again(labels, distances), wanted, atol=1e-6)


@pytest.mark.parametrize(("option", "value"), [("margin", 0), ("margin", -1), ("near", 2)])
def test_a_contrastive_loss_that_teaches_nothing_is_refused(option: str, value: int):
    with pytest.raises(OptionError, match=option):
        Contrastive(**{option: value})
