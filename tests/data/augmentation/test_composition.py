"""Which input is the image, types and ranges, what is refused; and the picture of a preview."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kilter
from kilter.data import Dataset
from kilter.data import augmentation as aug
from kilter.errors import DataError, KilterError, OptionError

from .cases import alone, applied, photographs

KEY = jax.random.key(2)


def test_flat_images_are_those_of_their_shape():
    x = photographs(5, 6, 4)
    square, _ = applied(alone(aug.Flip("both")), x)
    flat, _ = applied(alone(aug.Flip("both"), image_shape=(6, 4, 3)), x.reshape(5, -1))
    assert flat.shape == (5, 72)
    np.testing.assert_array_equal(flat.reshape(x.shape), square)
    grey, _ = applied(alone(aug.Flip("both"), image_shape=(6, 4, 1)), x[..., 0])
    np.testing.assert_array_equal(grey, square[..., 0])


def test_the_image_is_found_among_other_inputs_which_stay():
    x = {"age": jnp.ones((5, 1)), "photo": jnp.asarray(photographs(5))}
    augment = alone(aug.Cutout(3))
    augment.check(x)
    made, mixture = augment(KEY, x)
    assert mixture is None
    np.testing.assert_array_equal(made["age"], x["age"])
    np.testing.assert_array_equal(made["photo"], augment(KEY, x["photo"])[0])


@pytest.mark.parametrize(
    ("augment", "x", "says"),
    [
        (alone(aug.Flip()), jnp.zeros((4, 48)), "image_shape=(height, width, channels)"),
        (alone(aug.Flip()), jnp.zeros((4, 28, 28)), "(rows, 28, 28)"),
        (alone(aug.Flip(), image_shape=(4, 4, 4)), jnp.zeros((4, 48)), "(4, 4, 4)"),
        (alone(aug.Cutmix()), jnp.zeros((4, 48)), "one input of images"),
        (alone(aug.Flip()), [jnp.zeros((4, 5, 5, 3))] * 2, "2 of them"),
        (alone(aug.Hue(0.1), value_range=(0.0, 1.0)), jnp.zeros((4, 5, 5, 1)), "images of 1"),
        (alone(aug.Brightness(0.1)), jnp.zeros((4, 5, 5, 3)), "value_range"),
        (alone(aug.Brightness(0.1)), jnp.zeros((4, 5, 5, 3), "int32"), "value_range"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(augment, x, says):
    with pytest.raises(KilterError) as caught:
        augment.check(x)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"transforms": ()},
        {"transforms": (aug.Flip,)},
        {"transforms": ("flip",)},
        {"transforms": (aug.Flip(),), "fill": "white"},
        {"transforms": (aug.Flip(),), "image_shape": (32, 32)},
        {"transforms": (aug.Flip(),), "image_shape": [32, 32, 3]},
        {"transforms": (aug.Flip(),), "value_range": (1.0, 0.0)},
        {"transforms": (aug.Flip(),), "value_range": (0.0, float("inf"))},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(OptionError):
        aug.Augmentation(**options)


def test_whole_numbers_are_rounded_and_cut_once():
    x = photographs(20)
    floats, _ = applied(alone(aug.Rotate(40), value_range=(0.0, 255.0)), x.astype("float32"))
    whole, _ = applied(alone(aug.Rotate(40)), x)
    np.testing.assert_array_equal(whole, np.clip(np.round(np.asarray(floats)), 0, 255))


def test_preview_shows_the_images_and_their_draws():
    x = photographs(3, 8, 8)
    picture = aug.preview(Dataset(x, None, "classification", ("a",)), alone(aug.Flip()), rows=2, draws=4)
    assert picture.size == (5 * (64 + 4), 2 * (64 + 4))
    shown = np.asarray(picture)
    np.testing.assert_array_equal(shown[2:66:8, 2:66:8], x[0])
    right = shown[2:66:8, 70:134:8]
    assert (right == x[0]).all() or (right == x[0][:, ::-1]).all()
    floats = aug.preview(
        x.astype("float32").reshape(3, -1), alone(aug.Flip(), image_shape=(8, 8, 3)), rows=1, draws=1
    )
    assert floats.size == (136, 68)
    with pytest.raises(DataError, match="to show"):
        aug.preview(np.zeros((4, 5), "float32"), alone(aug.Mixup()))
    with pytest.raises(OptionError, match="rows as a whole number from 1 to 64"):
        aug.preview(x, alone(aug.Flip()), rows=0)


def test_reading_data_does_not_load_jax():
    code = "import sys, kilter.data; assert 'jax' not in sys.modules"
    assert kilter.data.augmentation.Flip is aug.Flip
    subprocess.run([sys.executable, "-c", code], check=True)
