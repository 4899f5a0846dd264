"""kilter.pretrain.auxiliary: every task is learnt, and what is learnt is measured against guessing."""

import keras
import numpy as np
import pytest

from kilter.data.augmentation import Augmentation, Shift
from kilter.pretrain import auxiliary

from .models import conv_encoder, dense_encoder, kinds_of_images, same, weights

QUICK = {"batch_size": 32, "learning_rate": 1e-2, "verbose": 0}
IMAGES, KINDS = kinds_of_images()

CASES = {
    "rotation": (dense_encoder, {"epochs": 25}, 1 / 4),
    "masked-patch": (dense_encoder, {"epochs": 25}, None),
    "jigsaw": (dense_encoder, {"epochs": 30}, 1 / 24),
    "contrastive": (conv_encoder, {"epochs": 15, "views": [Shift(0.1)], "batch_size": 16}, 1 / 31),
    "pairs": (dense_encoder, {"epochs": 25, "same": KINDS}, 1 / 2),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("task", CASES)
def test_every_task(task):
    make, options, chance = CASES[task]
    encoder = make()
    before = weights(encoder)
    held = (IMAGES[:48], KINDS[:48]) if task == "pairs" else IMAGES[:48]
    done = auxiliary(encoder, IMAGES, task=task, validation_data=held, **(QUICK | options))
    assert same(before, weights(encoder))
    assert not same(before, weights(done.encoder))
    assert done.encoder.output_shape == encoder.output_shape
    assert (done.task, done.learnt, done.notes) == (task, True, ())
    if chance is None:
        assert 0.05 < done.figures["explained"] < 1
    else:
        assert done.figures["chance"] == pytest.approx(chance)
        assert chance + 0.05 < done.figures["accuracy"] <= 1
        assert done.figures["accuracy"] == pytest.approx(done.history.history["val_accuracy"][-1], abs=0.3)
    assert set(done.history.history) == {
        *("loss", "val_loss"),
        *(("error", "val_error") if chance is None else ("accuracy", "val_accuracy")),
    }


@pytest.mark.long
def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    def run(seed):
        return auxiliary(dense_encoder(), IMAGES[:64], task="masked-patch", seed=seed, epochs=1, **QUICK)

    first, again, other = run(3), run(3), run(4)
    assert same(weights(first.encoder), weights(again.encoder))
    assert first.figures == again.figures
    assert not same(weights(first.encoder), weights(other.encoder))


@pytest.mark.long
def test_it_is_said_when_nothing_was_learnt():
    noise = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1)).astype("uint8")
    done = auxiliary(dense_encoder(), noise, task="rotation", epochs=1, **QUICK | {"learning_rate": 1e-9})
    assert not done.learnt
    assert done.notes[0].startswith("Nothing was learnt: ")
    assert "guessing gives 25.00%" in done.notes[0]


@pytest.mark.long
def test_validation_changes_no_bit_of_the_training():
    runs = [
        auxiliary(dense_encoder(), IMAGES, task="rotation", epochs=2, validation_data=held, **QUICK)
        for held in (None, IMAGES[:20])
    ]
    assert same(*(weights(done.encoder) for done in runs))


@pytest.mark.long
def test_views_of_flat_images():
    flat = IMAGES.reshape(len(IMAGES), -1)
    encoder = dense_encoder_of_flat()
    views = Augmentation((Shift(0.2),), image_shape=(8, 8, 1))
    done = auxiliary(encoder, flat, task="contrastive", views=views, epochs=1, **QUICK)
    assert done.figures["chance"] == pytest.approx(1 / 63)


def dense_encoder_of_flat():
    return keras.Sequential([keras.Input((64,)), keras.layers.Dense(8, "relu")])
