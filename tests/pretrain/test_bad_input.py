"""What is wrong is said in three parts before anything is trained, and nothing is changed."""

import keras
import numpy as np
import pytest

from kilter.data.augmentation import Mixup
from kilter.errors import DataError, KilterError, ModelError, OptionError
from kilter.pretrain import autoencoder, auxiliary, running

from .models import conv_encoder, dense_encoder, kinds_of_images, table, table_encoder, weights

IMAGES, KINDS = kinds_of_images(40)
L = keras.layers


def broken(value):
    rows = IMAGES.astype("float32")
    rows[3, 0, 0, 0] = value
    return rows


def branched():
    start = keras.Input((8, 8, 1))
    flat = L.Flatten()(start)
    return keras.Model(start, L.Add()([L.Dense(4)(flat), L.Dense(4)(flat)]))


def frozen():
    encoder = dense_encoder()
    encoder.trainable = False
    return encoder


def weightless():
    return keras.Sequential([keras.Input((8, 8, 1)), L.Flatten()])


def decoder(units, rows=(8, 8, 1)):
    return keras.Sequential([keras.Input((units,)), L.Dense(int(np.prod(rows))), L.Reshape(rows)])


class Subclassed(keras.Model):
    def call(self, x):
        return x


ANY = {
    "no model": ("conv", IMAGES, {}, ModelError, "a Keras model"),
    "not built": (keras.Sequential([L.Dense(3)]), IMAGES, {}, ModelError, "not built"),
    "a class with a call": (Subclassed(), IMAGES, {}, ModelError, "Sequential or Functional"),
    "two inputs": (
        keras.Model([a := keras.Input((3,)), b := keras.Input((3,))], L.Add()([a, b])),
        IMAGES,
        {},
        ModelError,
        "one input and one output",
    ),
    "any size of image": (
        keras.Sequential([keras.Input((None, None, 1)), L.Conv2D(2, 3), L.GlobalAveragePooling2D()]),
        IMAGES,
        {},
        ModelError,
        "a fixed shape",
    ),
    "no weights": (
        keras.Sequential([keras.Input((8, 8, 1)), L.Flatten()]),
        IMAGES,
        {},
        ModelError,
        "no weights",
    ),
    "all frozen": (frozen, IMAGES, {}, ModelError, "all of them frozen"),
    "another shape": (dense_encoder, IMAGES[:, :6], {}, DataError, r"shape \(rows, 8, 8, 1\)"),
    "flat rows": (dense_encoder, IMAGES.reshape(40, 64), {}, DataError, r"shape \(rows, 8, 8, 1\)"),
    "text": (dense_encoder, np.full((40, 8, 8, 1), "a"), {}, DataError, "an array of numbers"),
    "NaN": (dense_encoder, broken(np.nan), {}, DataError, "1 NaN values in the x"),
    "infinity": (dense_encoder, broken(np.inf), {}, DataError, "1 infinite values in the x"),
    "few rows": (dense_encoder, IMAGES[:4], {}, DataError, "at least 10 rows"),
    "no rows": (dense_encoder, IMAGES[:0], {}, DataError, "at least 10 rows"),
    "all rows the same": (dense_encoder, np.ones((40, 8, 8, 1)), {}, DataError, "equal rows"),
    "validation of another shape": (
        dense_encoder,
        IMAGES,
        {"validation_data": IMAGES[:, :6]},
        DataError,
        "validation_data of shape",
    ),
    "no epochs": (dense_encoder, IMAGES, {"epochs": 0}, OptionError, "epochs as a whole number"),
    "half a row": (dense_encoder, IMAGES, {"batch_size": 0.5}, OptionError, "batch_size as a whole number"),
    "a rate of 0": (dense_encoder, IMAGES, {"learning_rate": 0}, OptionError, "a number, above 0"),
    "no optimiser": (dense_encoder, IMAGES, {"optimizer": "adma"}, OptionError, "optimizer or its name"),
}
AUTOENCODER = {
    "unknown kind": (dense_encoder, IMAGES, {"kind": "deniosing"}, OptionError, "did you mean 'denoising'"),
    "plain and more": (dense_encoder, IMAGES, {"kind": ("plain", "tied")}, OptionError, "one or several of"),
    "no kind": (dense_encoder, IMAGES, {"kind": ()}, OptionError, "one or several of"),
    "no convolution": (dense_encoder, IMAGES, {"kind": "convolutional"}, ModelError, "which has none"),
    "unknown loss": (dense_encoder, IMAGES, {"loss": "mae"}, OptionError, "auto, mse, bce"),
    "masking all": (
        dense_encoder,
        IMAGES,
        {"kind": "denoising", "corruption": "masking", "noise": 1.0},
        OptionError,
        "below 1",
    ),
    "no noise": (
        dense_encoder,
        IMAGES,
        {"kind": "denoising", "noise": 0},
        OptionError,
        "noise as a number, above 0",
    ),
    "KL of what is no share": (
        lambda: dense_encoder("tanh"),
        IMAGES,
        {"kind": "sparse"},
        ModelError,
        "codes from 0 to 1",
    ),
    "an activity of 1": (
        lambda: dense_encoder("sigmoid"),
        IMAGES,
        {"kind": "sparse", "activity": 1},
        OptionError,
        "activity as a number, above 0",
    ),
    "a weight of 0": (
        lambda: dense_encoder("sigmoid"),
        IMAGES,
        {"kind": "sparse", "penalty_weight": 0},
        OptionError,
        "penalty_weight as a number, above 0",
    ),
    "branches": (branched, IMAGES, {}, ModelError, "a chain of layers"),
    "tied, and a decoder": (
        dense_encoder,
        IMAGES,
        {"kind": "tied", "decoder": decoder(6)},
        OptionError,
        "which mirror the encoder",
    ),
    "a decoder of other codes": (dense_encoder, IMAGES, {"decoder": decoder(7)}, ModelError, r"shape \(6,\)"),
    "a decoder of other rows": (
        dense_encoder,
        IMAGES,
        {"decoder": decoder(6, (8, 8))},
        ModelError,
        r"rows of shape \(8, 8, 1\)",
    ),
    "a decoder that is none": (dense_encoder, IMAGES, {"decoder": 3}, ModelError, "decoder as a Keras model"),
}
AUXILIARY = {
    "unknown task": (dense_encoder, IMAGES, {"task": "rotate"}, OptionError, "did you mean 'rotation'"),
    "rotation of a table": (table_encoder, table(), {"task": "rotation"}, DataError, "images, x of shape"),
    "jigsaw of a table": (table_encoder, table(), {"task": "jigsaw"}, DataError, "images, x of shape"),
    "patches of a table": (table_encoder, table(), {"task": "masked-patch"}, DataError, "images, x of shape"),
    "views of a table": (table_encoder, table(), {"task": "contrastive"}, DataError, "images, x of shape"),
    "an oblong": (
        keras.Sequential([keras.Input((8, 6, 1)), L.Flatten(), L.Dense(3)]),
        IMAGES[:, :, :6],
        {"task": "rotation"},
        DataError,
        "square images",
    ),
    "tiles that do not divide": (
        dense_encoder,
        IMAGES,
        {"task": "jigsaw", "tiles": 3},
        OptionError,
        "one of 2, 4, 8",
    ),
    "one tile": (dense_encoder, IMAGES, {"task": "jigsaw", "tiles": 1}, OptionError, "at least 2"),
    "a patch that does not divide": (
        dense_encoder,
        IMAGES,
        {"task": "masked-patch", "patch": 3},
        OptionError,
        "one of 1, 2, 4",
    ),
    "a patch as large as the image": (
        dense_encoder,
        IMAGES,
        {"task": "masked-patch", "patch": 8},
        OptionError,
        "one of 1, 2, 4",
    ),
    "all masked": (
        dense_encoder,
        IMAGES,
        {"task": "masked-patch", "masked": 1},
        OptionError,
        "masked as a number, above 0",
    ),
    "branches": (branched, IMAGES, {"task": "masked-patch"}, ModelError, "a chain of layers"),
    "no temperature": (
        dense_encoder,
        IMAGES,
        {"task": "contrastive", "temperature": 0},
        OptionError,
        "temperature as a number from",
    ),
    "batches of one": (
        dense_encoder,
        IMAGES,
        {"task": "contrastive", "batch_size": 1},
        OptionError,
        "at least 2",
    ),
    "mixed views": (
        dense_encoder,
        IMAGES,
        {"task": "contrastive", "views": Mixup()},
        OptionError,
        "one image each",
    ),
    "pairs of nothing": (
        dense_encoder,
        IMAGES,
        {"task": "pairs"},
        DataError,
        "equal for rows of one group",
    ),
    "same for another task": (dense_encoder, IMAGES, {"task": "jigsaw", "same": KINDS}, OptionError, "only"),
    "too few numbers": (
        dense_encoder,
        IMAGES,
        {"task": "pairs", "same": KINDS[:9]},
        DataError,
        "40 integers",
    ),
    "shares": (dense_encoder, IMAGES, {"task": "pairs", "same": KINDS / 2}, DataError, "40 integers"),
    "equal rows": (
        dense_encoder,
        IMAGES,
        {"task": "pairs", "same": np.zeros(40, int)},
        DataError,
        "at least 2 groups",
    ),
    "all different": (
        dense_encoder,
        IMAGES,
        {"task": "pairs", "same": np.arange(40)},
        DataError,
        "pairs of one group in a batch",
    ),
    "validation without same": (
        dense_encoder,
        IMAGES,
        {"task": "pairs", "same": KINDS, "validation_data": IMAGES},
        DataError,
        r"\(rows, same\)",
    ),
}
CASES = [
    *(
        (f"{function.__name__}: {name}", function, case)
        for name, case in ANY.items()
        for function in (autoencoder, auxiliary)
    ),
    *((name, autoencoder, case) for name, case in AUTOENCODER.items()),
    *((name, auxiliary, case) for name, case in AUXILIARY.items()),
]


@pytest.mark.parametrize(("name", "pretrain", "case"), CASES, ids=[name for name, *_ in CASES])
def test_bad_input(name, pretrain, case, monkeypatch):
    def untouched(*arguments, **options):
        raise AssertionError("training was begun")

    monkeypatch.setattr(running, "fit", untouched)
    given, rows, options, kind, said = case
    encoder = given() if callable(given) and not isinstance(given, keras.Model) else given
    before = weights(encoder) if isinstance(encoder, keras.Model) else []
    with pytest.raises(kind, match=said) as caught:
        pretrain(encoder, rows, **options)
    assert isinstance(caught.value, KilterError)
    assert all((caught.value.expected, caught.value.received, caught.value.remedy))
    if before:
        assert all(np.array_equal(one, other) for one, other in zip(before, weights(encoder), strict=True))


def test_a_branched_encoder_does_with_a_decoder_of_ones_own():
    done = autoencoder(branched(), IMAGES, decoder=decoder(4), epochs=1, verbose=0)
    assert done.decoder.output_shape == (None, 8, 8, 1)


def test_convolutions_may_be_named():
    assert autoencoder(conv_encoder(), IMAGES, kind="convolutional", epochs=1, verbose=0).task == (
        "convolutional autoencoder"
    )
