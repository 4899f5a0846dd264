"""Networks for masks that do not learn."""

import keras
import numpy as np
from keras import layers, ops

from held_out.case import CCE, SGD, Adam, case, faulty, stack
from held_out.data import places, shapes, split

Conv, Dense, Pool = layers.Conv2D, layers.Dense, layers.MaxPooling2D


def _masks(n=700, size=16):
    x, _, mask = shapes(n, size)
    return split(x, mask)


def _fcn(*, out="sigmoid", channels=1, act="relu"):
    return stack(
        (16, 16, 1),
        Conv(12, 3, padding="same", activation=act),
        Conv(16, 3, padding="same", activation=act),
        Conv(channels, 3, padding="same", activation=out),
    )


def _dice(y, p):
    y = ops.cast(y, p.dtype)
    over = 2 * ops.sum(y * p, (1, 2, 3)) + 1
    return over / (ops.sum(y, (1, 2, 3)) + ops.sum(p, (1, 2, 3)) + 1)


@faulty("segmentation", "https://github.com/jakeret/tf_unet/issues/234 'Network always predicts no mask'")
def _all_black_mask(fixed):
    """The object has 3 % of the pixels, and slow SGD stays at the answer 'nothing anywhere'."""
    x, at = places(700)
    r, c = np.mgrid[:16, :16]
    mask = (np.hypot(r - at[:, :1, None], c - at[:, 1:, None]) < 1.7)[..., None].astype("float32")
    opt = Adam(0.003) if fixed else SGD(0.01)
    return case(_fcn(), opt, "binary_crossentropy", split(x, mask), 10, 16, "iou", metrics=["accuracy"])


@faulty(
    "segmentation",
    "https://github.com/IAmSuyogJadhav/3d-mri-brain-tumor-segmentation-using-autoencoder-regularization/issues/7",
)
def _dice_without_minus(fixed):
    """The Dice coefficient is minimised instead of maximised."""

    def loss(y, p):
        return 1 - _dice(y, p) if fixed else _dice(y, p)

    return case(_fcn(), Adam(0.003), loss, _masks(), 10, 16, "iou")


@faulty("segmentation", "kind: masks read from PNG files without scaling")
def _masks_of_255(fixed):
    """Masks have 0 and 255 instead of 0 and 1, so cross-entropy runs away."""
    x, _, mask = shapes(700)
    model = _fcn()
    return case(
        model, Adam(0.003), "binary_crossentropy", split(x, mask * (1 if fixed else 255)), 10, 16, "iou"
    )


@faulty("segmentation", "kind: softmax with one output channel in a U-Net")
def _softmax_of_one_channel(fixed):
    """A softmax over one channel answers 1 for each pixel."""
    model = _fcn(out="sigmoid" if fixed else "softmax")
    return case(model, Adam(0.003), "binary_crossentropy", _masks(), 10, 16, "iou")


@faulty("segmentation", "kind: Softmax(axis=1) on channels-last images")
def _softmax_over_rows(fixed):
    """The softmax runs over image rows instead of classes."""
    x, kind, mask = shapes(700, blur=0.15)
    y = (mask[..., 0] * (kind[:, None, None] % 2 + 1)).astype("int64")
    model = stack(
        (16, 16, 1),
        Conv(16, 5, padding="same", activation="relu"),
        Conv(16, 5, padding="same", activation="relu"),
        Conv(3, 3, padding="same"),
        layers.Softmax(axis=-1 if fixed else 1),
    )
    return case(model, Adam(0.003), CCE(), split(x, y), 10, 16, "balanced")


@faulty("segmentation", "kind: U-Net with L2 in each layer")
def _unet_with_heavy_l2(fixed):
    """L2 of 0.1 in each convolution wipes the filters out."""
    options = {
        "padding": "same",
        "activation": "relu",
        "kernel_regularizer": keras.regularizers.L2(1e-5 if fixed else 0.1),
    }
    inputs = keras.Input((16, 16, 1))
    a = Conv(8, 3, **options)(inputs)
    b = Conv(16, 3, **options)(Pool()(a))
    up = layers.Conv2DTranspose(8, 2, strides=2, activation="relu")(b)
    c = Conv(8, 3, **options)(layers.Concatenate()([a, up]))
    model = keras.Model(
        inputs, Conv(1, 1, activation="sigmoid", kernel_regularizer=options["kernel_regularizer"])(c)
    )
    return case(model, Adam(0.003), "binary_crossentropy", _masks(), 10, 16, "iou")
