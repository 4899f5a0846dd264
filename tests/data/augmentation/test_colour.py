"""Colours against Keras's operations, colorsys and closed forms; Cutout against its paper."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np

from kilter import _backend  # noqa: F401

# isort: split
import keras
import pytest

from kilter.data.augmentation import Brightness, Contrast, Cutout, Hue, Saturation
from kilter.data.augmentation.pixelwise import LUMA

from .cases import alone, applied, photographs

KEY = jax.random.key(11)


def changed(transform, images) -> np.ndarray:
    """The change before it is cut to the range."""
    return np.asarray(transform.change(KEY, jnp.asarray(images), 1.0))


def middling(count: int = 200) -> np.ndarray:
    """Images whose values lie in [0.4, 0.6]."""
    return (photographs(count) / 255 * 0.2 + 0.4).astype("float32")


def test_brightness_adds_one_number_an_image():
    x = middling()
    added = changed(Brightness(0.3), x) - x
    assert added.std(axis=(1, 2, 3)).max() < 1e-6
    means = added.mean(axis=(1, 2, 3))
    assert -0.3 <= means.min() < -0.25
    assert 0.25 < means.max() <= 0.3


def test_brightness_is_in_units_of_the_value_range():
    x = np.full((50, 4, 4, 1), 128, "uint8")
    made = applied(alone(Brightness(0.1)), x)[0].astype(int) - 128
    assert 20 < np.abs(made).max() <= 26  # 25.5, rounded


def test_contrast_is_keras_adjust_contrast():
    """Keras: mean + f · (x - mean), the mean over height and width of each channel."""
    x = middling()
    made = changed(Contrast(0.5), x)
    mean = x.mean(axis=(1, 2), keepdims=True)
    factors = ((made - mean) * (x - mean)).sum(axis=(1, 2, 3)) / ((x - mean) ** 2).sum(axis=(1, 2, 3))
    assert 0.5 <= factors.min() < 0.6
    assert 1.4 < factors.max() <= 1.5
    layer = keras.layers.RandomContrast(0.5, value_range=(-9.0, 9.0))
    given = {"apply_random": True, "contrast_factor": jnp.asarray(factors)[:, None, None, None]}
    theirs = layer.transform_images(jnp.asarray(x), given, training=True)
    np.testing.assert_allclose(made, theirs, atol=1e-5)


def test_saturation_keeps_the_brightness_and_grey_stays_grey():
    x = middling()
    made = changed(Saturation(0.9), x)
    np.testing.assert_allclose(made @ np.array(LUMA), x @ np.array(LUMA), atol=1e-6)
    assert np.abs(made - x).max() > 0.05
    grey = np.repeat(x[..., :1], 3, axis=-1)
    np.testing.assert_allclose(changed(Saturation(0.9), grey), grey, atol=1e-6)


def test_hue_keeps_the_brightness_and_turns_the_chroma():
    x = middling()
    made = changed(Hue(0.5), x)
    np.testing.assert_allclose(made @ np.array(LUMA), x @ np.array(LUMA), atol=1e-6)
    old, new = (np.array([colorsys.rgb_to_yiq(*image[0, 0]) for image in images]) for images in (x, made))
    np.testing.assert_allclose(
        np.hypot(*new[:, 1:].T), np.hypot(*old[:, 1:].T), atol=2e-3
    )  # its rounder constants
    angle = np.arctan2(new[:, 2], new[:, 1]) - np.arctan2(old[:, 2], old[:, 1])
    turned = np.angle(np.exp(1j * angle))
    assert turned.min() < -2.5
    assert turned.max() > 2.5


def test_the_change_of_colour_is_cut_to_the_range():
    x = photographs(100)
    made = applied(alone(Contrast(1.0)), x)[0]
    assert made.min() == 0
    assert made.max() == 255


def test_cutout_masks_one_square_that_may_stand_over_the_border():
    x = photographs(500, 10, 12) // 2  # the fill of 255 is none of its values
    made = applied(alone(Cutout(4, value=255.0)), x)[0]
    masked = (made == 255).all(axis=-1)
    np.testing.assert_array_equal(made[~masked], x[~masked])
    rows, columns = masked.any(axis=2).sum(axis=1), masked.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(masked.sum(axis=(1, 2)), rows * columns)  # a rectangle
    assert set(rows) == set(columns) == {2, 3, 4}
    # The centre is even over 10 rows; the box reaches from 2 before it to 1 after it.
    assert (rows == 4).mean() == pytest.approx(7 / 10, abs=0.08)
    assert masked.any(axis=0).all()


def test_cutout_fills_with_the_images_own_mean_colour():
    x = photographs(20).astype("float32")
    made = applied(alone(Cutout(30)), x)[0]
    whole = (made == made[:, :1, :1]).all(axis=(1, 2, 3))
    assert whole.all()
    np.testing.assert_allclose(made[:, 0, 0], x.mean(axis=(1, 2)), rtol=1e-5)
